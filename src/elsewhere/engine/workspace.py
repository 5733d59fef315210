"""The training images, and what the engine keeps of them between calls: classes, keys and indexes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor

from elsewhere.engine.keys.images import ImageKeys
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.places import Places
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.prior import weight_logs
from elsewhere.engine.search.cache import IndexCache
from elsewhere.engine.search.index import Index

# Bytes that sorting takes for each window when equal ones are merged.
BYTES_TO_MERGE = 40
Made = TypeVar("Made")


class Workspace:
    """Training images, their classes, and keys and indexes of them, made when first needed.

    Args:
        store: the training images.
        labels: class of each, int64 (N,), or None.
        memory: bytes that may be used beside the images.
        folder: where indexes are kept; None for the user's cache folder, found when an index is kept.
        weights: how much each training image counts, 0 or more, (N,); None for once each.
    """

    def __init__(
        self,
        store: PixelStore,
        labels: Tensor | None,
        memory: int,
        folder: Path | None,
        weights: Tensor | None = None,
    ) -> None:
        self.store = store
        self.labels = labels
        self.memory = memory
        self.folder = folder
        self.weights = weights
        self.kept = MemoryCache(2 * memory // 3)

    def to(self, device: str | torch.device) -> Workspace:
        """The same training images on another device, without what is kept of them."""
        weights = None if self.weights is None else self.weights.to(device)
        store = replace(self.store, pixels=self.store.pixels.to(device))
        return Workspace(store, self.labels, self.memory, self.folder, weights)

    def part(self, start: int, stop: int, memory: int) -> Workspace:
        """Some of the training images, with the same centre and memory of their own, without what is kept of them."""
        labels, weights = (None if each is None else each[start:stop] for each in (self.labels, self.weights))
        store = replace(self.store, pixels=self.store.pixels[start:stop])
        return Workspace(store, labels, memory, self.folder, weights)

    def chosen(self, label: int | None) -> Tensor:
        """Positions of the training images of a class, all for None, int64; without those whose weight is 0, which cost
        nothing then."""
        device = self.store.pixels.device
        counted = torch.ones(len(self.store), dtype=torch.bool, device=device)
        if self.weights is not None:
            counted = self.weights.to(device) > 0
        if label is not None:
            assert self.labels is not None
            counted = counted & (self.labels.to(device) == label)
        return counted.nonzero().flatten()

    def weight_logs(self, label: int | None) -> Tensor | None:
        """Log-weights of the training images of a class, float64 (n,); None where they count once each."""
        return None if self.weights is None else weight_logs(self.weights[self.chosen(label)])

    def of_class(self, label: int | None) -> PixelStore:
        """The training images of a class, all for None, whose weight is not 0.

        Raises:
            ValueError: a class without images.
        """
        if label is None and (self.weights is None or bool((self.weights > 0).all())):
            return self.store
        return self.kept.get(("class", label), lambda: self._of_class(label), lambda store: store.nbytes)

    def _of_class(self, label: int | None) -> PixelStore:
        chosen = self.chosen(label)
        if not len(chosen):
            weighted = "" if self.weights is None else " of positive weight"
            raise ValueError(f"label {label} has no training image{weighted}")
        return self.store.take(chosen)

    def wrapped(self, padding: int, label: int | None) -> PixelStore:
        """The images of a class with their opposite sides on every side, `padding` pixels wide."""
        store = self.of_class(label)
        if not padding:
            return store

        def make() -> PixelStore:
            return replace(store, pixels=wrap(store.pixels, padding), padding=padding)

        return self.kept.get(("wrapped", padding, label), make, lambda store: store.nbytes)

    def image_keys(self, label: int | None) -> ImageKeys:
        """Whole images of a class as keys."""
        return ImageKeys(self.of_class(label))

    def merges(self, places: Places, label: int | None) -> bool:
        """Whether equal windows are looked for: along edges there are too few, elsewhere sorting must fit in memory."""
        count = len(self.of_class(label)) * len(places)
        return not places.is_line and BYTES_TO_MERGE * count < self.memory // 2

    def window_keys(
        self, places: Places, padding: int, label: int | None, metric: Metric, *, reach: int = 0, merge: bool = True
    ) -> WindowKeys:
        """Windows of a class as keys.

        Args:
            places, padding, label, metric: which windows.
            reach: radius of the patches that are averaged: see `WindowKeys`.
            merge: whether equal windows are merged where that pays.
        """

        def make() -> WindowKeys:
            # There are many edges, so that each may hold little.
            hold = self.memory // (64 if places.is_line else 4)
            merged = merge and self.merges(places, label)
            return self._windows(places, padding, label, merge=merged, hold=hold, metric=metric, reach=reach)

        # Unweighted windows do not depend on the radius of the window that they are cut off from.
        name = "keys", places.rows, places.columns, places.extent, label, reach, merge
        return self.kept.get(name if metric.is_square else (*name, metric.name), make, lambda keys: keys.nbytes)

    def index(self, places: Places, padding: int, label: int | None, metric: Metric) -> Index:
        """The index of the windows of a class, with their pixels copied out of the images where memory allows."""

        def make() -> Index:
            index = self.built(places, padding, label, metric)
            wanted = index.nbytes + index.keys.nbytes_of_copies
            if wanted > self.kept.limit:
                return index
            # Windows lie scattered over the images: reading them from there would be most of the work. What the copy
            # replaces is dropped before it is made.
            self.kept.make_room(wanted)
            return index.copied()

        return self.kept.get(("copied", *_index_name(places, label, metric)), make, lambda index: index.nbytes)

    def built(self, places: Places, padding: int, label: int | None, metric: Metric) -> Index:
        """The index of the windows of a class: from memory, or from disk, or built now."""

        def make() -> Index:
            keys = self._windows(places, padding, label, merge=False, hold=0, metric=metric)
            return self._index_cache(label).get(keys, merge=True)

        return self.kept.get(("index", *_index_name(places, label, metric)), make, lambda index: index.nbytes)

    def _index_cache(self, label: int | None) -> IndexCache:
        def make() -> IndexCache:
            return IndexCache.of(self.folder, self.of_class(label).pixels)

        return self.kept.get(("index cache", label), make, lambda made: 0)

    def log_counts(self, places: Places, padding: int, label: int | None) -> Tensor | None:
        """The logarithm of the number of windows that the one at each place stands for: see `SlidingJob`.

        None where no windows are equal.
        """

        def make() -> Tensor | None:
            keys = self._windows(places, padding, label, merge=True, hold=0)
            if keys.kept is None or keys.log_counts is None:
                return None
            store = self.wrapped(padding, label)
            counts = torch.zeros(len(store), *store.image_size, dtype=torch.float32, device="cpu")
            inside = torch.full((len(store), *keys.grid), -torch.inf, dtype=torch.float32, device="cpu")
            inside.view(-1)[keys.kept.long()] = keys.log_counts.float()
            counts[:, places.rows.start : places.rows.stop, places.columns.start : places.columns.stop] = inside
            return counts

        name = "counts", places.rows, places.columns, places.extent, label
        return self.kept.get(name, make, lambda counts: 0 if counts is None else counts.nbytes)

    def _windows(self, places: Places, padding: int, label: int | None, **settings: Any) -> WindowKeys:
        store = self.wrapped(padding, label)
        return WindowKeys(store, places.extent, places.rows, places.columns, **settings)


def _index_name(places: Places, label: int | None, metric: Metric) -> tuple[object, ...]:
    name = places.rows, places.columns, places.extent, label
    return name if metric.is_square else (*name, metric.name)


def wrap(x: Tensor, padding: int) -> Tensor:
    """Images (B, C, H, W) with their opposite sides on every side, also where the padding exceeds the image."""
    for axis in (2, 3):
        index = torch.arange(-padding, x.shape[axis] + padding, device=x.device) % x.shape[axis]
        x = x.index_select(axis, index)
    return x


class MemoryCache:
    """Objects worth keeping between calls; beyond a number of bytes the least recently used are dropped first.

    Threads may share it. Two that ask for the same object at once may both make it; one is kept. Copies begin empty,
    and so does what another process receives: indexes have more tensors than a process can be sent file descriptors.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.things: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        # Held for moments only, never while something is made: another thread may fork the process then.
        self._lock = RLock()

    def __reduce__(self) -> tuple[type[MemoryCache], tuple[int]]:
        return MemoryCache, (self.limit,)

    def get(self, key: Any, make: Callable[[], Made], size: Callable[[Made], int]) -> Made:
        """What is kept under a key; else what `make` makes, which is kept from then on. `size` gives its bytes."""
        with self._lock:
            if key in self.things:
                self.things.move_to_end(key)
                kept: Made = self.things[key][0]
                return kept
        # What is kept must serve outside inference mode as well.
        with torch.inference_mode(False), torch.no_grad():
            made = make()
        with self._lock:
            if key not in self.things:
                self.make_room(size(made))
                self.things[key] = (made, size(made))
                self.used += size(made)
        return made

    def make_room(self, wanted: int) -> None:
        """Drop what must be dropped for so many more bytes."""
        with self._lock:
            while self.things and self.used + wanted > self.limit:
                self.used -= self.things.popitem(last=False)[1][1]
