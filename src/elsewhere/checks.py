"""Checks of arguments: of their types, from the annotations of the functions, and of their values.

`checked` compares the arguments of a function with its annotations before the function runs; the `check_...` functions
are for ranges. Every error names the argument, the value seen and what was expected.
"""

from __future__ import annotations

import errno
import functools
import inspect
import math
import os
import sys
import types
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from elsewhere.limits import LARGEST_SIDE, MOST_MEMORY, require_memory, total_memory

if TYPE_CHECKING:
    import torch

Function = TypeVar("Function", bound=Callable[..., Any])

LARGEST_INTEGER = 2**63 - 1
"""Larger integers fit no tensor, and no argument needs one."""

LONGEST_NAME = 255
MOST_LEVELS = 10_001
MOST_IMAGES = 2**20
"""Most images of one call of `make_noise`: the seeds of image generators are 2^20 apart."""

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
    "WindowedMachine": "a machine with windows (LocalScore or EquivariantLocalScore)",
}
"""How messages name some types; the others are named "a ClassName"."""

REMEDIES: dict[str, tuple[type, str]] = {
    "label": (str, ": the number of a class is data.classes.index(name)"),
    "network": (str, ": load_network reads a network by its name or path"),
    "shape": (object, ": give channels, height and width, such as data.shape"),
}
"""What messages add for some arguments where a value of this type was given."""


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


def check_whole(
    name: str, value: object, least: int | None = None, most: int | None = None, *, limit: int = LARGEST_INTEGER
) -> int:
    """An integer within bounds; NumPy's integers count, True and False do not.

    Args:
        name: of the argument.
        value: what was given for it.
        least, most: the bounds.
        limit: where there is no `most`, the number above which memory or time would not do. It is mentioned only where
            it is exceeded.

    Raises:
        TypeError: not an integer.
        ValueError: out of bounds.
    """
    check_type(name, value, int)
    number = int(cast(int, value))
    if number > limit and most is None:
        raise ValueError(f"{name} must be at most {limit}, got {number}")
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{name} must be {_bounds(least, most)}, got {number}")
    return number


def check_number(
    name: str,
    value: object,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    limit: float = math.inf,
) -> float:
    """A finite number within bounds.

    Args:
        name, value, limit: see `check_whole`.
        least, most: bounds that are allowed values.
        above, below: bounds that are not.

    Raises:
        TypeError: not a number.
        ValueError: NaN, infinite or out of bounds.
    """
    check_type(name, value, float)
    number = float(cast(float, value))
    inside = (
        (least is None or number >= least)
        and (most is None or number <= most)
        and (above is None or number > above)
        and (below is None or number < below)
    )
    if not inside or not math.isfinite(number):
        raise ValueError(
            f"{name} must be {_bounds(least, most, above, below) or 'a number'} and finite, got {number:g}"
        )
    if number > limit:
        raise ValueError(f"{name} must be at most {limit:g}, got {number:g}")
    return number


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of some names.

    Raises:
        TypeError: not a string.
        ValueError: another name.
    """
    check_type(name, value, str)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {seen_text(value)}")
    return cast(str, value)


def check_sides(name: str, size: object) -> tuple[int, int]:
    """(height, width) in pixels, each 1 to LARGEST_SIDE.

    Raises:
        TypeError: not a pair of integers.
        ValueError: out of bounds.
    """
    check_type(name, size, tuple[int, int])
    height, width = (int(side) for side in cast(tuple[int, int], size))
    if min(height, width) < 1:
        raise ValueError(f"both sides of {name} must be 1 or more, got {height} and {width}")
    if max(height, width) > LARGEST_SIDE:
        raise ValueError(f"both sides of {name} must be at most {LARGEST_SIDE}, got {height} and {width}")
    return height, width


def check_seed(seed: object) -> int:
    """A seed, 0 to 2^31 - 1.

    Raises:
        TypeError, ValueError: it is none.
    """
    return check_whole("seed", seed, 0, 2**31 - 1)


def check_memory(memory: object) -> int:
    """The argument `memory`: a number of bytes to work in, 64 MiB or more, and no more than the machine has.

    Raises:
        TypeError, ValueError: it is none.
    """
    check_type("memory", memory, int)
    if cast(int, memory) < 2**26:
        raise ValueError(f"memory must be at least {2**26} bytes (64 MiB), got {memory}")
    there = total_memory()
    if there is not None and cast(int, memory) > there:
        raise ValueError(f"memory must be at most {there} bytes, which is what this machine has, got {memory}")
    return check_whole("memory", memory, most=MOST_MEMORY)


def check_room(name: str, value: object, wanted: int) -> None:
    """Refuse an argument for which more memory would be needed than the machine has: see `limits.require_memory`.

    Args:
        name, value: the argument that asks for so much.
        wanted: bytes.

    Raises:
        TooLarge: the machine has less.
    """
    require_memory(wanted, f"{name} ({seen_text(value)})")


def check_path(name: str, path: object, kind: str = "a path") -> Path:
    """A path that a file or a folder can have.

    Raises:
        TypeError: not a path.
        ValueError: empty, or with a null character.
        OSError: a name longer than file systems allow.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name} must be {kind}, got {seen(path)}")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"{name} must be {kind}, got {seen_text(text) if text else 'an empty string'}")
    if max(len(os.fsencode(part)) for part in Path(text).parts) > LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, f"{name} has a file name of more than {LONGEST_NAME} bytes", seen_text(text))
    return Path(text)


def check_levels(name: str, levels: object) -> tuple[float, ...]:
    """Noise levels as floats, from any sequence or array of numbers.

    Raises:
        TypeError, ValueError: they are something else, or too many.
    """
    if _is_tensor(levels):
        check_dense(name, cast("torch.Tensor", levels))
    size = int(np.prod(getattr(levels, "shape", ())))
    if size > MOST_LEVELS or (isinstance(levels, Sequence) and len(levels) > MOST_LEVELS):
        raise ValueError(f"{name} must be at most {MOST_LEVELS} noise levels, got {seen(levels)}")
    numbers = levels.tolist() if _is_tensor(levels) or isinstance(levels, np.ndarray) else levels  # type: ignore[attr-defined]
    check_type(name, numbers, Sequence[float])
    return tuple(float(level) for level in cast("Sequence[float]", numbers))


def check_device(name: str, device: object) -> torch.device:
    """A device that torch can compute on here.

    Raises:
        TypeError: neither a name nor a torch device.
        ValueError: no such device, or none on this machine.
    """
    import torch

    if not isinstance(device, str | torch.device):
        raise TypeError(f"{name} must be a device such as 'cpu' or 'cuda', got {seen(device)}")
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it computes nothing")
        torch.ones(1, dtype=torch.float32, device=found).sum().item()
    except Exception as error:  # torch raises AssertionError, RuntimeError, NotImplementedError, ...
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise ValueError(
            f"{name} {str(device)!r} cannot be used here ({reason}): choose another, such as 'cpu'"
        ) from error
    return found


def check_dense(name: str, values: torch.Tensor | np.ndarray) -> None:
    """Refuse tensors and arrays whose values cannot be read one by one.

    Raises:
        TypeError: a sparse, quantized or nested tensor, one without values (on the device "meta"), or a masked array.
        ValueError: a tensor inside of torch.func.vmap.
        MemoryError: a small tensor or array that is expanded beyond the memory of the machine.
    """
    if isinstance(values, np.ndarray):
        if isinstance(values, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be a masked array, got {seen(values)}: fill it, as with .filled(0)")
        check_room(name, values, values.nbytes)
        return
    import torch

    tensor, kind = values, None
    if _is_mapped(tensor):
        raise ValueError(
            f"{name} cannot be mapped (torch.func.vmap, vectorize=True): pass a batch of images; for Jacobians use "
            "torch.func.jacrev"
        )
    if tensor.layout != torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    elif tensor.is_quantized:
        kind = "quantized"
    elif tensor.device.type == "meta":
        kind = "meta (without values)"
    if kind is not None:
        raise TypeError(f"{name} must be a dense tensor, got one that is {kind}: convert it, as with .to_dense()")
    check_room(name, tensor, tensor.numel() * tensor.element_size())


def remedy_for(name: str, value: object) -> str:
    """What to do about a value of the wrong kind, as the end of a message; often nothing."""
    kind, remedy = REMEDIES.get(name, (object, ""))
    return remedy if isinstance(value, kind) else ""


def seen(value: object) -> str:
    """A value with its type, short enough for a message."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance of it"
    return f"{type(value).__name__} {seen_text(value)}"


def seen_text(value: object) -> str:
    """A value, short enough for a message."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None and len(shape):
        return f"{dtype} of shape {tuple(shape)}"
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:  # an integer of more digits than Python prints, or a faulty __repr__
        return "(too long to show)"
    return text if len(text) <= 80 else text[:77] + "..."


def _is_mapped(tensor: torch.Tensor) -> bool:
    """Whether a tensor is the batched one of a function mapped by torch.func.vmap, or by torch.autograd's own vmap."""
    import torch

    inside = torch._C._functorch
    while inside.is_functorch_wrapped_tensor(tensor):
        if inside.is_batchedtensor(tensor):
            return True
        tensor = inside.get_unwrapped(tensor)
    return inside.is_legacy_batchedtensor(tensor)


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


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
        _need(not _is_tensor(value))
        if isinstance(value, Sequence):
            _accept_items(name, value, (args[0], ...), nan)
    else:
        _need(value is None if hint in (None, type(None)) else isinstance(value, kind))
        if _is_tensor(value):
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


def _is_tensor(value: object) -> bool:
    # Without importing torch, which takes seconds: where it was never imported there are no tensors.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _bounds(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    if least is not None and most is not None:
        return f"between {least} and {most}"
    low = f"{least} or more" if least is not None else f"above {above}" if above else "positive" if above == 0 else ""
    high = f"at most {most}" if most is not None else f"below {below}" if below is not None else ""
    return " and ".join(part for part in (low, high) if part)


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
