from __future__ import annotations

import errno
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from elsewhere import tensor_files
from elsewhere.networks import NetworkSpec, load_network, save_network
from elsewhere.tensor_files import CHECKSUM, checksum, read_tensors, write_tensors

HELD = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.tensor(0.5), "d": torch.zeros(0, 2)}
ABOUT = {"what": "a test", "number": "5"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "held.safetensors"
    write_tensors(path, HELD, ABOUT)
    return path


def test_what_was_written_is_read(file: Path) -> None:
    metadata, tensors = read_tensors(file)
    assert metadata == ABOUT
    assert tensors.keys() == HELD.keys()
    assert all(torch.equal(tensors[name], HELD[name]) and tensors[name].dtype == HELD[name].dtype for name in HELD)


def test_what_was_read_does_not_change_with_the_file(file: Path) -> None:
    _, tensors = read_tensors(file)
    size = file.stat().st_size
    with file.open("r+b") as handle:
        handle.write(bytes(size))
        handle.truncate(10)
    assert torch.equal(tensors["a"], HELD["a"])


def test_no_flipped_bit_passes(file: Path) -> None:
    content = file.read_bytes()
    for bit in range(0, 8 * len(content), 5):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=r"held\.safetensors"):
            read_tensors(file)


def test_no_cut_passes(file: Path) -> None:
    content = file.read_bytes()
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"held\.safetensors"):
            read_tensors(file)


def test_the_checksum_is_of_names_types_shapes_values_and_text() -> None:
    one = checksum(HELD, ABOUT)
    assert one == checksum(dict(reversed(HELD.items())), dict(reversed(ABOUT.items())))
    others: list[tuple[dict[str, torch.Tensor], dict[str, str]]] = [
        ({**HELD, "a": HELD["a"].reshape(3, 2)}, ABOUT),
        ({**HELD, "a": HELD["a"].view(torch.int32)}, ABOUT),
        ({**HELD, "a": -HELD["a"]}, ABOUT),
        ({**HELD, "d": torch.zeros(2, 0)}, ABOUT),
        ({("e" if name == "a" else name): value for name, value in HELD.items()}, ABOUT),
        (HELD, {**ABOUT, "number": "6"}),
        (HELD, {"what": "a test"}),
    ]
    assert len({one, *(checksum(held, about) for held, about in others)}) == 1 + len(others)


def test_a_network_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    spec = NetworkSpec("resnet", 1, (6, 6), 0, {"width": 4, "blocks": 1}, "toys")
    path = tmp_path / "network.safetensors"
    save_network(path, spec.build(), spec)
    content = path.read_bytes()
    header = struct.unpack("<Q", content[:8])[0]
    chance = random.Random(0)
    # As many in the header, which holds the description, as in the weights.
    bits = [chance.randrange(8 * (8 + header)) for _ in range(30)]
    bits += [chance.randrange(8 * (8 + header), 8 * len(content)) for _ in range(30)]
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"network\.safetensors") as caught:
            load_network(tmp_path)
        assert "\n" not in str(caught.value)


def _header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        b"\xff" * 100,
        _header("[" * 100_000),
        _header('{"a":' * 100_000),
        _header("{}"),
        _header('{"__metadata__": null}'),
        _header('{"__metadata__": {"elsewhere.checksum": ""}}'),
        _header('{"a": {"dtype": "F8_E8M0", "shape": [0], "data_offsets": [0, 0]}}'),
        _header('{"a": {"dtype": "F32", "shape": [0, 18446744073709551615], "data_offsets": [0, 0]}}'),
        _header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 99999999999]}}'),
    ],
)
def test_crafted_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "crafted.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"crafted\.safetensors"):
        read_tensors(path)


def test_a_file_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.truncate(tensor_files.LARGEST + 1)
    with pytest.raises(ValueError, match="expected at most"):
        read_tensors(path)


def test_a_file_without_a_checksum_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"no checksum.*save_network"):
        read_tensors(path)


def test_the_error_of_a_full_disk_is_an_oserror_that_names_the_file(file: Path, monkeypatch: Any) -> None:
    before = file.read_bytes()

    def full(*arguments: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_tensors(file, HELD, {})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


TINY = "--width 16 --blocks 2 --batch 2 --checkpoint-every 1 --sample-every 1000000"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts a disk")
def test_a_training_on_a_full_disk_ends_in_one_line_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        out = disk / "run"
        run = [
            sys.executable,
            "-m",
            "elsewhere",
            "train",
            "fashion-mini",
            "--limit",
            "4",
            *TINY.split(),
            "--out",
            str(out),
        ]
        first = subprocess.run([*run, "--steps", "1"], capture_output=True, text=True, timeout=120)
        assert first.returncode == 0, first.stderr
        kept = (out / "checkpoint.safetensors").read_bytes()
        (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        again = subprocess.run([*run, "--steps", "1"], capture_output=True, text=True, timeout=120)
        assert again.returncode == 2
        assert "Traceback" not in again.stderr
        notes, errors = ("note: ", "error: ")
        lines = again.stderr.strip().splitlines()
        assert [line.startswith(errors) for line in lines if not line.startswith(notes)] == [True]
        assert "No space left on device" in again.stderr
        assert (out / "checkpoint.safetensors").read_bytes() == kept
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_the_checksum_is_in_the_metadata(file: Path) -> None:
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert header["__metadata__"][CHECKSUM] == checksum(HELD, ABOUT)
