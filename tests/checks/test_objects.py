"""Single objects are checked: devices, paths, and what needs too much memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from elsewhere.checks import check_dense, check_device, check_path


def test_a_device_must_be_there():
    assert check_device("device", "cpu") == torch.device("cpu")
    for device in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
            check_device("device", device)
    with pytest.raises(TypeError, match="device must be a device such as 'cpu'"):
        check_device("device", 7)


def test_paths_are_such_as_files_can_have():
    assert check_path("out", "a/b") == Path("a/b")
    assert check_path("out", "/") == Path("/")
    assert check_path("out", ".") == Path()
    for path, error in (
        ("", ValueError),
        ("a\0b", ValueError),
        (b"a", TypeError),
        (None, TypeError),
        ("a" * 300, OSError),
    ):
        with pytest.raises(error, match="out"):
            check_path("out", path)


def test_what_would_not_fit_into_memory_is_refused_at_once():
    for values in (torch.zeros(1, 1).expand(2**31, 2**31), np.broadcast_to(np.zeros(1), (2**31, 2**28))):
        with pytest.raises(MemoryError, match=r"^x \(.*\) needs .* GiB of memory, this machine has"):
            check_dense("x", values)
