"""Which windows of some images are equal: by a hash that is checked, and exactly where it collides."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.engine.pool import in_parallel

# Pixels hashed at once: they stay in a core's own cache.
AT_ONCE = 2**16
_MASK = 2**64 - 1
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def groups(images: Tensor, sides: tuple[int, int], exact: bool = False) -> tuple[Tensor, Tensor]:
    """All windows of some images, equal ones side by side.

    Args:
        images: (N, C, H, W), of any dtype; -0.0 and 0.0 count as different.
        sides: height and width of the windows.
        exact: compare the windows themselves. Otherwise those of equal hashes count as equal; two different windows
            have one hash with a chance of 2^-64 or so, and the caller must check them.

    Returns:
        Flat positions of the windows, group by group and in order within each, and where each group begins, int64.
    """
    labels = (names if exact else hashes)(images, sides).flatten()
    order = labels.argsort(stable=True)
    ordered = labels[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order, first.nonzero().flatten()


def hashes(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """A hash of every window, int64 (N, rows, columns), in a pass for each line of a window.

    The hash of a window is a sum (modulo 2^64) of its pixels, each times a random number. Pixels are mixed before:
    the bits of floats have much in common, and such sums of them collide.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randint(-(2**63), 2**63 - 1, shape, generator=generator, device="cpu") | 1

    across, down = draw(images.shape[1], sides[1]).tolist(), draw(sides[0]).tolist()
    bytes_mixed = _mixed(torch.arange(256, device=images.device))

    def of_some(some: Tensor) -> Tensor:
        bits = some.contiguous().view(_BITS[some.element_size()])
        rows, columns = some.shape[2] - sides[0] + 1, some.shape[3] - sides[1] + 1
        lines = torch.zeros((len(some), some.shape[2], columns), dtype=torch.int64, device=some.device)
        for channel, factors in enumerate(across):
            one = bits[:, channel]
            if one.dtype == torch.uint8:
                mixed = bytes_mixed.index_select(0, one.flatten().int()).view(one.shape)
            else:
                mixed = _mixed(one.to(torch.int64, copy=True))
            for j, factor in enumerate(factors):
                lines.add_(mixed[:, :, j : j + columns], alpha=factor)
        out = torch.zeros((len(some), rows, columns), dtype=torch.int64, device=some.device)
        for i, factor in enumerate(down):
            out.add_(lines[:, i : i + rows], alpha=factor)
        return out

    at_once = max(1, AT_ONCE // max(1, images[0, 0].numel()))
    return torch.cat(list(in_parallel(of_some, torch.split(images, at_once))))


def names(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """A number for every window, the same for equal windows only, int64 (N, rows, columns).

    Windows are named by the names of two smaller ones that cover them, down to single pixels (Karp, Miller and
    Rosenberg 1972): exact whatever the images, in a sort for each doubling of a side, and in the memory of four names
    for each pixel.
    """
    bits = images.contiguous().view(_BITS[images.element_size()])
    found = _doubled(_numbered(bits[:, 0].long()), sides)
    for channel in range(1, bits.shape[1]):
        found = _paired(found, _doubled(_numbered(bits[:, channel].long()), sides))
    return found


def _doubled(of_pixels: Tensor, sides: tuple[int, int]) -> Tensor:
    """Names of windows (N, rows, columns) from names of pixels (N, H, W)."""
    found = of_pixels
    for axis, side in enumerate(sides, 1):
        reached = 1
        while reached < side:
            # Two windows that may overlap.
            step = min(reached, side - reached)
            length = found.shape[axis] - step
            found = _paired(found.narrow(axis, 0, length), found.narrow(axis, step, length))
            reached += step
    return found


def _paired(one: Tensor, other: Tensor) -> Tensor:
    """Names of pairs of names. No name exceeds the number of pixels, so products fit 64 bits up to 3 billion pixels."""
    return _numbered(one * (int(other.max()) + 1) + other)


def _numbered(labels: Tensor) -> Tensor:
    """Numbers from 0 on in place of labels."""
    numbers: Tensor = torch.unique(labels, return_inverse=True)[1]
    return numbers.view(labels.shape)


def _mixed(words: Tensor) -> Tensor:
    """Whole numbers, int64, each turned into one whose bits all depend on all of its bits: splitmix64 (Steele 2014).

    The words are overwritten.
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        # SlidingJob of int64 repeat the sign.
        words ^= (words >> shift).bitwise_and_(2 ** (64 - shift) - 1)
        words *= _signed(factor)
    return words


def _signed(word: int) -> int:
    return ((word + 2**63) & _MASK) - 2**63
