"""CIFAR-10's binary files, their folder and their archive, whole and damaged."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from elsewhere.data import load_images, streams
from elsewhere.data.cifar import RECORD
from tests.data.toys import Pixels, pixels, refused

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PER_FILE = 3


def batch(seed: int, count: int = PER_FILE) -> tuple[Pixels, Pixels]:
    """Images (N, 3, 32, 32) and their classes."""
    return pixels(count, 3, 32, 32, seed=seed), pixels(count, seed=seed + 100) % 10


def records(images: Pixels, labels: Pixels) -> bytes:
    """As the page of CIFAR-10 describes it: one byte of class, then 1,024 of red, green and blue."""
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def files(batches: int = 5) -> dict[str, bytes]:
    """Name -> content of the files of the published archive, with few images."""
    found = {f"data_batch_{i}.bin": records(*batch(i)) for i in range(1, batches + 1)}
    return found | {
        "test_batch.bin": records(*batch(50, 2)),
        "batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode(),
        "readme.html": b"<a>",
    }


def folder(path: Path, **changed: bytes) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in (files() | {f"{key}.bin": value for key, value in changed.items()}).items():
        (path / name).write_bytes(content)
    return path


def archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


SOURCES: dict[str, Callable[[Path], Path]] = {
    "the folder": folder,
    "the folder above it": lambda p: folder(p / "cifar-10-batches-bin").parent,
    "tar.gz": lambda p: archive(p / "cifar-10-binary.tar.gz", files()),
    "tar": lambda p: archive(p / "cifar.tar", files()),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_images_classes_and_names_come_as_they_were_written(kind: str, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path)
    data = load_images(source)
    expected = [batch(i) for i in range(1, 6)]
    assert (data.images.numpy() == np.concatenate([images for images, _ in expected])).all()
    assert data.labels is not None
    assert data.labels.tolist() == np.concatenate([labels for _, labels in expected]).tolist()
    assert (data.name, data.classes) == ("cifar-10", NAMES)
    assert data.left_out == {"images of the split 'test'": 2}
    test = load_images(source, split="test")
    assert (test.images.numpy() == batch(50, 2)[0]).all()
    assert test.left_out == {"images of the split 'train'": 5 * PER_FILE}


def test_one_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "some.bin"
    path.write_bytes(records(*batch(7)))
    data = load_images(path)
    assert (data.images.numpy() == batch(7)[0]).all()
    assert data.name == "some.bin"
    with refused(ValueError, path, "has no splits"):
        load_images(path, split="test")


def test_batches_come_in_natural_order(tmp_path: Path) -> None:
    path = tmp_path / "many.tar"
    data = load_images(archive(path, {f"data_batch_{i}.bin": records(*batch(i, 1)) for i in (10, 9, 2)}))
    assert (data.images.numpy() == np.concatenate([batch(i, 1)[0] for i in (2, 9, 10)])).all()


def test_a_limit_crosses_files_and_reads_no_further(tmp_path: Path) -> None:
    # The last batch has a class that does not exist: it is not looked at.
    source = folder(tmp_path, data_batch_5=bytes([77]) + bytes(RECORD - 1))
    data = load_images(source, PER_FILE + 1)
    assert (data.images.numpy() == np.concatenate([batch(1)[0], batch(2)[0][:1]])).all()
    assert data.left_out["images beyond limit"] == 3 * PER_FILE
    with refused(ValueError, "data_batch_5.bin", "class 77 at record 0"):
        load_images(source)


def test_labels_size_and_colours_are_as_asked(tmp_path: Path) -> None:
    source = folder(tmp_path)
    plain = load_images(source, labels=False, size=16, gray=True)
    assert plain.labels is None
    assert plain.shape == (1, 16, 16)


GOOD = records(*batch(1))
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a cut batch": (lambda p: folder(p, data_batch_3=GOOD[:-1]), "no whole number of records of 3073 bytes"),
    "a batch with a tail": (lambda p: folder(p, data_batch_3=GOOD + b"\0"), "no whole number of records"),
    "a cut test batch": (lambda p: folder(p, test_batch=GOOD[:100]), "no whole number of records"),
    "CIFAR-100": (lambda p: folder(p, data_batch_3=bytes(3074 * 2)), "it may be CIFAR-100"),
    "a class above 9": (lambda p: folder(p, data_batch_3=b"\x0a" + GOOD[1:]), "class 10 at record 0, expected 0 to 9"),
    "a cut batch in a tar": (
        lambda p: archive(p / "a.tar.gz", files() | {"data_batch_2.bin": GOOD[:50]}),
        "no whole number of records",
    ),
    "a cut tar.gz": (lambda p: shortened(archive(p / "a.tar.gz", files()), 0.5), "cannot be read as"),
    "a cut tar": (lambda p: shortened(archive(p / "a.tar", files()), 0.5), "is cut short"),
    "a tar.gz with a flipped byte": (lambda p: flipped(archive(p / "a.tar.gz", files())), "cannot be read as"),
    "text as a tar.gz": (lambda p: written(p / "a.tar.gz", b"no archive\n"), "cannot be read as a tar archive"),
    "pickles in a tar.gz": (
        lambda p: archive(p / "a.tar.gz", {"data_batch_1": b"\x80\x02."}),
        "are refused: give the bi",
    ),
    "another tar.gz": (
        lambda p: archive(p / "a.tar.gz", {"a.png": b"?"}),
        "is an archive, which is not read: unpack it",
    ),
    "an empty file": (lambda p: written(p / "a.bin", b""), "holds no images"),
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def shortened(path: Path, share: float) -> Path:
    content = path.read_bytes()
    return written(path, content[: int(len(content) * share)])


def flipped(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    return written(path, bytes(content))


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_by_name(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    with refused(ValueError, tmp_path, message):
        load_images(make(tmp_path))


def test_a_split_without_a_file_is_refused(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.tar", {"data_batch_1.bin": GOOD})
    with refused(ValueError, source, "no file for split='test'"):
        load_images(source, split="test")
    with refused(ValueError, source, "no file for split='val'"):
        load_images(source, split="val")


def test_declared_sizes_are_checked_before_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tarfile.TarInfo("data_batch_1.bin")
    info.size = RECORD * 10**6
    path = written(tmp_path / "a.tar.gz", gzip.compress(info.tobuf()))

    def allocate(*args: object) -> None:
        raise AssertionError("memory was asked for")

    monkeypatch.setattr(streams.np, "empty", allocate)
    with refused(ValueError, path):
        load_images(path)
    plain = written(tmp_path / "a.tar", info.tobuf())
    with refused(ValueError, plain):
        load_images(plain)
