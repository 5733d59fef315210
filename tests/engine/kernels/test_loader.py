"""Which kernels are chosen for a processor, which are refused, and that all levels give the same answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.engine.kernels import build, loader, scan
from tests.engine.engine_toys import asked, brute, levels, real, search
from tests.engine.kernels.compiling import compile_portable, needs_compiler

# As torch names them.
NEHALEM = ["sse", "sse2", "sse3", "ssse3", "sse4_1", "sse4_2", "popcnt"]
HASWELL = [*NEHALEM, "avx", "avx2", "fma3", "f16c", "bmi", "bmi2", "lzcnt", "aes"]
SKYLAKE = [*HASWELL, "avx512_f", "avx512_bw", "avx512_cd", "avx512_dq", "avx512_vl"]
X86 = "v2" in build.levels()
BEST = next(loader.available(), None)
x86_only = pytest.mark.skipif(not X86, reason="no x86-64 processor")
needs_kernels = pytest.mark.skipif(BEST is None, reason="no compiled kernels")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is chosen yet, and no environment variable says what to choose."""
    monkeypatch.delenv(build.VARIABLE, raising=False)
    for remembered in ("library", "chosen"):
        monkeypatch.setattr(loader, remembered, getattr(loader, remembered).__wrapped__)
    return monkeypatch


@pytest.fixture
def checkout(tmp_path: Path, fresh: pytest.MonkeyPatch) -> Path:
    """A copy of the sources and of the libraries, which are used instead."""
    copy = tmp_path / "kernels"
    shutil.copytree(build.FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__", "*.part"))
    fresh.setattr(build, "FOLDER", copy)
    fresh.setattr(build.library, "__defaults__", (copy,))
    return copy


def has(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    known = dict.fromkeys(features, True) | {"amx_int8": False, "l2_cache_size": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)


@x86_only
@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([*SKYLAKE, "avx512_vnni"], ["v4-vnni", "v4", "v3", "v2"]),
        (SKYLAKE, ["v4", "v3", "v2"]),
        ([*SKYLAKE[:-1], "avx512_vnni"], ["v3", "v2"]),
        (HASWELL, ["v3", "v2"]),
        ([one for one in HASWELL if one != "fma3"], ["v2"]),
        (["sse", "sse2"], []),
    ],
    ids=["Ice Lake", "Skylake server", "without avx512_vl", "Haswell", "without FMA", "2003"],
)
def test_a_processor_runs_the_levels_whose_features_it_has(
    features: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, *features)
    assert loader.processor() == expected


@x86_only
@pytest.mark.parametrize(("known", "best"), [("AVX512", "v4"), ("AVX2", "v3"), ("DEFAULT", "v2")])
def test_earlier_versions_of_torch_know_classes_of_processors(
    known: str, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: known)
    assert loader.processor()[0] == best


@x86_only
@needs_kernels
def test_an_older_processor_gets_an_older_level(fresh: pytest.MonkeyPatch) -> None:
    has(fresh, *HASWELL)
    if not build.library("v3").exists():
        pytest.skip("v3 was not compiled here")
    assert loader.describe() == "kernels: v3"
    fresh.setenv(build.VARIABLE, "v4")
    with pytest.raises(OSError, match=r"ELSEWHERE_KERNELS=v4 needs another processor: this one can run v3, v2$"):
        loader.library()


@needs_kernels
def test_the_best_level_is_chosen_without_a_word(fresh: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        level, found = loader.chosen()
    assert level == BEST == loader.processor()[0]
    assert found is not None


@needs_kernels
@pytest.mark.parametrize("level", list(loader.available()))
def test_a_level_that_is_named_is_used(level: str, fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv(build.VARIABLE, level)
    assert loader.library() is not None
    assert loader.describe() == f"kernels: {level}"


def test_none_means_none_without_a_word(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv(build.VARIABLE, "none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loader.library() is None
        assert loader.describe() == "kernels: none"


def test_without_libraries_there_is_a_warning_and_tensor_code(checkout: Path) -> None:
    for path in checkout.glob("*.so"):
        path.unlink()
    with pytest.warns(
        UserWarning, match=r"machines are several times slower: .*install elsewhere again, with a C comp"
    ):
        assert loader.library() is None


@needs_kernels
@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_libraries_from_other_sources_are_refused_with_one_warning(change: str, checkout: Path) -> None:
    if change == "edit":
        header = checkout / "kernels.h"
        header.write_text(header.read_text().replace("int32_t top;", "int64_t gone; int32_t top;"))
    elif change == "add":
        (checkout / "more.c").write_text("int more;\n")
    else:
        (checkout / "partition.c").unlink()
    with pytest.warns(UserWarning, match=r"cannot be used, and machines.*was compiled from other sources") as seen:
        assert loader.library() is None
    assert len(seen) == 1


@pytest.mark.skipif(len(list(loader.available())) < 2, reason="only one level was compiled here")
def test_a_library_with_the_flags_of_another_level_is_refused(checkout: Path) -> None:
    best, next_best = list(loader.available())[:2]
    shutil.copy(build.library(next_best, checkout), build.library(best, checkout))
    with pytest.warns(UserWarning, match=f"those for {next_best} are used: .*with other flags"):
        level, found = loader.chosen()
    assert (level, found is None) == (next_best, False)


@needs_kernels
def test_line_ends_of_a_checkout_do_not_matter(checkout: Path) -> None:
    for path in build.sources():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert loader.chosen()[0] == BEST


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not compiled")
    assert loader.load(tmp_path / "text.so")[0] is None
    assert loader.load(tmp_path / "missing.so") == (None, f"{tmp_path / 'missing.so'} does not exist")
    other = loader.load(Path(torch._C.__file__))
    assert other[0] is None
    assert "is no library of kernels" in other[1]


@needs_kernels
def test_a_file_can_be_named(tmp_path: Path, fresh: pytest.MonkeyPatch) -> None:
    assert BEST is not None
    copy = shutil.copy(build.library(BEST), tmp_path / "other.so")
    fresh.setenv(build.VARIABLE, str(copy))
    assert loader.library() is not None
    assert loader.describe() == f"kernels: {copy}"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("v9", r"^error: ELSEWHERE_KERNELS=v9 is no level here: expected .*native, none, or the path of a library"),
        ("/missing.so", r"^error: ELSEWHERE_KERNELS=/missing.so cannot be used: /missing.so does not exist"),
    ],
)
def test_a_choice_that_cannot_be_used_is_an_error_of_one_line(named: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "elsewhere", "--kernels"],
        env={**os.environ, build.VARIABLE: named},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert re.search(message, done.stderr)


# The code without intrinsics is what other processors than x86 run.
@pytest.fixture(scope="module", params=[*loader.available(), pytest.param("portable", marks=needs_compiler)])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels of every level that this processor can run."""
    if request.param == "portable":
        found, fault = compile_portable(tmp_path_factory.mktemp("kernels"))
    else:
        found, fault = loader.load(build.library(request.param), request.param)
    assert found is not None, fault
    return found


@pytest.mark.parametrize("name", ["fashion-mini", "pixel-faces"])
def test_sliding_windows_are_the_same_at_every_level(name: str, kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = els.ImageSet(els.load_images(name, 21).images[:, :, 8:20, 8:20].clone())
    monkeypatch.setattr(loader, "library", lambda: kernels)
    for taper in (False, True):
        machine = els.EquivariantLocalScore(data, 5, taper=taper)
        for sigma in (0.02, 0.6, 50.0):
            x = data.scaled()[:2] + sigma * els.make_noise(2, data.shape)
            # Sums in float32 against sums in float64.
            assert float((machine(x, sigma) - machine(x.double(), sigma)).abs().max()) < 5e-5


@pytest.mark.parametrize(("name", "window"), [("fashion-mini", 5), ("pixel-faces", 3)])
def test_blocks_are_the_same_at_every_level(
    name: str, window: int, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, index = real(name, 40, window)
    monkeypatch.setattr(loader, "library", lambda: kernels)
    for sigma in (0.08, 0.6):
        noise = levels(sigma, each=12)
        queries = asked(keys, noise, seed=3)
        assert scan.serves(keys)
        # The search itself is off by more than rounding: see test_scan.py.
        assert float((search(index, queries, noise).mean() - brute(keys, queries, noise).mean()).abs().max()) < 5e-3


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(4, 3, dtype=torch.float64),
        torch.zeros(3, 4),
        torch.zeros(4, 3, 1),
        torch.zeros(3, 4).T,
        torch.zeros(4, 3, device="meta"),
    ],
    ids=["dtype", "shape", "axes", "layout", "device"],
)
def test_a_kernel_is_handed_only_what_it_takes(other: torch.Tensor) -> None:
    right = torch.zeros(4, 3)
    assert int(loader.ffi.cast("intptr_t", loader.address(right, torch.float32, 4, 3))) == right.data_ptr()
    with pytest.raises(ValueError, match=r"takes torch.float32 \(4, 3\)"):
        loader.address(other, torch.float32, 4, 3)


def test_structs_know_their_fields_and_types() -> None:
    doubles = torch.zeros(2, dtype=torch.float64)
    pointer = loader.address(doubles, torch.float64, 2)
    task = loader.struct("sliding_task", x=pointer, channels=3, log_counts=None)
    assert (task.x, task.channels, task.log_counts) == (pointer, 3, loader.ffi.NULL)
    with pytest.raises(KeyError, match="colour"):
        loader.struct("sliding_task", colour=3)
    with pytest.raises(TypeError, match=r"float \*"):
        loader.struct("sliding_task", log_counts=pointer)


@pytest.mark.parametrize("position", [-1, 40 * 24 * 24])
def test_windows_outside_the_images_are_not_read(position: int) -> None:
    keys, _ = real("fashion-mini", 40, 5)
    with pytest.raises(IndexError, match="23040 windows"):
        keys.raw_at(torch.tensor([0, position]))
