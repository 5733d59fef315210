"""Tensors in safetensors files: written whole with a checksum; read into memory and checked before they are used."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from elsewhere.files import atomic_path

CHECKSUM = "elsewhere.checksum"

LARGEST = 2**34
"""Bytes of a file: 16 GiB, a checkpoint of 10^9 parameters. Larger files are refused before they are read."""

LONGEST_HEADER = 2**24
"""Bytes of the JSON with the names of the tensors and the metadata: 16 MiB, 100 bytes for each of 160,000 tensors."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text to a safetensors file with a checksum of both; the file is whole or is not written.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_tensors(path, held, {**metadata, CHECKSUM: checksum(held, metadata)})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write contiguous tensors and text as they are, without a checksum; otherwise as `write_tensors`."""
    with atomic_path(path) as beside:
        try:
            save_file(dict(tensors), beside, dict(metadata))
        except SafetensorError as error:
            # safetensors has one exception for everything; the number of the system's error is in its text.
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else errno.EIO
            raise OSError(number, os.strerror(number) if found else one_line(error), str(path)) from error


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file written by `write_tensors`.

    Raises:
        FileNotFoundError: no such file.
        OSError: the file cannot be read.
        ValueError: see `read_whole`; no checksum, or contents that do not match it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no network file {path}")
    metadata, tensors = read_whole(path)
    if CHECKSUM not in metadata:
        raise ValueError(
            f"{path} has no checksum: expected a file written by this version of Elsewhere; train again, or write the "
            "file again with elsewhere.networks.save_network if you trust it"
        )
    kept = metadata.pop(CHECKSUM)
    if kept != checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged (its contents do not match its checksum): copy or make it again")
    return metadata, tensors


def read_whole(path: Path, most: int = LARGEST) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of any safetensors file, read into memory; nothing in them is checked.

    The file is read once and is not mapped into memory: a file that is replaced, changed or cut short later changes
    no tensor and does not end the process. That takes twice its size in memory for a moment.

    Args:
        path: a file.
        most: bytes. A larger file is refused before it is read.

    Raises:
        OSError: the file cannot be read.
        ValueError: not a safetensors file, more than `most` bytes, or a header of more than `LONGEST_HEADER`.
    """
    if path.exists() and not path.is_file():
        # Opening a pipe would wait for whoever writes to it.
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"{path} has {size:,} bytes: expected at most {most:,}")
        # A file of another format can be large; its first bytes are enough to refuse it.
        header = int.from_bytes(file.read(8).ljust(8, b"\xff"), "little")
        if header > min(size - 8, LONGEST_HEADER):
            raise ValueError(f"{path} is not a readable safetensors file: it does not begin with a header")
        file.seek(0)
        data = file.read(size)
    try:
        tensors = load(data)
        metadata: dict[str, str] = json.loads(data[8 : 8 + header]).get("__metadata__") or {}
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {one_line(error)}") from error
    return metadata, tensors


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash of names, dtypes, shapes, values and text; the order of the entries does not matter."""
    names = sorted(tensors)
    described = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    digest = hashlib.blake2b(json.dumps([described, sorted(metadata.items())]).encode(), digest_size=16)
    for name in names:
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Make sure that no tensor of a file holds NaN or infinity.

    Raises:
        ValueError: one does.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path} holds NaN or infinite values in {name}: copy or make the file again")


def one_line(error: BaseException) -> str:
    """The message of an error, some of torch's being long lists, on one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
