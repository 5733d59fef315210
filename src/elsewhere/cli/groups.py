"""Groups of options: a command takes one object for each group, and typer sees the single options.

A group is a frozen dataclass whose fields are options (`Annotated[..., typer.Option(...)]`) or other groups:

    @dataclass(frozen=True, eq=False, repr=False)
    class Levels:
        steps: Steps = 20

    def sample(levels: Levels = Levels(steps=10)) -> None: ...

`expand(sample)` has the option --steps in place of `levels`, with the default 10. A command that describes a shared
option in its own words says so beside the type: `Annotated[Seed, Words("Seed of everything.")]`, and for a group
`Annotated[Levels, {"steps": Words("...")}]`.

Groups have no `eq` and `repr`, which nobody needs: making these methods would take half of the time that groups add to
`elsewhere --help`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, NamedTuple, get_origin, get_type_hints

from typer.models import ParameterInfo


class Words(NamedTuple):
    """What one command says of a shared option.

    Attributes:
        help: in place of the shared help text.
        default: how the help describes the default value.
        names: in place of the shared names.
    """

    help: str | None = None
    default: str | None = None
    names: tuple[str, ...] = ()


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its groups in place of the groups.

    Raises:
        ValueError: two of its options have one name.
    """
    own = inspect.signature(command).parameters
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        parameters += _options(name, hints[name], parameter.default)
    kinds = {name: _kind(hint) for name, hint in hints.items() if name in own}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**{name: _collect(kind, name, values) for name, kind in kinds.items()})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(
    name: str, hint: Any, default: Any, words: Mapping[str, Words] | None = None
) -> Iterator[inspect.Parameter]:
    """The parameters that stand for one parameter: itself, or the options of the group that it is."""
    kind, notes = _kind(hint), getattr(hint, "__metadata__", ())
    if not _is_group(kind):
        if words and name in words:
            notes = (*notes, words[name])
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_reworded(kind, notes)
        )
        return
    words = {**(words or {}), **{key: value for note in notes for key, value in note.items()}}
    group = kind() if default is inspect.Parameter.empty else default
    for field, inner in _hints(kind).items():
        yield from _options(field, inner, getattr(group, field), words)


def _collect(kind: Any, name: str, values: dict[str, Any]) -> Any:
    """The value of a parameter from the values of the options that stand for it."""
    if not _is_group(kind):
        return values[name]
    inner = {field: _collect(_kind(hint), field, values) for field, hint in _hints(kind).items()}
    return kind(**inner)


@functools.cache
def _hints(group: Any) -> dict[str, Any]:
    """Name -> annotation of the fields of a group, in their order."""
    hints = get_type_hints(group, include_extras=True)
    return {field.name: hints[field.name] for field in fields(group)}


def _is_group(kind: Any) -> bool:
    return is_dataclass(kind)


def _kind(hint: Any) -> Any:
    """The type of an annotation without its notes."""
    return hint.__origin__ if get_origin(hint) is Annotated else hint


def _reworded(kind: Any, notes: tuple[Any, ...]) -> Any:
    """The annotation that typer reads, in the words of the command."""
    infos = [copy.copy(note) for note in notes if isinstance(note, ParameterInfo)]
    for words in (note for note in notes if isinstance(note, Words)):
        infos[0].help = words.help or infos[0].help
        infos[0].show_default = words.default or infos[0].show_default
        infos[0].param_decls = words.names or infos[0].param_decls
    return Annotated[(kind, *infos)] if infos else kind
