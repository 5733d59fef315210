"""An index over windows: cells of similar keys, each with a Gaussian that approximates what it adds to an average."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.search.sources import MergedSources


@dataclass(frozen=True)
class Gaussians:
    """Gaussians that approximate sets of keys, in units of the queries, relative to the index's origin.

    Attributes:
        log_mass: log of the number of windows, (n,).
        mean, variance: along the main directions, (n, d).
        rest: variance in each of the other directions, (n,).
        value: mean value, (n, V).
        slope: covariance of value and position, (n, V, d).
    """

    log_mass: Tensor
    mean: Tensor
    variance: Tensor
    rest: Tensor
    value: Tensor
    slope: Tensor

    def __len__(self) -> int:
        return len(self.log_mass)


@dataclass(frozen=True)
class Index:
    """Keys in the order of their cells, and what is known of each cell.

    All positions are in the space of the metric, in which keys are multiplied by the square roots of its weights; the
    keys themselves are held as pixels.

    Attributes:
        keys: the high-multiplicity keys first, then those of cell 0, cell 1, ...
        starts: where each cell begins in `keys`, and the end, int64 (C + 1,); starts[0] is the number of
            high-multiplicity keys.
        bounds: where each group begins among the cells, and the end, int64 (G + 1,). From there on, every `block`
            cells are a block; all blocks of a group have as many keys, but for the last, which may have fewer.
        origin: the mean of all keys, (D,).
        basis: orthonormal main directions, (D, d).
        cells, groups: a Gaussian for each cell and for each group.
        inner: mean variance of the cells of each group along the main directions, (G, d).
        regular: number of groups that come before those of outliers.
        block: cells of a block.
    """

    keys: WindowKeys
    starts: Tensor
    bounds: Tensor
    origin: Tensor
    basis: Tensor
    cells: Gaussians
    groups: Gaussians
    inner: Tensor
    regular: int
    block: int

    @property
    def outside(self) -> int:
        """Number of high-multiplicity keys, which are outside the cells (outliers have cells of their own)."""
        return int(self.starts[0])

    @cached_property
    def free(self) -> int:
        """Number of directions outside the basis in which keys may differ."""
        return free_directions(self.keys, self.basis)

    @cached_property
    def sources(self) -> MergedSources:
        """The training images of keys that stand for several windows: found when first needed, and kept."""
        return MergedSources.of(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes held beside the images."""
        assert self.keys.kept is not None
        held = [*self.tensors().values(), *([] if self.keys.copies is None else [self.keys.copies])]
        # Neighbour propagation needs the number of the key at every place.
        numbers = self.keys.places * self.keys.kept.element_size()
        return numbers + sum(tensor.numel() * tensor.element_size() for tensor in held)

    def copied(self) -> Index:
        """The same index with the windows copied out of the images, which makes reading much faster."""
        return replace(self, keys=self.keys.copied())

    def tensors(self) -> dict[str, Tensor]:
        """All that a file must hold to restore the index from the images."""
        assert self.keys.kept is not None
        held = {"kept": self.keys.kept, "starts": self.starts, "bounds": self.bounds}
        held |= {
            "origin": self.origin,
            "basis": self.basis,
            "inner": self.inner,
            "regular": torch.tensor([self.regular], dtype=torch.int64, device="cpu"),
            "block": torch.tensor([self.block], dtype=torch.int64, device="cpu"),
        }
        for name, what in (("cells", self.cells), ("groups", self.groups)):
            held |= {f"{name}.{field.name}": getattr(what, field.name) for field in fields(Gaussians)}
        if self.keys.log_counts is not None:
            held["log_counts"] = self.keys.log_counts
        return held

    @classmethod
    def of_tensors(cls, keys: WindowKeys, held: dict[str, Tensor]) -> Index:
        """The index with these `tensors`; `keys` are windows at the same places of the same images."""
        cells, groups = (
            Gaussians(*(held[f"{name}.{field.name}"] for field in fields(Gaussians))) for name in ("cells", "groups")
        )
        return cls(
            keys.replaced(held["kept"], held.get("log_counts")),
            held["starts"],
            held["bounds"],
            held["origin"],
            held["basis"],
            cells,
            groups,
            held["inner"],
            int(held["regular"]),
            int(held["block"]),
        )


def free_directions(keys: WindowKeys, basis: Tensor) -> int:
    """Number of directions outside a basis (D, d) in which keys may differ: those of weight zero do not count."""
    directions = keys.width if keys.roots is None else int((keys.roots > 0).sum())
    return max(0, directions - basis.shape[1])
