"""CIFAR-10's own binary files: records of a class number and 32 x 32 pixels in three planes, without a header."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import torch

from elsewhere.data.folders import natural
from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import Bytes, conform
from elsewhere.data.request import Request
from elsewhere.data.splits import of_split
from elsewhere.data.streams import REMEDY, check_declared, naming, read_exactly
from elsewhere.limits import require_memory

SIDE, CHANNELS, CLASSES = 32, 3, 10
PIXELS = CHANNELS * SIDE * SIDE
RECORD = 1 + PIXELS
"""Bytes of an image: its class, then the red, the green and the blue plane."""
RECORD_100 = 2 + PIXELS
"""Bytes of an image of CIFAR-100, which has a coarse and a fine class."""
PATTERNS = {"train": "data_batch_*.bin", "test": "test_batch*.bin"}
FOLDER, NAMES = "cifar-10-batches-bin", "batches.meta.txt"
TARS = (".tar.gz", ".tgz", ".tar")
MOST_NAMES = 10_000
"""Most bytes of the file of class names; the published one has 88."""
KIND = "CIFAR-10 records"


def find_cifar_folder(folder: Path) -> Path | None:
    """The folder itself or the one in it that holds the batches, or None."""
    return next((place for place in (folder, folder / FOLDER) if _batches(place)), None)


def load_cifar_folder(folder: Path, request: Request) -> ImageSet:
    """One split of CIFAR-10 from the folder of its batches.

    Args:
        folder: has data_batch_1.bin to data_batch_5.bin, or test_batch.bin, and perhaps batches.meta.txt, the names of
            the classes.
        request: what to read; images of the other split are counted in its `left_out`.

    Raises:
        ValueError: no file of that split, or files as `load_cifar_file` refuses them.
    """
    found = _batches(folder)
    sources = [_Source(path.name, str(path), path.stat().st_size) for path in found]
    text = b""
    if (folder / NAMES).is_file():
        with (folder / NAMES).open("rb") as stream:
            text = stream.read(MOST_NAMES)
    return _load(_Set(sources, _open_file, text, str(folder), "cifar-10"), request)


def load_cifar_file(path: Path, request: Request) -> ImageSet:
    """One binary file of CIFAR-10.

    Raises:
        ValueError: a size that is no whole number of records, a class above 9, no images.
    """
    request.refuse_split(str(path))
    source = _Source(path.name, str(path), path.stat().st_size)
    return _load(_Set([source], _open_file, b"", str(path), path.name, whole=True), request)


def load_cifar_tar(path: Path, request: Request) -> ImageSet:
    """One split of CIFAR-10 from its archive, cifar-10-binary.tar.gz; nothing is unpacked to disk.

    Raises:
        ValueError: a damaged archive, one without the binary batches, or batches as `load_cifar_file` refuses them.
    """
    stored = path.stat().st_size
    with naming(str(path), "a tar archive"):
        archive = tarfile.open(path)  # noqa: SIM115 (closed below)
    with archive:
        with naming(str(path), "a tar archive"):
            members = {PurePosixPath(member.name): member for member in archive if member.isfile()}
        batches = {name: member for name, member in members.items() if any(map(name.match, PATTERNS.values()))}
        if not batches:
            raise ValueError(_refusal(path, members))
        _check_end(path)
        for member in batches.values():
            check_declared(member.size, stored, f"{path}[{member.name}]", compressed=path.suffix != ".tar")

        @contextmanager
        def open_member(source: _Source) -> Iterator[IO[bytes]]:
            with naming(source.shown, KIND):
                stream = archive.extractfile(members[PurePosixPath(source.key)])
            assert stream is not None, "a regular file"
            with stream:
                yield stream

        order = sorted(batches, key=lambda name: natural(Path(name.name)))
        sources = [_Source(name.as_posix(), f"{path}[{name}]", batches[name].size) for name in order]
        text = b""
        for name in (name for name in members if name.name == NAMES):
            with (
                open_member(_Source(name.as_posix(), f"{path}[{name}]", 0)) as stream,
                naming(str(path), "a tar archive"),
            ):
                text = stream.read(MOST_NAMES)
        return _load(_Set(sources, open_member, text, str(path), "cifar-10"), request)


@dataclass(frozen=True)
class _Source:
    """A file of records: the key that opens it, its name in messages, and its bytes."""

    key: str
    shown: str
    size: int


@dataclass(frozen=True)
class _Set:
    """Files of records and how to open them; `whole` reads all of them whatever their names."""

    sources: Sequence[_Source]
    opened: Callable[[_Source], AbstractContextManager[IO[bytes]]]
    names: bytes
    shown: str
    name: str
    whole: bool = False


def _load(files: _Set, request: Request) -> ImageSet:
    counts = {source: _records(source) for source in files.sources}
    chosen = list(files.sources)
    if not files.whole:
        pattern = PATTERNS.get(request.split)
        chosen = [source for source in chosen if pattern and PurePosixPath(source.key).match(pattern)]
        for split, other in PATTERNS.items():
            rest = [s for s in files.sources if split != request.split and PurePosixPath(s.key).match(other)]
            request.left_out[of_split(split)] += sum(counts[source] for source in rest)
        if not chosen:
            found = ", ".join(PurePosixPath(source.key).name for source in files.sources)
            raise ValueError(
                f"{files.shown} has no file for split={request.split!r} ({found}): give split='train' or 'test', or "
                "download the missing files"
            )
    count = request.count(sum(counts[source] for source in chosen), files.shown)
    require_memory(count * RECORD, f"{count} images of {SIDE}x{SIDE} pixels", REMEDY)
    labels, pixels = np.empty(count, np.int64), np.empty((count, CHANNELS, SIDE, SIDE), np.uint8)
    done = 0
    for source in chosen:
        some = min(counts[source], count - done)
        if some:
            rows = _read(files, source, some)
            labels[done : done + some] = rows[:, 0]
            pixels[done : done + some] = rows[:, 1:].reshape(some, CHANNELS, SIDE, SIDE)
            done += some
    images = conform(pixels, request, files.shown)
    classes = _class_names(files.names)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels) if request.labels else None, files.name, classes)


def _read(files: _Set, source: _Source, count: int) -> Bytes:
    with files.opened(source) as stream:
        rows = read_exactly(stream, count * RECORD, source.shown, KIND).reshape(count, RECORD)
    if int(rows[:, 0].max()) >= CLASSES:
        where = int((rows[:, 0] >= CLASSES).argmax())
        raise ValueError(
            f"{source.shown} has the class {rows[where, 0]} at record {where}, expected 0 to {CLASSES - 1}: it is "
            "damaged or no binary file of CIFAR-10; download it again"
        )
    return rows


def _records(source: _Source) -> int:
    """How many records a file has by its size."""
    if source.size % RECORD == 0:
        return source.size // RECORD
    hint = (
        "it may be CIFAR-100, which is not read" if source.size and source.size % RECORD_100 == 0 else "it is cut short"
    )
    raise ValueError(
        f"{source.shown} has {source.size} bytes, no whole number of records of {RECORD} bytes: {hint}, or is no "
        "binary file of CIFAR-10; download it again"
    )


def _class_names(text: bytes) -> tuple[str, ...]:
    """The names of the ten classes, or none where the file has others."""
    names = tuple(line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip())
    return names if len(names) == CLASSES else ()


def _batches(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = {path for pattern in PATTERNS.values() for path in folder.glob(pattern) if path.is_file()}
    return sorted(found, key=natural)


@contextmanager
def _open_file(source: _Source) -> Iterator[IO[bytes]]:
    with Path(source.shown).open("rb") as stream:
        yield stream


def _check_end(path: Path) -> None:
    """Refuse archives that are damaged or cut short where `tarfile` does not notice.

    A plain archive ends silently where its bytes end. The checksum of a packed one is behind the last file.

    Raises:
        ValueError: a plain archive does not end with a block of zeros, or the checksum of a packed one is wrong.
    """
    if path.suffix != ".tar":
        with naming(str(path), "a tar archive"), gzip.open(path) as packed:
            while packed.read(2**24):
                pass
        return
    with path.open("rb") as stream:
        stream.seek(-min(tarfile.BLOCKSIZE, path.stat().st_size), 2)
        if any(stream.read()):
            raise ValueError(f"{path} is cut short: a tar archive ends with zeros: download or copy the file again")


def _refusal(path: Path, members: Iterable[PurePosixPath]) -> str:
    if any(name.name == "data_batch_1" for name in members):
        return (
            f"{path} holds CIFAR-10 as pickles, which can run code when opened and are refused: "
            "give the binary version, cifar-10-binary.tar.gz"
        )
    return f"{path} is an archive, which is not read: unpack it and give the folder"
