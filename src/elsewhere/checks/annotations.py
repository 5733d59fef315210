"""Checks of arguments against the annotations of their function.

`checked` compares them before the function runs, `check_fields` the fields of a dataclass, `check_type` one value.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from elsewhere.checks.objects import check_dense, check_device, check_path, is_tensor
from elsewhere.checks.words import remedy_for, seen, seen_text

Function = TypeVar("Function", bound=Callable[..., Any])

LARGEST_INTEGER = 2**63 - 1
"""Larger integers fit no tensor, and no argument needs one."""

EXAMPLES = {
    "Tensor": "a torch tensor",
    "ndarray": "a NumPy array",
    "dtype": "a torch dtype",
    "Path": "a path",
    "PathLike": "a path",
    "device": "a torch device",
    "Schedule": "a Schedule (such as schedules.cosine(20))",
    "LocalitySchedule": "a LocalitySchedule (from calibrate, shipped_locality or LocalitySchedule.load)",
    "ImageSet": "an ImageSet (from load_images)",
    "Run": "a Run (from sample)",
    "Mosaic": "a Mosaic (from explain)",
    "MosaicResult": "a Mosaic (from explain)",
    "Comparison": "a Comparison (from compare)",
    "ComparisonResult": "a Comparison (from compare)",
    "WindowedMachine": "a machine with windows (such as EquivariantLocalScore)",
}
"""How messages name some types; the others are named "a ClassName"."""


def checked(function: Function) -> Function:
    """Check the types of all arguments of a function, from its annotations, each time it is called.

    Beside the type: numbers are not NaN and fit 64 bits; paths are not empty; devices exist; tensors are dense; what
    must be callable takes the arguments that its protocol gives it. Ranges are left to the function.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **settings: Any) -> Any:
        try:
            given = signature.bind(*args, **settings).arguments
        except TypeError:
            return function(*args, **settings)  # Python's own error names the function and the argument
        for name, hint in _hints(function).items():
            if name in given and given[name] is not signature.parameters[name].default:
                check_type(name, given[name], hint)
        return function(*args, **settings)

    return cast(Function, wrapper)


def check_fields(instance: Any) -> None:
    """Check the fields of a dataclass as `checked` checks arguments, but for NaN, which a result may hold."""
    for name, hint in _hints(cast(Hashable, type(instance))).items():
        check_type(name, getattr(instance, name), hint, nan=True)


def check_type(name: str, value: object, hint: Any, *, nan: bool = False) -> None:
    """Check one value against an annotation.

    Raises:
        TypeError: another type.
        ValueError: the right type, but no value that could serve: see `checked`.
    """
    try:
        _accept(name, value, hint, nan)
    except _OtherKind:
        raise TypeError(f"{name} must be {_words(hint)}, got {seen(value)}{remedy_for(name, value)}") from None


class _OtherKind(Exception):
    """The value does not match this annotation; another member of a union may still match."""


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    """Annotations of the parameters of a function, or of the fields of a dataclass."""
    if isinstance(owner, type):
        # A field may be inherited from a class of another module, whose names its annotation uses.
        hints = get_type_hints(owner)
        return {field.name: hints[field.name] for field in fields(owner)}
    names = {name: p.annotation for name, p in inspect.signature(owner).parameters.items() if _is_plain(p)}
    scope = inspect.unwrap(owner).__globals__
    return {name: eval(hint, scope) if isinstance(hint, str) else hint for name, hint in names.items()}


def _is_plain(parameter: inspect.Parameter) -> bool:
    several = (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    return parameter.annotation is not parameter.empty and parameter.kind not in several


def _accept(name: str, value: Any, hint: Any, nan: bool) -> None:
    """Return if the value fits the annotation.

    Raises:
        _OtherKind: it is of another kind.
        TypeError, ValueError: it is of this kind, but its items or its value will not do.
    """
    origin, args = get_origin(hint), get_args(hint)
    kind = origin or hint
    if hint is Any or isinstance(hint, TypeVar):
        return
    if kind in (Union, types.UnionType):
        _accept_any(name, value, args, nan)
    elif kind is Literal:
        _accept_literal(name, value, args)
    elif getattr(kind, "_is_protocol", False) and kind.__module__.startswith("elsewhere"):
        _accept_protocol(name, value, kind)
    elif kind is Callable or kind is cast(Any, Callable[..., Any]).__origin__:
        _need(callable(value))
    elif kind is bool:
        _need(isinstance(value, bool | np.bool_))
    elif kind in (int, float):
        _accept_number(name, value, kind, nan)
    elif kind is np.ndarray:
        _accept_array(name, value, args)
    elif kind is Path:
        _need(isinstance(value, os.PathLike))
        check_path(name, value)
    elif kind in (tuple, list):
        _need(isinstance(value, tuple | list))
        _accept_items(name, value, args, nan)
    elif isinstance(kind, type) and issubclass(kind, Mapping):
        _need(isinstance(value, kind))
        for key, item in value.items() if args else ():
            check_type(f"a key of {name}", key, args[0], nan=nan)
            check_type(f"{name}[{seen_text(key)}]", item, args[1], nan=nan)
    elif isinstance(kind, type) and issubclass(kind, Iterable) and kind.__module__ == "collections.abc":
        _need(isinstance(value, kind) and not isinstance(value, str | bytes | bytearray | Mapping | np.ndarray))
        _need(not is_tensor(value))
        if isinstance(value, Sequence):
            _accept_items(name, value, (args[0], ...), nan)
    else:
        _need(value is None if hint in (None, type(None)) else isinstance(value, kind))
        if is_tensor(value):
            check_dense(name, value)
        if kind.__name__ == "device":
            check_device(name, value)


def _need(fits: bool) -> None:
    if not fits:
        raise _OtherKind


def _accept_any(name: str, value: Any, members: tuple[Any, ...], nan: bool) -> None:
    others = {getattr(get_origin(member) or member, "__name__", "") for member in members}
    if isinstance(value, str) and others & {"Path", "PathLike"}:
        check_path(name, value)
    elif isinstance(value, str) and "device" in others:
        check_device(name, value)
    else:
        for member in members:
            try:
                return _accept(name, value, member, nan)
            except _OtherKind:
                continue
        raise _OtherKind
    return None


def _accept_literal(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    _need(any(type(value) is type(choice) for choice in choices))
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {seen_text(value)}")


def _accept_protocol(name: str, value: Any, protocol: type) -> None:
    _need(not isinstance(value, type) and isinstance(value, protocol))
    if "__call__" not in vars(protocol):
        return
    wanted = [p for p in _call_parameters(protocol) if p.default is p.empty]
    try:
        inspect.signature(value).bind(*wanted)
    except TypeError as error:
        raise TypeError(f"{name} must be {_words(protocol)}, got {seen(value)}: {error}") from None
    except ValueError:  # a function in C that does not say which arguments it takes
        return


def _call_parameters(protocol: type) -> list[inspect.Parameter]:
    return list(inspect.signature(vars(protocol)["__call__"]).parameters.values())[1:]


def _accept_number(name: str, value: Any, kind: type, nan: bool) -> None:
    _need(isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool | np.bool_))
    if isinstance(value, Integral):
        if abs(int(value)) > LARGEST_INTEGER:
            raise ValueError(f"{name} must fit 64 bits, got {seen_text(value)}")
    elif value != value and not nan:
        raise ValueError(f"{name} must be a finite number, got NaN")


def _accept_array(name: str, value: Any, args: tuple[Any, ...]) -> None:
    _need(isinstance(value, np.ndarray))
    check_dense(name, value)
    wanted = next(iter(get_args(args[1])), Any) if len(args) == 2 else Any
    if wanted is not Any and not np.issubdtype(value.dtype, wanted):
        raise TypeError(f"{name} must be an array of {wanted.__name__.rstrip('_')}, got {value.dtype}")
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got {value.dtype}")


def _accept_items(name: str, values: Sequence[Any], args: tuple[Any, ...], nan: bool) -> None:
    if not args:
        return
    if len(args) == 2 and args[1] is ...:
        args = args[:1] * len(values)
    elif len(args) == 1:
        args = args * len(values)
    _need(len(values) == len(args))
    for index, (item, hint) in enumerate(zip(values, args, strict=True)):
        check_type(f"{name}[{index}]", item, hint, nan=nan)


def _words(hint: Any) -> str:
    """What an annotation asks for, in words."""
    origin, args = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind in (Union, types.UnionType):
        words = [_words(member) for member in args if not (member is str and _words(args[-1]) == "a path")]
        return " or ".join(dict.fromkeys(words))
    if kind is Literal:
        return " or ".join(map(repr, args))
    if hint in (None, type(None)):
        return "None"
    if kind in (bool, int, float, str):
        return {bool: "True or False", int: "an integer", float: "a number", str: "a string"}[kind]
    if kind in (tuple, list) and args and ... not in args and kind is tuple:
        if len(set(args)) == 1 and args[0] in (int, float):
            return f"a tuple of {len(args)} {'integers' if args[0] is int else 'numbers'}"
        return f"({', '.join(map(_words, args))})"
    name = getattr(kind, "__name__", str(kind))
    if name in EXAMPLES:
        return EXAMPLES[name]
    if getattr(kind, "_is_protocol", False):
        members = [member for member in vars(kind) if not member.startswith("_")]
        parts = ["callable as D(x, sigma, label=None)"] if "__call__" in vars(kind) else []
        return " and ".join([*parts, *(f"an object that has {member}" for member in members)])
    if isinstance(kind, type) and issubclass(kind, Mapping):
        denoisers = bool(args) and getattr(args[1], "_is_protocol", False)
        return 'a dict of denoisers and their names, such as {"ELS": machine}' if denoisers else "a dict"
    if isinstance(kind, type) and issubclass(kind, Iterable) and args:
        return f"a sequence, each item {_words(args[0])}"
    if kind.__module__ == "collections.abc":
        return "callable"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
