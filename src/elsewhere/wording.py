"""Errors in the words of the command line: options as they are typed, not the arguments of Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer

VALIDATOR = "Value error, "
"""What pydantic, which typer uses to read options, puts before the message of a check."""

LONGEST_WORD = 400
"""Most characters of one word of a message; the middle of a longer word is left out."""

LONGEST_NUMBER = 18
"""Most characters of a whole number: every number of so many fits in 64 bits."""

KINDS = {int: "a whole number", float: "a number"}


def shown(param: Any) -> str:
    """The name of a parameter as it is typed: --learning-rate, or DATA."""
    name: str = param.opts[0] if param.param_type_name == "option" else (param.metavar or param.name).strip("[]")
    return name


def one_line(text: str) -> str:
    """A message on one line: white space collapsed, control characters escaped, long words shortened."""
    words = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in word) for word in text.split())
    return " ".join(w if len(w) <= LONGEST_WORD else f"{w[:60]}...{w[-10:]}" for w in words)


READING = {"split": "--split", "value_range": "--value-range"}
"""Arguments of `load_images` that are options of `elsewhere data` only."""


def in_options(text: str, command: Any) -> str:
    """A message of the library with the arguments that it names turned into the options of a command.

    Messages of the library begin with the name of the argument, or name it as in "give size= to ..." and
    "label=3 was given". A name that is no parameter of this command stays as it is.
    """
    # Messages that name the option beside the argument.
    text = re.sub(r"\S+=\S* \(in the command line (--[^()]*)\)", r"\1", text)
    text = re.sub(r"\([^()]*; in the command line (--[^()]*)\)", r"(\1)", text)
    text = text.replace("(in the command line: ", "(")
    text = re.sub(r"\bvalue_range=\(([^(),]+), ([^(),]+)\)", r"--value-range \1,\2", text)
    if getattr(command, "name", None) == "calibrate":
        text = text.replace("give another cache", "give another --out")
    known = [param.name for param in getattr(command, "params", ())]
    for name, option in READING.items():
        text = re.sub(rf"(?:^|(?<=[a-z:;] )){name}=(?: |(?=\S))", f"{option} ", text)
        if option in text and name not in known and "elsewhere data" not in text:
            text += f" (`elsewhere data SOURCE {option} ... --save images.npz` writes them for this command)"
    for param in getattr(command, "params", ()):
        # The library calls one window of a list `window`.
        option, name = shown(param), re.escape(param.name) + ("?" if param.name == "windows" else "")
        text = re.sub(rf"^{name}(?= (?:must|was|has to|is empty)\b| ')", option, text)
        # Not inside of a call, as the repr of a network is.
        text = re.sub(rf"(?:^|(?<=[a-z:;] )){name}=(?=\S)", f"{option} ", text)
        text = re.sub(rf"(?:^|(?<=[a-z:;] )){name}=", option, text)
        text = re.sub(rf"\bleave {name} out\b", f"leave out {option}", text)
        if option == "--size":
            text = re.sub(r"^(?:x|noise) (is \d+x\d+ pixels)", r"--size: the image \1", text)
    return text


def describe_usage(error: typer.TyperException, group: Any) -> str:
    """What is wrong with how a command was typed.

    Args:
        error: what typer says.
        group: has all commands.
    """
    context, param = getattr(error, "ctx", None), getattr(error, "param", None)
    command = getattr(context, "command", None)
    unknown = getattr(error, "option_name", None)
    if unknown is not None and type(error).__name__ == "NoSuchOption":
        return _describe_unknown(unknown, command, context, group)
    if type(error).__name__ == "MissingParameter" and param is not None:
        return f"{shown(param)} is missing{_example(command)}"
    seen = getattr(error.__cause__, "errors", lambda: ())()
    if param is not None and seen and param.type_descriptor.annotation in KINDS:
        return f"{shown(param)} must be {_describe_number(param)}, got {str(seen[0]['input'])!r}"
    extra = re.fullmatch(r"Got unexpected extra argument\(s\) \((.*)\)", error.message, re.DOTALL)
    if extra is not None and context is not None and command is not None:
        wanted = " ".join(shown(param) for param in command.params if param.param_type_name == "argument")
        return f"`{context.command_path}` takes {wanted or 'options only'}, here is more: {extra[1]!r}"
    error.message = error.message.removeprefix(VALIDATOR)
    return error.format_message()


def check_typed(command: Any, typed: Mapping[str, Any]) -> None:
    """Refuse values that no parameter takes.

    These are empty values, unless the help says what '' means; NUL characters; and whole numbers beyond 64 bits.

    Args:
        command: which.
        typed: the text given to each of its parameters.

    Raises:
        ValueError: such a value.
    """
    for param in command.params:
        value = typed.get(param.name)
        if not isinstance(value, str):
            continue
        if not value.strip() and "''" not in (param.help or ""):
            raise ValueError(f"{shown(param)} must not be empty, got {value!r}{_leave_out(param)}")
        if "\0" in value:
            raise ValueError(f"{shown(param)} must not hold a NUL character, got {value!r}")
        if param.type_descriptor.annotation is int and len(value) > LONGEST_NUMBER:
            raise ValueError(f"{shown(param)} must be {_describe_number(param)}, got {value!r}")


def _leave_out(param: Any) -> str:
    return "" if param.required else ": give a value, or leave it out"


def _describe_number(param: Any) -> str:
    info = param.type_descriptor.parameter_info
    kind = KINDS[param.type_descriptor.annotation]
    if info.min is not None and info.max is not None:
        return f"{kind} from {info.min} to {info.max}"
    return kind if info.min is None else f"{kind}, {info.min} or more"


def _example(command: Any) -> str:
    found = re.search(r"Examples?:\s*\n\s*(\S.*)", getattr(command, "help", None) or "")
    return f", for example: {found[1].strip()}" if found else ""


def _describe_unknown(option: str, command: Any, context: Any, group: Any) -> str:
    """The message for an option that the command lacks: the commands that have it, and the most similar option."""
    from difflib import get_close_matches  # here, because `elsewhere --help` does without it

    path = context.command_path if context is not None else "elsewhere"
    said = f"no option {option} in `{path}`"
    known = dict(_options(command))
    owners = [name for name, other in group.commands.items() if option in dict(_options(other))]
    # Without the dashes, which make all options similar. Stricter where another command has the option.
    bare = {name.strip("-"): name for name in known}
    near = get_close_matches(option.strip("-"), bare, n=1, cutoff=0.8 if owners else 0.7)
    close = [bare[name] for name in near] or [
        name for name in known if len(name) > 3 and (option.startswith(name) or name.startswith(option))
    ]
    if owners:
        said += f": it belongs to {', '.join(owners)}"
    if close:
        meaning = (getattr(known[close[0]], "help", None) or "").split(". ")[0].rstrip(".")
        return f"{said}; did you mean {close[0]} ({meaning})?"
    return said if owners else f"{said}: see `{path} --help`"


def _options(command: Any) -> Iterator[tuple[str, Any]]:
    for param in getattr(command, "params", ()):
        if param.param_type_name == "option" and not param.hidden:
            for name in (*param.opts, *param.secondary_opts):
                yield name, param
