"""Reading pickles runs nothing: whatever a file asks for, only tensors and records come out, or an error."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from elsewhere.networks import inert_pickles
from elsewhere.networks.inert_pickles import Record, kind_of, read_inert, state_of, weights_of


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("protocol", range(6))
def test_calls_are_kept_as_records_and_not_made(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    asked = [
        Calls(os.system, f"touch {mark}"),
        Calls(builtins.eval, f"open({str(mark)!r}, 'w')"),
        Calls(builtins.exec, f"open({str(mark)!r}, 'w')"),
        Calls(subprocess.Popen, ["touch", str(mark)]),
        Calls(os.mkdir, str(mark)),
        Calls(builtins.__import__, "antigravity"),
    ]
    found = read_inert(write(tmp_path / "file", pickle.dumps(asked, protocol)))
    assert not mark.exists()
    assert all(isinstance(each, Record) for each in found)
    assert [each.kind for each in found[1:3]] == ["eval", "exec"]
    # The same file harms with Python's own reader: the test would see it.
    pickle.loads(pickle.dumps(asked[4], protocol))
    assert mark.exists()


def _bytes(value: bytes) -> bytes:
    """The operation that puts bytes on the stack of a pickle."""
    return b"C" + bytes([len(value)]) + value


ATTACKS: dict[str, bytes] = {
    # Attributes of the functions that are called, and of classes, set by BUILD.
    "changes a function": b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'__code__'\nI1\nstb.",
    "changes its slot": b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'_function'\nI1\nstb.",
    "changes a class": b"cmodels\nDDIM\n}S'__new__'\nI1\nsb.",
    "changes OrderedDict": b"ccollections\nOrderedDict\n(N}S'__setitem__'\nI1\nstb.",
    "an outside reference": b"S'x'\nQ.",
    "a tensor of no storage": b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI0\n(I1\nt(I1\ntI00\nNtR.",
    "a parameter of no tensor": b"ctorch._utils\n_rebuild_parameter\n(I1\nI00\nNtR.",
    "a storage of no bytes": b"ctorch.storage\n_load_from_bytes\n(I1\ntR.",
    "a storage that is a pickle": b"ctorch.storage\n_load_from_bytes\n("
    + _bytes(pickle.dumps(Calls(os.getpid)))
    + b"tR.",
    # Python's hash of nested tuples ends the process.
    "tuples in tuples as a key": b"\x80\x04})" + b"\x85" * 300_000 + b"Ns.",
    "tuples in tuples in an OrderedDict": b"ccollections\nOrderedDict\n)R)" + b"\x85" * 300_000 + b"Ns.",
    "a list as a key": b"\x80\x04}]Ns.",
    "nothing on the stack": b"R.",
    "cut short": pickle.dumps(list(range(1000)))[:-20],
    "no pickle": b"\x00\x01\x02",
    "empty": b"",
    "an extension": b"\x82\x01.",
    "a long number": b"\x8b\xff\xff\xff\x7f.",
    "long bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_in_an_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    before = dict(vars(collections.OrderedDict)), inert_pickles.CALLED.copy(), inert_pickles._tensor.__code__
    with pytest.raises(ValueError, match=r"file is no file of a network that can be read") as caught:
        read_inert(write(tmp_path / "file", ATTACKS[name]))
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(": ")
    assert before == (
        dict(vars(collections.OrderedDict)),
        inert_pickles.CALLED.copy(),
        inert_pickles._tensor.__code__,
    )


def tensor_pickle(offset: int, size: tuple[int, ...], stride: tuple[int, ...], count: int = 4) -> bytes:
    """The pickle of a tensor with a storage "0" of floats, as torch.save writes it."""
    body = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if thing is mark else None

    mark = Calls(int)
    arguments = (mark, offset, size, stride, False, collections.OrderedDict())
    Pickler(body, 2).dump(Calls(torch._utils._rebuild_tensor_v2, *arguments))
    return body.getvalue()


def archive(path: Path, body: bytes, data: bytes = bytes(16), compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("net/data.pkl", body)
        file.writestr("net/byteorder", b"little")
        file.writestr("net/data/0", data)
    return path


def test_a_tensor_of_the_format_is_read(tmp_path: Path) -> None:
    data = torch.arange(4.0).numpy().tobytes()
    found = read_inert(archive(tmp_path / "net.pt", tensor_pickle(1, (3,), (1,)), data))
    assert torch.equal(found, torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("offset", "size", "stride", "count"),
    [
        (0, (10**9, 10**9), (0, 0), 4),  # an endless repetition of one number
        (2, (3,), (1,), 4),
        (-1, (2,), (1,), 4),
        (0, (2, 2), (4, 1), 4),
        (0, (2,), (1, 1), 4),
        (0, (4,), (1,), 5),
    ],
)
def test_tensors_beyond_their_storage_are_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], count: int, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no file of a network"):
        read_inert(archive(tmp_path / "net.pt", tensor_pickle(offset, size, stride, count)))


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = tensor_pickle(0, (4,), (1,))
    with pytest.raises(ValueError, match="it is compressed"):
        read_inert(archive(tmp_path / "net.pt", body, compression=zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as file:
        file.writestr("readme", "text")
    with pytest.raises(ValueError, match=r"no file of torch\.save"):
        read_inert(tmp_path / "other.pt")
    many = archive(tmp_path / "net.pt", body)
    data = bytearray(many.read_bytes())
    place = data.rindex(b"PK\x01\x02")  # the entry of the storage in the list of contents
    data[place + 20 : place + 28] = (10**6).to_bytes(4, "little") * 2
    (tmp_path / "larger.pt").write_bytes(data)
    with pytest.raises(ValueError, match="its entries overlap"):
        read_inert(tmp_path / "larger.pt")
    monkeypatch.setattr(inert_pickles, "LONGEST_PICKLE", 10)
    with pytest.raises(ValueError, match="pickle has more than 10 bytes"):
        read_inert(archive(tmp_path / "net.pt", body))
    monkeypatch.setattr(inert_pickles, "LARGEST", 10)
    with pytest.raises(ValueError, match="has more than 10 bytes"):
        read_inert(tmp_path / "net.pt")


def test_the_state_of_a_tensor_is_not_taken(tmp_path: Path) -> None:
    tensor = tensor_pickle(0, (4,), (1,))[:-1]
    state = pickle.dumps((None, 0, (10**6,), (1,)), 2)[2:-1]
    with pytest.raises(ValueError, match="it changes a Tensor"):
        read_inert(archive(tmp_path / "net.pt", tensor + state + b"b."))


def test_every_kind_of_number_comes_back(tmp_path: Path) -> None:
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    given = {str(kind): torch.arange(6).view(2, 3).to(kind) for kind in kinds} | {"none": torch.zeros(0, 3)}
    given["strided"] = torch.arange(12.0).view(3, 4).t()[1:]
    torch.save(given, tmp_path / "new.pt")
    with (tmp_path / "plain").open("wb") as file:
        pickle.dump(given, file)
    for name in ("new.pt", "plain"):
        found = read_inert(tmp_path / name)
        assert found.keys() == given.keys()
        for key, value in given.items():
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)


def test_weights_of_a_module_have_the_names_of_its_state_dict(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save(module, tmp_path / "net.pt")
    found = read_inert(tmp_path / "net.pt")
    assert (kind_of(found), state_of(found)["training"]) == ("Sequential", True)
    weights = weights_of(found)
    assert weights.keys() == module.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())


def test_sets_are_records_of_their_items(tmp_path: Path) -> None:
    found = read_inert(write(tmp_path / "file", pickle.dumps([{1, 2}, frozenset({3}), set(), {"a": {(1, 2)}}], 4)))
    assert [each.items for each in found[:3]] == [[1, 2], [3], []]
    assert found[3]["a"].items == [(1, 2)]


def test_a_network_that_contains_itself_ends_in_an_error() -> None:
    record = Record()
    record.__setstate__({"_modules": {"again": record, "and": record}})
    with pytest.raises(ValueError, match="more than 10,000 modules"):
        weights_of(record)
