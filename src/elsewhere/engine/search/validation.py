"""What a kept index must hold: everything that the search and the compiled loops read from it, and its limits.

A file may be damaged, or made by somebody who knows how files are hashed. The loops check nothing themselves: an index
that passes here has no position outside the images or outside its own tables, and no number that could become NaN.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine.keys.windows import WindowKeys

# Axes: K keys, C cells, G groups, D numbers in a window, d directions, V values. None: int32 or int64, as the keys are.
_GAUSSIANS = {"log_mass": "", "mean": "d", "variance": "d", "rest": "", "value": "V", "slope": "Vd"}
TENSORS: dict[str, tuple[torch.dtype | None, str]] = {
    "kept": (None, "K"),
    "log_counts": (torch.float64, "K"),
    "starts": (torch.int64, "c"),
    "bounds": (torch.int64, "g"),
    "origin": (torch.float32, "D"),
    "basis": (torch.float32, "Dd"),
    "inner": (torch.float32, "Gd"),
    "regular": (torch.int64, "1"),
    "block": (torch.int64, "1"),
    **{f"cells.{name}": (torch.float32, f"C{axes}") for name, axes in _GAUSSIANS.items()},
    **{f"groups.{name}": (torch.float32, f"G{axes}") for name, axes in _GAUSSIANS.items()},
}
# Missing where every window stands for itself alone.
OPTIONAL = {"log_counts"}
# Logarithms of numbers of windows: of 1, but for rounding.
NOT_NEGATIVE = {"log_counts", "inner"} | {
    f"{what}.{name}" for what in ("cells", "groups") for name in ("variance", "rest", "log_mass")
}
ROUNDING = 1e-3
MOST_CELLS_A_BLOCK = 2**20
# Pixels lie in [-1, 1]: no variance is larger than 4 for each number of a window, and all other numbers are smaller.
LARGEST = 100.0


def fault(held: dict[str, Tensor], keys: WindowKeys) -> str | None:
    """What is wrong with the tensors of an index of some windows (not merged yet); None if nothing is."""
    if not TENSORS.keys() - OPTIONAL <= held.keys() <= TENSORS.keys():
        return f"it holds {', '.join(sorted(held)) or 'nothing'}"
    return _wrong_form(held, keys) or _wrong_numbers(held, keys) or _wrong_order(held, keys)


def _wrong_form(held: dict[str, Tensor], keys: WindowKeys) -> str | None:
    """A tensor of another dtype or shape."""
    numbers = {name: held[name].numel() for name in ("kept", "starts", "bounds", "basis")}
    sizes = {"K": numbers["kept"], "c": numbers["starts"], "g": numbers["bounds"], "1": 1}
    sizes |= {"C": sizes["c"] - 1, "G": sizes["g"] - 1, "D": keys.width, "V": len(keys.values)}
    sizes["d"] = numbers["basis"] // keys.width
    if min(sizes.values()) < 1:
        return "it holds no windows"
    for name, tensor in held.items():
        dtype, axes = TENSORS[name]
        if dtype is None:
            dtype = torch.int32 if keys.places < 2**31 else torch.int64
        shape = tuple(sizes[axis] for axis in axes)
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            return f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected {dtype} {shape}"
    return None


def _wrong_numbers(held: dict[str, Tensor], keys: WindowKeys) -> str | None:
    """A number that is not finite, or beyond its limits."""
    largest = LARGEST * keys.width
    for name, tensor in held.items():
        if not tensor.is_floating_point():
            continue
        low = -ROUNDING if name in NOT_NEGATIVE else -largest
        least, most = (float(end) for end in tensor.aminmax())
        # Both are NaN if any number is, and no comparison with NaN is true.
        if not low <= least <= most <= largest:
            return f"{name} has numbers that are not finite, or not between {low:g} and {largest:g}"
    basis = held["basis"].double()
    one = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    if float((basis.T @ basis - one).abs().max()) > ROUNDING:
        return "the columns of basis are not orthonormal"
    return None


def _wrong_order(held: dict[str, Tensor], keys: WindowKeys) -> str | None:
    """Positions outside the images, or twice; cells and groups that do not follow one another."""
    kept, starts, bounds, log_counts = held["kept"], held["starts"], held["bounds"], held.get("log_counts")
    least, most = (int(end) for end in kept.aminmax())
    if least < 0 or most >= keys.places:
        return f"kept has positions from {least} to {most}, of {keys.places}"
    # NumPy scatters several times as fast as torch.
    seen = np.zeros(keys.places, bool)
    seen[kept.numpy()] = True
    if np.count_nonzero(seen) != len(kept):
        return "kept has positions twice"
    windows = len(kept) if log_counts is None else float(log_counts.exp().sum())
    if not math.isclose(windows, keys.places, rel_tol=1e-9):
        return f"it stands for {windows:g} windows of {keys.places}"
    for name, edges, begins, end in (("starts", starts, None, len(kept)), ("bounds", bounds, 0, len(starts) - 1)):
        first, last = int(edges[0]), int(edges[-1])
        if first < 0 or first != (first if begins is None else begins) or last != end:
            return f"{name} goes from {first} to {last}, expected {begins or 0} to {end}"
        # Differences of int64 may overflow.
        if not bool((edges[1:] > edges[:-1]).all()):
            return f"{name} does not rise"
    if not 0 < int(held["regular"]) < len(bounds):
        return f"regular is {int(held['regular'])}, expected 1 to {len(bounds) - 1}"
    # A block may have more cells than a small index has.
    if not 0 < int(held["block"]) <= MOST_CELLS_A_BLOCK:
        return f"block is {int(held['block'])}, expected 1 to {MOST_CELLS_A_BLOCK}"
    return _wrong_blocks(starts, bounds, int(held["block"]))


def _wrong_blocks(starts: Tensor, bounds: Tensor, block: int) -> str | None:
    """Blocks of a group that differ in size: see `Index`."""
    group = torch.repeat_interleave(torch.arange(len(bounds) - 1, device=bounds.device), bounds.diff())
    cell = torch.arange(len(group), device=group.device)
    first = ((cell - bounds[group]) % block == 0).nonzero().flatten()
    group = group[first]
    end = torch.minimum(first + block, bounds[group + 1])
    sizes = starts[end] - starts[first]
    wanted = sizes[torch.searchsorted(first, bounds[:-1])][group]
    right = (sizes == wanted) | ((end == bounds[group + 1]) & (sizes <= wanted))
    return None if bool(right.all()) else "blocks of a group differ in size"
