from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from elsewhere import limits
from elsewhere.data import load_images
from tests.data.toys import pixels, refused, write_picture


def test_the_memory_of_this_machine_is_known() -> None:
    total = limits.total_memory()
    assert total is None or total > 2**26


def test_what_never_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "total_memory", lambda: 1000)
    limits.require_memory(1000, "this")
    with refused(limits.TooLarge, "this needs", "fewer or smaller images"):
        limits.require_memory(1001, "this")
    monkeypatch.setattr(limits, "total_memory", lambda: None)
    limits.require_memory(2**60, "this")


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limit").write_text("123456\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(limits, "CGROUP_LIMITS", [str(tmp_path / name) for name in ("missing", "none", "limit")])
    assert limits.total_memory.__wrapped__() in (None, 123456)


def test_sizes_are_limited_before_the_source_is_looked_for() -> None:
    with refused(ValueError, "size must be at most 20000 pixels a side, got 100000"):
        load_images("no/such/folder", size=100_000)


@pytest.mark.parametrize("kind", ["folder", "npy", "packed"])
def test_images_beyond_the_memory_are_refused_before_it_is_asked_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pixels(4, 20, 20)
    for number, image in enumerate(values):
        write_picture(tmp_path / "folder" / f"{number}.png", image)
    np.save(tmp_path / "npy", values)
    np.savez_compressed(tmp_path / "packed", images=values)
    source = next(path for path in tmp_path.iterdir() if path.stem == kind or path.suffix == f".{kind}")
    monkeypatch.setattr(limits, "total_memory", lambda: 1000)
    with refused(limits.TooLarge, "GiB", "limit=, size="):
        load_images(source)
    monkeypatch.setattr(limits, "total_memory", lambda: 2000)
    assert len(load_images(source)) == 4
    with refused(limits.TooLarge, "4 images of 200x200 pixels"):
        load_images(source, size=200)


def test_a_header_that_declares_a_huge_header_is_not_read(tmp_path: Path) -> None:
    start = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31)
    (tmp_path / "a.npy").write_bytes(start + b" " * 100)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", start + b" " * 10**6)
    (tmp_path / "b.npz").write_bytes(stream.getvalue())
    for path in sorted(tmp_path.iterdir()):
        with refused(ValueError, path, "its header declares 2147483648 bytes"):
            load_images(path)


def test_labels_beyond_any_number_of_classes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pixels(2, 6, 6), labels=[0, 2**40])
    with refused(ValueError, "[labels] must be less than 1000000, got 1099511627776"):
        load_images(tmp_path / "a.npz")
    assert load_images(tmp_path / "a.npz", labels=False).labels is None
