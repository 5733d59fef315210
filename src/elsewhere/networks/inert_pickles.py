"""Pickles of whole networks, read without running any of their code.

A pickle names functions and classes, and asks for them to be called. Here only the functions that put tensors together
are called, by code of this module; every other name becomes a `Record`, which holds what it was given and does nothing.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from elsewhere.tensor_files import LARGEST, one_line

LONGEST_PICKLE = 2**26
"""Bytes of the pickle inside of a torch file, beside its tensors: 64 MiB, a thousand times that of a published one."""
MOST_MODULES = 10_000
"""Modules of a network, each counted as often as it is used; published ones have up to 1,000."""

DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


class Record:
    """What a pickle says of an object of a class that is not loaded.

    Attributes:
        origin: module and name of the class or function, such as "models.MinimalResNet".
        args: what it was called with.
        state: what its `__setstate__` would have been given; None without.
        items: what it would hold as a list or dictionary, in order.
    """

    origin = ""
    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any, **settings: Any) -> Record:
        made = super().__new__(cls)
        made.args, made.state, made.items = args, None, []
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)

    add = append

    @property
    def kind(self) -> str:
        """Name of the class, without its module."""
        return self.origin.rpartition(".")[2]


class _Dict(dict[Any, Any]):
    """A dictionary with plain keys. Python ends without an error where it hashes tuples in tuples in tuples, ..."""

    def __init__(self, pairs: Iterable[Any] = ()) -> None:
        super().__init__()
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise pickle.UnpicklingError("a key that is no plain value")
        super().__setitem__(key, value)

    def __setstate__(self, state: Any) -> None:
        """Leave out what torch writes beside a state_dict."""


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of its storage, in the place of torch._utils._rebuild_tensor_v2."""
    if not isinstance(storage, Tensor) or storage.ndim != 1:
        raise pickle.UnpicklingError("a tensor without storage")
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or any(type(number) is not int or number < 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor of no shape")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    # Tensors that are repeated in memory could ask for any amount of it.
    if math.prod(size) > storage.numel() or (math.prod(size) and last >= storage.numel()):
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return torch.as_strided(storage, size, stride, offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter that is no tensor")
    return data


def _storage(data: Any) -> Tensor:
    """The numbers of a storage that pickle.dump wrote, in the place of torch.storage._load_from_bytes."""
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a storage of no bytes")
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(found, torch.TypedStorage):
        raise pickle.UnpicklingError("a storage of another kind")
    return torch.tensor([], dtype=found.dtype, device="cpu").set_(found)


CALLED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
}


class _Reader(pickle._Unpickler):
    """Python's own reader, in its form that is written in Python: that lets dictionaries and sets be replaced."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any, storage: Callable[[str, str, int], Tensor] | None = None) -> None:
        super().__init__(file)
        self._read_storage = storage
        self._records: dict[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in CALLED:
            return CALLED[module, name]
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) not in self._records:
            self._records[module, name] = type("Record", (Record,), {"origin": f"{module}.{name}"})
        return self._records[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        if self._read_storage is None or not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to something outside")
        _, kind, key, _place, count = pid
        if not (isinstance(kind, type) and issubclass(kind, Record)) or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage of no kind")
        return self._read_storage(kind.origin.rpartition(".")[2], key, count)

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError("a class named by a number")

    def _build(self) -> None:
        # Everything else that has a state, such as a tensor, would do something with it.
        if not isinstance(self.stack[-2], Record | _Dict):
            raise pickle.UnpicklingError(f"it changes a {type(self.stack[-2]).__name__}")
        super().load_build()  # type: ignore[misc]

    def _push_dict(self) -> None:
        self.append(_Dict())

    def _make_dict(self) -> None:
        items = self.pop_mark()
        self.append(_Dict(zip(items[::2], items[1::2], strict=True)))

    def _push_set(self) -> None:
        self.append(Record())

    def _make_set(self) -> None:
        made = Record()
        made.items = self.pop_mark()
        self.append(made)

    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.EMPTY_DICT[0]] = _push_dict
    dispatch[pickle.DICT[0]] = _make_dict
    dispatch[pickle.EMPTY_SET[0]] = _push_set
    dispatch[pickle.FROZENSET[0]] = _make_set


def read_inert(path: Path) -> Any:
    """The contents of a file of torch.save or pickle.dump: tensors, plain Python objects, and records for the rest.

    No code of the file is run and nothing that it names is imported.

    Raises:
        OSError: the file cannot be read.
        ValueError: no such file format, a damaged file, compressed or overlapping storages, more than `LARGEST` bytes.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise ValueError(f"{path} has more than {LARGEST:,} bytes")
        try:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _Reader(file).load()
        except OSError:
            raise
        # A pickle that is damaged, or made to do harm, makes its reader fail in any way.
        except Exception as error:
            # The reader of pickles says nothing where a file ends too early.
            reason = one_line(error) or "it ends too early"
            raise ValueError(f"{path} is no file of a network that can be read: {reason}") from error


def _read_zip(file: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is no file of torch.save")
        home = pickles[0].removesuffix("data.pkl")
        # What is not compressed takes no more memory than the file has bytes.
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise ValueError("it is compressed, as files of torch.save are not")
        if sum(info.file_size for info in entries.values()) > os.fstat(file.fileno()).st_size:
            raise ValueError("its entries overlap")
        if f"{home}byteorder" in entries and archive.read(f"{home}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        if entries[pickles[0]].file_size > LONGEST_PICKLE:
            raise ValueError(f"its pickle has more than {LONGEST_PICKLE:,} bytes")
        read: dict[str, Tensor] = {}

        def storage(kind: str, key: str, count: int) -> Tensor:
            if kind not in DTYPES:
                raise ValueError(f"it has a storage of the kind {kind[:40]}")
            if key not in read:
                data = bytearray(archive.read(f"{home}data/{key}"))
                read[key] = (
                    torch.frombuffer(data, dtype=torch.uint8)
                    if data
                    else torch.empty(0, dtype=torch.uint8, device="cpu")
                )
            found = read[key].view(DTYPES[kind])
            if found.numel() != count:
                raise ValueError("it has a storage of another length than it says")
            return found

        return _Reader(io.BytesIO(archive.read(pickles[0])), storage).load()


def kind_of(thing: Any) -> str:
    """Name of the class of a record, also of one that EDM's `persistence` has pickled; the type of anything else."""
    if not isinstance(thing, Record):
        return type(thing).__name__
    return str(_persistent(thing).get("class_name", thing.kind))


def state_of(thing: Any) -> dict[str, Any]:
    """The attributes of the object that a record stands for; empty where there are none."""
    if not isinstance(thing, Record):
        return {}
    state = _persistent(thing).get("state", thing.state)
    return state if isinstance(state, dict) else {}


def _persistent(record: Record) -> dict[str, Any]:
    """What `torch_utils.persistence` of EDM keeps of an object: its class_name, its state, and code that is not run."""
    named = record.kind == "_reconstruct_persistent_obj" and len(record.args) == 1
    return record.args[0] if named and isinstance(record.args[0], dict) else {}


def weights_of(thing: Any) -> dict[str, Tensor]:
    """Parameters and buffers of a torch module that a record stands for, under the names of its `state_dict`.

    Raises:
        ValueError: more than `MOST_MODULES` modules.
    """
    found: dict[str, Tensor] = {}
    waiting, seen = [("", thing)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > MOST_MODULES:
            raise ValueError(f"the network has more than {MOST_MODULES:,} modules")
        state = state_of(module)
        for group in ("_parameters", "_buffers"):
            for name, value in _entries(state.get(group)):
                if isinstance(value, Tensor):
                    found[prefix + name] = value
        waiting += [(f"{prefix}{name}.", child) for name, child in _entries(state.get("_modules"))]
    return found


def child_of(thing: Any, name: str) -> Any:
    """The module of that name in a module that a record stands for, or None; dots lead further down."""
    for part in name.split("."):
        thing = dict(_entries(state_of(thing).get("_modules"))).get(part)
    return thing


def _entries(value: Any) -> list[tuple[str, Any]]:
    return [(key, item) for key, item in value.items() if isinstance(key, str)] if isinstance(value, dict) else []
