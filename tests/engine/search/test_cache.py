"""Indexes on disk: found again, checked before they are trusted, and never half written."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

import elsewhere as els
from elsewhere import tensor_files
from elsewhere.engine import Index, WindowKeys
from elsewhere.engine.search import cache as module
from elsewhere.engine.search.cache import IndexCache
from elsewhere.files import default_folder
from tests.engine.engine_toys import keys_of

IMAGES = els.load_images("fashion-mini", 12).images


@pytest.fixture(autouse=True)
def everything_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 100)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys every index had that was built."""
    seen: list[int] = []
    honest = module.build_index

    def build(keys: WindowKeys, **settings: object) -> Index:
        seen.append(len(keys))
        return honest(keys, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "build_index", build)
    return seen


def take(folder: Path, images: torch.Tensor = IMAGES, window: int = 5, merge: bool = True) -> Index:
    keys = keys_of(images, window)
    return IndexCache.of(folder, keys.store.pixels).get(keys, merge)


def same(one: Index, other: Index) -> bool:
    mine, theirs = one.tensors(), other.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_an_index_is_written_once_and_read_back_equal(tmp_path: Path, builds: list[int]) -> None:
    folder = tmp_path / "made" / "when needed"
    first = take(folder)
    path = only(folder)
    assert path.suffix == ".safetensors", "no temporary file is left"
    before = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = take(folder)
    assert len(builds) == 1
    assert same(first, again)
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["images", "order", "window", "merge", "kind"])
def test_what_an_index_depends_on_names_its_file(tmp_path: Path, builds: list[int], change: str) -> None:
    take(tmp_path)
    images = IMAGES.clone()
    if change == "images":
        images[3, 0, 14, 14] ^= 1
    elif change == "order":
        images = images.flip(0)
    elif change == "kind":
        images = images / 127.5 - 1
    take(tmp_path, images, 3 if change == "window" else 5, change != "merge")
    assert len(builds) == 2
    assert len(list(tmp_path.iterdir())) == 2


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def rewrite(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    """Tensors changed by somebody who knows how files are hashed."""

    def damage(path: Path) -> None:
        held = load_file(path)
        with safe_open(path, "pt") as file:
            what = (file.metadata() or {})["what"]
        change(held)
        save_file(held, path, {"what": what, "hash": module._hash(held, what)})

    return damage


def beyond(held: dict[str, torch.Tensor]) -> None:
    held["kept"][5] = 10**6


def before(held: dict[str, torch.Tensor]) -> None:
    held["kept"][5] = -1


def falling(held: dict[str, torch.Tensor]) -> None:
    held["starts"][2] = held["starts"][1]


def short(held: dict[str, torch.Tensor]) -> None:
    held["kept"] = held["kept"][:-1].clone()


def missing(held: dict[str, torch.Tensor]) -> None:
    del held["cells.slope"]


def narrow(held: dict[str, torch.Tensor]) -> None:
    held["cells.mean"] = held["cells.mean"][:, :-1].clone()


def fewer(held: dict[str, torch.Tensor]) -> None:
    held["groups.mean"] = held["groups.mean"][:-1].clone()


def thin(held: dict[str, torch.Tensor]) -> None:
    held["inner"] = held["inner"][:, :-1].clone()


def empty(held: dict[str, torch.Tensor]) -> None:
    held["starts"] = held["starts"][:0].clone()


def nowhere(held: dict[str, torch.Tensor]) -> None:
    held["regular"] = held["bounds"][:1] + len(held["bounds"])


def huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def pipe(path: Path) -> None:
    path.unlink()
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "half a file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "an empty file": lambda path: path.write_bytes(b""),
    "no such format": lambda path: path.write_bytes(b"\x80\x04N."),
    "somebody else's tensors": foreign,
    "more bytes than memory": huge,
    "a pipe that nobody writes to": pipe,
    "a window beyond the images": rewrite(beyond),
    "a window before the images": rewrite(before),
    "cells that do not rise": rewrite(falling),
    "too few windows": rewrite(short),
    "a part that is missing": rewrite(missing),
    "too few directions": rewrite(narrow),
    "too few groups": rewrite(fewer),
    "too few directions of what is inside groups": rewrite(thin),
    "no cells": rewrite(empty),
    "outliers beyond all groups": rewrite(nowhere),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_named_and_made_again(
    tmp_path: Path, builds: list[int], damage: Callable[[Path], object]
) -> None:
    first = take(tmp_path)
    path = only(tmp_path)
    damage(path)
    with pytest.warns(UserWarning, match="is built again") as caught:
        again = take(tmp_path)
    assert str(path) in str(caught[0].message)
    assert len(builds) == 2
    assert same(first, again)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take(tmp_path)
    assert len(builds) == 2, "and kept again"


CHANGED_AFTER_IT_WAS_READ = """
import pathlib, sys, warnings
import torch
import elsewhere as els
from elsewhere.engine.search import cache
from elsewhere.engine import planner
planner.SEARCH_PLACES, planner.SEARCH_PLACES_A_NUMBER, cache.WORTH_KEEPING = 400, 0, 100
warnings.simplefilter("error")
data = els.load_images("fashion-mini", 30)
x, folder = els.make_noise(1, data.shape), pathlib.Path(sys.argv[1])
first = els.EquivariantLocalScore(data, 5, "wrap", engine="fast", cache=folder)
expected = first(x, 0.5)
machine = els.EquivariantLocalScore(data, 5, "wrap", engine="fast", cache=folder)
machine.prepare()
for path in folder.iterdir():
    if sys.argv[2] == "cut":
        path.write_bytes(b"")
    else:
        with path.open("r+b") as file:
            file.write(b"\\xff" * path.stat().st_size)
assert torch.equal(machine(x, 0.5), expected)
assert torch.equal(first(x, 0.5), expected)
"""


@pytest.mark.parametrize("change", ["cut", "overwritten"])
def test_a_file_that_changes_after_it_was_read_changes_nothing(tmp_path: Path, change: str) -> None:
    # In a process of its own: of a file that is mapped into memory, what was cut off kills the process.
    command = [sys.executable, "-c", CHANGED_AFTER_IT_WAS_READ, str(tmp_path), change]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)


def test_a_file_that_cannot_be_read_is_named_and_made_again(tmp_path: Path, builds: list[int]) -> None:
    first = take(tmp_path)
    path = only(tmp_path)
    path.unlink()
    path.mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert same(take(tmp_path), first)
    said = [str(warning.message) for warning in caught]
    assert [f"{path} cannot be read" in text for text in said] == [True, False]
    assert len(builds) == 2


def test_an_index_of_other_images_is_not_taken(tmp_path: Path, builds: list[int]) -> None:
    first = take(tmp_path)
    path = only(tmp_path)
    take(tmp_path, IMAGES.flip(0))
    (other,) = (found for found in tmp_path.iterdir() if found != path)
    path.write_bytes(other.read_bytes())
    with pytest.warns(UserWarning, match="do not match"):
        assert same(take(tmp_path), first)
    assert len(builds) == 3


@pytest.mark.parametrize("place", ["below a file", "not allowed"])
def test_a_folder_that_cannot_be_written_is_a_warning_only(tmp_path: Path, builds: list[int], place: str) -> None:
    folder = tmp_path / "folder"
    if place == "below a file":
        folder.write_text("no folder\n")
        folder = folder / "below"
    else:
        folder = Path("/proc/nowhere")
        if not Path("/proc").is_dir():
            pytest.skip("no /proc here")
    with pytest.warns(UserWarning, match="was not kept") as caught:
        index = take(folder)
    assert str(folder) in str(caught[0].message)
    assert same(index, take(tmp_path / "elsewhere"))
    assert len(builds) == 2


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_a_write_that_fails_costs_no_answer_and_leaves_nothing_behind(
    tmp_path: Path, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(held: dict[str, torch.Tensor], path: Path, about: dict[str, str]) -> None:
        Path(path).write_bytes(b"half")
        raise kind(*([28, "No space left on device"] if kind is OSError else ["I/O error (os error 28)"]))

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        take(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_small_ones_are_not_kept(tmp_path: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 12 * 24 * 24 + 1)
    for _ in range(2):
        take(tmp_path / "folder")
    assert len(builds) == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_kept_where_there_is_no_folder_to_keep_it_in(
    builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ELSEWHERE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    keys = keys_of(IMAGES, 5)
    with pytest.warns(UserWarning, match="not kept: the user has no home folder.*ELSEWHERE_CACHE"):
        assert len(IndexCache.of(None, IMAGES).get(keys, merge=True).keys) == builds[0]


def unknown(user: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {user}")


def test_the_folder_is_that_of_the_user_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_CACHE", "/named")
    assert default_folder() == Path("/named")
    monkeypatch.setenv("ELSEWHERE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/elsewhere")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache/elsewhere"


def test_an_index_of_fewer_cells_than_a_block_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 1)
    pixels = torch.full((40, 1, 8, 8), 7, dtype=torch.uint8)
    kept = IndexCache.of(tmp_path, pixels)
    kept.get(keys_of(pixels, 3), merge=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.get(keys_of(pixels, 3), merge=True)
