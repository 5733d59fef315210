"""What is said about a command line that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import elsewhere as els
from elsewhere import wording
from elsewhere.cli import app

GROUP: Any = get_command(app)


@pytest.mark.parametrize(
    ("command", "message", "said"),
    [
        ("data", "limit must be 1 or more, got 0", "--limit must be 1 or more, got 0"),
        ("train", "learning_rate must be between 0 and 1", "--learning-rate must be between 0 and 1"),
        ("data", "a.npz has no split: give split= one of x", "a.npz has no split: give --split one of x"),
        ("data", "split='x' was asked for: leave split out", "--split 'x' was asked for: leave out --split"),
        ("calibrate", "window must be odd, got 4", "--windows must be odd, got 4"),
        ("sample", "label=3 was given but Net(data='x') has", "--label 3 was given but Net(data='x') has"),
        ("morphogenesis", "limit must be 1 or more", "limit must be 1 or more"),
        ("data", "give value_range=(0, WHITE)", "give --value-range 0,WHITE"),
        (
            "audit",
            "rescale, give value_range=(0, 1)",
            "rescale, give --value-range 0,1 "
            "(`elsewhere data SOURCE --value-range ... --save images.npz` writes them for this command)",
        ),
        (
            "audit",
            "give value_range=(0, 1) (in the command line: elsewhere data x)",
            "give --value-range 0,1 (elsewhere data x)",
        ),
        (
            "sample",
            "leave them out with labels=False (in the command line --ignore-labels)",
            "leave them out with --ignore-labels",
        ),
        ("data", "take fewer (limit=, size=; in the command line --limit, --size)", "take fewer (--limit, --size)"),
        ("calibrate", "x holds other scores: give another cache", "x holds other scores: give another --out"),
        ("sample", "network.bin has no images", "network.bin has no images"),
    ],
)
def test_arguments_become_the_options_of_the_command(command: str, message: str, said: str) -> None:
    assert wording.in_options(message, GROUP.commands[command]) == said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "sample x --windows 3",
            "it belongs to calibrate, anomalies, attention; did you mean --window (One odd window side",
        ),
        ("sample x --lable 3", "did you mean --label ("),
        ("sample x --network-x 3", "did you mean --network ("),
        ("sample x --output y", "did you mean --out ("),
        (
            "audit x y --steps 3",
            "it belongs to sample, inpaint, texture, train, calibrate, compare, board, explain, anomalies, attention, "
            "transition\n",
        ),
        ("sample x --epochs 3", "no option --epochs in `elsewhere sample`: see `elsewhere sample --help`"),
        ("sample", "DATA is missing, for example: elsewhere sample fashion-mini"),
        ("compare x", "NETWORK is missing, for example: elsewhere compare fashion-mini"),
        ("sample x y", "`elsewhere sample` takes DATA, here is more: 'y'"),
        ("sample x --steps 0", "--steps must be a whole number from 1 to 10000, got '0'"),
        ("data x --limit many", "--limit must be a whole number, 1 or more, got 'many'"),
        ("sample x --out=", "--out must not be empty, got ''"),
    ],
)
def test_what_was_meant_is_found(line: str, words: str) -> None:
    result = CliRunner().invoke(app, line.split(), prog_name="elsewhere")
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("columns", ["40", "60", "80"])
def test_the_list_of_commands_is_wrapped_and_not_cut(columns: str) -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": columns}).stdout
    assert "..." not in shown.split("Commands:")[1]
    text = " ".join(shown.split())
    for command in GROUP.commands.values():
        assert " ".join(command.help.split("\n\n")[0].split()) in text


def test_control_characters_and_long_words_stay_on_one_short_line() -> None:
    assert wording.one_line("a\n\x1b[31m\udcff b") == "a \\x1b[31m\\udcff b"
    assert len(wording.one_line("x" * 10_000)) < 100


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"elsewhere {els.__version__}\n"


def test_the_argument_that_may_be_left_out_stands_in_one_pair_of_brackets() -> None:
    usage = CliRunner().invoke(app, ["data", "--help"], prog_name="elsewhere").stdout.splitlines()[0]
    assert usage == "Usage: elsewhere data [OPTIONS] [SOURCE]"
