"""Write docs/command-line.md from the --help of every command.

python scripts/command_line_docs.py
"""

from __future__ import annotations

from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from elsewhere.cli import app

TARGET = Path(__file__).resolve().parents[1] / "docs/command-line.md"
HEAD = """# The command line

Every page here is what `elsewhere COMMAND --help` prints; `make docs` writes it again.

Results go to standard output; progress, warnings and errors go to standard error. The exit codes are:

| code | meaning |
|---|---|
| 0 | the command has done its work |
| 2 | the command could not use what it was given; one line that begins with `error:` says why |
| 130 | Ctrl-C stopped the command (143: SIGTERM did); one line says what is kept |

Files are written whole or not at all. If the encoding of the output lacks a character, the character is escaped. A
command does not fail when the reader of its output stops reading, as `head` does. `ELSEWHERE_DEBUG=1` shows the
traceback of an error.
"""


def render() -> str:
    """The page as Markdown."""
    names = list(get_command(app).commands)  # type: ignore[attr-defined]
    parts = [HEAD]
    for arguments in ([], *([name] for name in names)):
        title = " ".join(["elsewhere", *arguments])
        text = CliRunner().invoke(
            app, [*arguments, "--help"], prog_name="elsewhere", env={"COLUMNS": "102", "NO_COLOR": "1"}
        )
        parts.append(f"## {title}\n\n```text\n{text.stdout.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)
