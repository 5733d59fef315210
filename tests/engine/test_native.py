"""The compiled loops as other processors would run it, and libraries that do not fit."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

import elsewhere as els
from elsewhere.engine import native
from elsewhere.engine.kernels import scan
from tests.engine.engine_toys import asked, brute, levels, real, search

SOURCES = [
    native.LIBRARY.with_name(name)
    for name in ("shifts.c", "scan.c", "windows.c", "attribution.c", "partition.c", "neighbours.c")
]
COMPILER = shlex.split(os.environ.get("CC", "cc"))
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler")


def compile_to(path: Path, sources: list[Path], *flags: str) -> Path:
    names = [str(source) for source in sources]
    command = [*COMPILER, "-O2", "-std=gnu11", "-fPIC", "-shared", *flags, "-o", str(path), *names, "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The library compiled with some flags, once for all tests."""

    @cache
    def build(*flags: str) -> Path:
        return compile_to(tmp_path_factory.mktemp("loops") / "loops.so", SOURCES, *flags)

    return build


@needs_compiler
@pytest.mark.parametrize("flags", [[], ["-U__SSE__", "-U__SSE2__"]], ids=["without AVX", "without intrinsics"])
@pytest.mark.parametrize("name", ["fashion-mini", "pixel-faces"])
def test_narrower_vectors_give_the_same(
    name: str, flags: list[str], build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = els.ImageSet(els.load_images(name, 21).images[:, :, 8:20, 8:20].clone())
    built = native.load(build(*flags))
    assert built is not None
    monkeypatch.setattr(native, "library", lambda: built)
    for taper in (False, True):
        machine = els.EquivariantLocalScore(data, 5, taper=taper)
        for sigma in (0.02, 0.6, 50.0):
            x = data.scaled()[:2] + sigma * els.make_noise(2, data.shape)
            assert float((machine(x, sigma) - machine(x.double(), sigma)).abs().max()) < 5e-5


@needs_compiler
@pytest.mark.parametrize("flags", [[], ["-mavx2"], ["-U__SSE__", "-U__SSE2__"]], ids=["SSE", "AVX2", "no intrinsics"])
@pytest.mark.parametrize(("name", "window"), [("fashion-mini", 5), ("pixel-faces", 3)])
def test_blocks_read_through_narrower_vectors_are_the_same(
    name: str, window: int, flags: list[str], build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, index = real(name, 40, window)
    built = native.load(build(*flags))
    if built is None:
        pytest.skip("this processor has no AVX2")
    monkeypatch.setattr(native, "library", lambda: built)
    for sigma in (0.08, 0.6):
        noise = levels(sigma, each=12)
        queries = asked(keys, noise, seed=3)
        assert scan.serves(keys)
        assert float((search(index, queries, noise).mean() - brute(keys, queries, noise).mean()).abs().max()) < 5e-3


@needs_compiler
def test_the_loop_for_another_processor_is_left_alone(tmp_path: Path) -> None:
    flags = ["-D__builtin_cpu_supports(x)=0", "-D__x86_64__", "-mavx", "-O0"]
    other = compile_to(tmp_path / "other.so", SOURCES, *flags)
    assert native.load(other) is None


@needs_compiler
def test_the_loop_from_an_older_source_is_left_alone(tmp_path: Path) -> None:
    for path in native.LIBRARY.parent.glob("*.[ch]"):
        shutil.copy(path, tmp_path)
    sources = [tmp_path / source.name for source in SOURCES]
    for number, (function, structure, text) in enumerate(
        (("shifts_task", native.Task, "int32_t top;"), ("scan_task_size", native.ScanTask, "int32_t compares;"))
    ):
        newer = sources[number].read_text()
        sources[number].write_text(newer.replace(text, f"{text} int64_t gone[4];"))
        old = compile_to(tmp_path / f"{function}.so", sources, "-O0")
        assert getattr(ctypes.CDLL(str(old)), function)() > ctypes.sizeof(structure)
        assert native.load(old) is None
        sources[number].write_text(newer)


def test_what_is_no_library_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not compiled")
    assert native.load(tmp_path / "text.so") is None
    assert native.load(tmp_path / "missing.so") is None


def test_a_library_that_is_named_and_cannot_be_used_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE_LOOPS", str(tmp_path / "missing.so"))
    with pytest.raises(OSError, match=r"ELSEWHERE_LOOPS=.*missing\.so"):
        native.library.__wrapped__()


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
def test_a_loop_is_handed_only_what_it_takes(other: torch.Tensor) -> None:
    right = torch.zeros(4, 3)
    assert native.address(right, torch.float32, 4, 3) == right.data_ptr()
    with pytest.raises(ValueError, match=r"takes torch.float32 \(4, 3\)"):
        native.address(other, torch.float32, 4, 3)


@pytest.mark.parametrize("position", [-1, 40 * 24 * 24])
def test_windows_outside_the_images_are_not_read(position: int) -> None:
    keys, _ = real("fashion-mini", 40, 5)
    with pytest.raises(IndexError, match="23040 windows"):
        keys.raw_at(torch.tensor([0, position]))
