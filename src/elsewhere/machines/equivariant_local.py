"""The equivariant local score machine: each pixel sees a window and does not know where it is."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from elsewhere.engine import Average, SharedKeys, WindowKeys
from elsewhere.machines.base import Data, Question, Window, WindowedMachine
from elsewhere.machines.borders import BorderClass, border_classes, interior
from elsewhere.machines.local import same_place

Borders = Literal["aware", "wrap"]


class EquivariantLocalScore(WindowedMachine):
    """ELS: locality and equivariance (Kamb & Ganguli 2025, eq. 7 and section 4).

    Query: the window around a pixel. Keys: windows of every training image. Value: the centre pixel. Which windows:

    - `borders="wrap"` (a network with circular padding): the query wraps round the edges; the keys are the windows
      that lie wholly inside a training image. Rolling the noise rolls the image.
    - `borders="aware"` (a network with zero padding): the query is zero outside the image; the keys are the windows at
      the same distance from the same borders, as far as the window can feel them. Interior pixels share their keys,
      an edge row has its own, a corner pixel has its own place only.

    A window larger than the image has no interior place; either machine is then the local machine, `LocalScore`.
    The image drawn may be of another size than the training images as long as every border class of it occurs in
    them.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        window: odd side in pixels, or a LocalitySchedule; it may exceed the image.
        borders: "aware" or "wrap".
        engine, memory, device: see `SoftmaxMachine`.

    Raises:
        ValueError: unknown borders; see `SoftmaxMachine` for the rest.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(self, data: Data, window: Window, borders: Borders = "aware", **settings: Any) -> None:
        if borders not in ("aware", "wrap"):
            raise ValueError(f"borders must be 'aware' or 'wrap', got {borders!r}")
        self.borders: Borders = borders
        super().__init__(data, window, **settings)
        self.size = None

    def __repr__(self) -> str:
        window = self.window if isinstance(self.window, int) else "schedule"
        return self._describe(f"window={window}", f"borders={self.borders!r}")

    def _questions(self, x: Tensor, sigma: Tensor, window: int, label: int | None) -> list[Question]:
        if self.borders == "wrap":
            return self._wrapped(x, sigma, window, label)
        return self._aware(x, sigma, window, label)

    def _wrapped(self, x: Tensor, sigma: Tensor, window: int, label: int | None) -> list[Question]:
        places = interior(*self.image_size, window)
        everywhere = torch.arange(x[0, 0].numel(), device=x.device)
        if places is None:
            self._check_same_size(x, window)
            return [same_place(self, x, sigma, window, label, everywhere)]
        radius, (height, width) = window // 2, x.shape[2:]
        inside = range(radius, radius + height), range(radius, radius + width)
        queries = places.extent.windows(_wrap(x, radius), *inside)[1]
        return [Question(self._job(queries, sigma, places, label), everywhere)]

    def _aware(self, x: Tensor, sigma: Tensor, window: int, label: int | None) -> list[Question]:
        height, width = x.shape[2:]
        known = {places.key: places for places in border_classes(*self.image_size, window)}
        same_size = (height, width) == self.image_size
        flat = torch.arange(height * width, device=x.device).view(height, width)
        questions, alone = [], []
        for places in border_classes(height, width, window):
            if places.key not in known:
                self._check_same_size(x, window)
            elif same_size and places.alone:
                alone.append(places.rows[0] * width + places.columns[0])
            else:
                queries = places.extent.windows(x, places.rows, places.columns)[1]
                pixels = flat[places.rows.start : places.rows.stop, places.columns.start : places.columns.stop]
                questions.append(Question(self._job(queries, sigma, known[places.key], label), pixels.flatten()))
        if alone:
            pixels = torch.tensor(alone, device=x.device)
            questions.append(same_place(self, x, sigma, window, label, pixels))
        return questions

    def _check_same_size(self, x: Tensor, window: int) -> None:
        if tuple(x.shape[2:]) != self.image_size:
            raise ValueError(
                f"x is {x.shape[2]}x{x.shape[3]} pixels: through a window of {window} on training images of "
                f"{self.image_size[0]}x{self.image_size[1]} another size cannot be drawn; use a smaller window"
            )

    def _job(self, queries: Tensor, sigma: Tensor, places: BorderClass, label: int | None) -> Average:
        """The job of query windows (B, rows, columns, C, h, w) against the windows at some places of every image."""

        def make() -> WindowKeys:
            store = self._class_store(label)
            # Edges are too few to merge; sorting takes some 40 bytes a window.
            inside = len(places.rows) > 1 and len(places.columns) > 1
            merge = inside and 40 * len(store) * len(places.rows) * len(places.columns) < self.memory // 2
            return WindowKeys(store, places.extent, places.rows, places.columns, merge=merge, hold=self.memory // 4)

        keys = self._cache.get(("keys", places.rows, places.columns, places.key, label), make, lambda made: made.nbytes)
        each = queries.shape[1] * queries.shape[2]
        return SharedKeys(queries.reshape(len(queries) * each, -1), sigma.repeat_interleave(each), keys)


def _wrap(x: Tensor, radius: int) -> Tensor:
    """x with its opposite sides on every side, also where the radius exceeds the image."""
    for axis in (2, 3):
        index = torch.arange(-radius, x.shape[axis] + radius, device=x.device) % x.shape[axis]
        x = x.index_select(axis, index)
    return x
