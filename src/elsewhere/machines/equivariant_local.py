"""The equivariant local score machine: each pixel sees a window and does not know where it is."""

from __future__ import annotations

from typing import Any

from elsewhere.checks import checked
from elsewhere.engine import Layout
from elsewhere.machines.borders import Borders, shared_places
from elsewhere.machines.machine import Data
from elsewhere.machines.windowed import Window, WindowedMachine


class EquivariantLocalScore(WindowedMachine):
    """ELS: locality and equivariance (Kamb & Ganguli 2025, eq. 7 and section 4).

    Query: the window around a pixel. Keys: windows of every training image. Value: the centre pixel. Which windows:

    - `borders="wrap"` (a network with circular padding): the query wraps round the edges; the keys are the windows
      that lie wholly inside a training image. Rolling the noise rolls the image.
    - `borders="torus"` (training images whose own edges meet, such as periodic textures): as "wrap", and the keys wrap
      too, so that every place of a training image has its window, of any size.
    - `borders="aware"` (a network with zero padding): the query is zero outside the image; the keys are the windows at
      the same distance from the same borders, as far as these lie within the window. Interior pixels share their keys,
      an edge row has its own, a corner pixel has its own place only.

    A window larger than the image has no interior place; either machine is then the local machine, `LocalScore`.
    The image drawn may be of another size than the training images as long as every border class of it occurs in
    them. Pixels are computed in groups, so that a large canvas needs no more than `memory` beside the image itself.

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
        layout = self._layouts()[0]
        approximate = [f"engine='fast', tolerance={self.tolerance:g}"] if self._planner.searches(layout) else []
        return self._describe(*self._window_settings(), f"borders={self.borders!r}", *approximate)

    def layout(self, height: int, width: int, window: int) -> Layout:
        regions, wraps = shared_places(self.borders, self.image_size, (height, width), window)
        return Layout(regions, self.metric(window), wraps)
