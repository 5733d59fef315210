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

Results go to standard output, progress and errors to standard error. A command ends with exit code 0 when it has done
its work, with 2 and one line beginning with `error:` when it could not use what it was given, and with 130 and one
line that says what is kept when it was stopped with Ctrl-C (143 for SIGTERM). Files are written whole or not at all.
Characters that the encoding of the output lacks are escaped, and whoever reads the output may stop reading: neither
makes a command fail. `ELSEWHERE_DEBUG=1` shows the traceback of an error.
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
