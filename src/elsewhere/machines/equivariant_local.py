"""The equivariant local score machine: each pixel sees a window and does not know where it is."""

from __future__ import annotations

from typing import Any, Literal

from elsewhere.checks import checked
from elsewhere.engine import Extent, Layout, Places, Region, Wraps
from elsewhere.machines.base import Window, WindowedMachine
from elsewhere.machines.borders import border_classes, interior
from elsewhere.machines.machine import Data

Borders = Literal["aware", "wrap", "torus"]


class EquivariantLocalScore(WindowedMachine):
    """ELS: locality and equivariance (Kamb & Ganguli 2025, eq. 7 and section 4).

    Query: the window around a pixel. Keys: windows of every training image. Value: the centre pixel. Which windows:

    - `borders="wrap"` (a network with circular padding): the query wraps round the edges; the keys are the windows
      that lie wholly inside a training image. Rolling the noise rolls the image.
    - `borders="torus"` (training images whose own edges meet, such as periodic textures): as "wrap", and the keys wrap
      too, so that every place of a training image has its window, of any size.
    - `borders="aware"` (a network with zero padding): the query is zero outside the image; the keys are the windows at
      the same distance from the same borders, as far as the window can feel them. Interior pixels share their keys,
      an edge row has its own, a corner pixel has its own place only.

    A window larger than the image has no interior place; either machine is then the local machine, `LocalScore`.
    The image drawn may be of another size than the training images as long as every border class of it occurs in
    them. What its size costs beside the image itself is bounded by `memory`: the pixels ask in groups.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        window, taper: see `WindowedMachine`; a window may exceed the image.
        borders: "aware", "wrap" or "torus".
        engine, tolerance, memory, cache, device: see `SoftmaxMachine`.

    Raises:
        ValueError: unknown borders; see `SoftmaxMachine` for the rest.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    @checked
    def __init__(self, data: Data, window: Window | None = None, borders: Borders = "aware", **settings: Any) -> None:
        self.borders: Borders = borders
        super().__init__(data, window, **settings)
        self.size = None

    def __repr__(self) -> str:
        layout = self.layout(*self.image_size, self._windows()[0])
        approximate = [f"engine='fast', tolerance={self.tolerance:g}"] if self._planner.searches(layout) else []
        return self._describe(*self._window_settings(), f"borders={self.borders!r}", *approximate)

    def layout(self, height: int, width: int, window: int) -> Layout:
        metric, whole = self.metric(window), Region(range(height), range(width), None)
        if self.borders == "aware":
            return Layout(tuple(self._border_aware(height, width, window)), metric)
        places = self._interior(window)
        if places is None:
            # No training window of this side lies inside its image: the machine is the local one.
            self._check_same_size(height, width, window)
            return Layout((whole,), metric)
        wraps = Wraps(True, self.borders == "torus")
        return Layout((Region(whole.rows, whole.columns, places),), metric, wraps)

    def _border_aware(self, height: int, width: int, window: int) -> list[Region]:
        known = {places.extent: places for places in border_classes(*self.image_size, window)}
        regions = []
        for places in border_classes(height, width, window):
            if places.extent not in known:
                self._check_same_size(height, width, window)
            regions.append(Region(places.rows, places.columns, known[places.extent]))
        return regions

    def _interior(self, window: int) -> Places | None:
        """Centres of the training windows that queries which wrap meet, in the images as the engine pads them."""
        if self.borders == "wrap":
            return interior(*self.image_size, window)
        radius = window // 2
        rows, columns = (range(radius, radius + side) for side in self.image_size)
        return Places(rows, columns, Extent(radius, radius, radius, radius))

    def _check_same_size(self, height: int, width: int, window: int) -> None:
        if (height, width) != self.image_size:
            raise ValueError(
                f"x is {height}x{width} pixels: through a window of {window} on training images of "
                f"{self.image_size[0]}x{self.image_size[1]} another size cannot be drawn; use a smaller window"
            )
