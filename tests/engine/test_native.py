"""The compiled loop as other processors would run it, and libraries that do not fit."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import elsewhere as els
from elsewhere.engine import native

SOURCE = native.LIBRARY.with_name("shifts.c")
COMPILER = shlex.split(os.environ.get("CC", "cc"))
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler")


def build(path: Path, *flags: str) -> Path:
    command = [*COMPILER, "-O2", "-std=gnu11", "-fPIC", "-shared", *flags, "-o", str(path), str(SOURCE), "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    return path


@needs_compiler
@pytest.mark.parametrize("flags", [[], ["-U__SSE__"]], ids=["without AVX", "without intrinsics"])
@pytest.mark.parametrize("name", ["fashion-mini", "pixel-faces"])
def test_narrower_vectors_give_the_same(
    name: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = els.ImageSet(els.load_images(name, 21).images[:, :, 8:20, 8:20].clone())
    machine = els.EquivariantLocalScore(data, 5)
    for sigma in (0.02, 0.6, 50.0):
        x = data.scaled()[:2] + sigma * els.make_noise(2, data.shape)
        with monkeypatch.context() as patch:
            built = native.load(build(tmp_path / "loop.so", *flags))
            assert built is not None
            patch.setattr(native, "library", lambda built=built: built)
            narrow = machine(x, sigma)
        assert float((narrow - machine(x.double(), sigma)).abs().max()) < 5e-5


@needs_compiler
def test_the_loop_for_another_processor_is_left_alone(tmp_path: Path) -> None:
    other = build(tmp_path / "other.so", "-D__builtin_cpu_supports(x)=0", "-D__x86_64__", "-mavx")
    assert native.load(other) is None


@needs_compiler
def test_the_loop_from_an_older_source_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "shifts.c"
    source.write_text(SOURCE.read_text().replace("int32_t top;", "int32_t top, gone[4];"))
    shutil.copy(SOURCE.with_suffix(".h"), tmp_path)
    command = [*COMPILER, "-std=gnu11", "-fPIC", "-shared", "-o", str(tmp_path / "old.so"), str(source), "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    assert ctypes.CDLL(str(tmp_path / "old.so")).shifts_task() > ctypes.sizeof(native.Task)
    assert native.load(tmp_path / "old.so") is None


def test_what_is_no_library_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not compiled")
    assert native.load(tmp_path / "text.so") is None
    assert native.load(tmp_path / "missing.so") is None
