"""Groups of options: typer sees single options, the command receives objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from elsewhere.cli.groups import Words, expand

Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise.")]


@dataclass(frozen=True)
class Levels:
    steps: Annotated[int, typer.Option(help="Steps of the process.")] = 20
    schedule: Annotated[str, typer.Option(help="Name.")] = "cosine"


@dataclass(frozen=True)
class Drawing:
    seed: Seed = 0
    levels: Levels = Levels()


def made(command: Any) -> typer.Typer:
    app = typer.Typer()
    app.command()(expand(command))
    return app


def test_the_command_receives_objects_in_place_of_options() -> None:
    received: list[object] = []

    def draw(name: str, drawing: Drawing = Drawing(), keep: bool = False) -> None:
        received.extend([name, drawing, keep])

    result = CliRunner().invoke(made(draw), ["cats", "--seed", "3", "--steps", "5", "--keep"])
    assert result.exit_code == 0, result.output
    assert received == ["cats", Drawing(3, Levels(5, "cosine")), True]


def test_options_keep_their_order_and_the_defaults_are_those_of_the_group_given() -> None:
    received: list[Drawing] = []

    def draw(drawing: Drawing = Drawing(seed=7, levels=Levels(steps=2)), last: int = 1) -> None:
        received.append(drawing)

    app = made(draw)
    assert CliRunner().invoke(app, []).exit_code == 0
    assert received == [Drawing(7, Levels(2))]
    assert [param.name for param in get_command(app).params][:4] == ["seed", "steps", "schedule", "last"]


def test_a_command_describes_a_shared_option_in_its_own_words() -> None:
    def draw(
        seed: Annotated[Seed, Words("Seed of everything.", default="the first", names=("--seed", "--start"))] = 0,
        levels: Annotated[Levels, {"steps": Words("Steps here.")}] = Levels(),
    ) -> None: ...

    seed, steps, schedule = get_command(made(draw)).params[:3]
    assert (seed.help, seed.show_default, seed.opts) == ("Seed of everything.", "the first", ["--seed", "--start"])  # type: ignore[attr-defined]
    assert (steps.help, schedule.help) == ("Steps here.", "Name.")  # type: ignore[attr-defined]
    # The shared option is as it was.
    assert Seed.__metadata__[0].help == "Seed of the noise."  # type: ignore[attr-defined]


def test_the_range_of_a_shared_option_holds_in_every_command() -> None:
    def draw(drawing: Annotated[Drawing, {"seed": Words("Mine.")}] = Drawing()) -> None: ...

    result = CliRunner().invoke(made(draw), ["--seed", "-1"])
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_two_options_of_one_name_are_an_error() -> None:
    def draw(drawing: Drawing = Drawing(), steps: int = 1) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'steps'"):
        expand(draw)
