"""What the machines that look through windows share: the window, for each noise level, and whether it is tapered."""

from __future__ import annotations

import copy
from typing import Any

from elsewhere.checks import checked
from elsewhere.engine import Layout, Metric
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.locality import LocalitySchedule, check_window, published_locality
from elsewhere.machines.machine import Data

Window = int | LocalitySchedule


class WindowedMachine(SoftmaxMachine):
    """A softmax machine that looks through windows.

    In a square window every pixel counts once in |q - k|^2. In a tapered window of side 2 h - 1 a pixel d rows and e
    columns from the centre counts (1 - |d| / h) (1 - |e| / h) times: the result is the posterior mean if noise grew
    with the distance accordingly. Networks of small convolutions see in this way, because pixels farther away reach
    the output on fewer paths (Luo et al. 2016, "Understanding the effective receptive field"). A machine with weights
    of its own overrides `metric`, and refuses or multiplies in the taper.

    Args:
        window: odd side in pixels, or a LocalitySchedule that gives one for each noise level; None for the windows
            published for CIFAR-10 (`machines.locality.published_locality`), as the command line has them.
        taper: whether windows are tapered; by default what the LocalitySchedule says, else not.

    Raises:
        TypeError: taper is neither None nor a bool.
        ValueError: taper is not what the LocalitySchedule says; see `SoftmaxMachine` for the rest.
    """

    @checked
    def __init__(self, data: Data, window: Window | None = None, *, taper: bool | None = None, **settings: Any) -> None:
        self.taper = bool(taper)
        self._look_through(published_locality() if window is None else window)
        if taper is not None and taper != self.taper:
            raise ValueError(f"the LocalitySchedule is for taper={self.taper}, got taper={taper}: leave taper out")
        super().__init__(data, **settings)

    def __repr__(self) -> str:
        return self._describe(*self._window_settings())

    def _window_settings(self) -> list[str]:
        side = "schedule" if isinstance(self.window, LocalitySchedule) else self.window
        window = "schedule published for CIFAR-10" if self.window == published_locality() else side
        return [f"window={window}", "taper=True"] if self.taper else [f"window={window}"]

    @checked
    def with_window(self, window: Window) -> WindowedMachine:
        """The same machine through another window, tapered as before unless a schedule says otherwise; data and caches
        are shared.

        Raises:
            TypeError, ValueError: not a window.
        """
        other = copy.copy(self)
        other._look_through(window)
        return other

    def _look_through(self, window: Window) -> None:
        self.window: Window = window if isinstance(window, LocalitySchedule) else check_window(window)
        if isinstance(window, LocalitySchedule):
            self.taper = window.taper

    def metric(self, window: int) -> Metric:
        """How much each pixel of a window of this side counts: override it for weights of your own."""
        return Metric.tapered(window) if self.taper else Metric.square(window)

    def window_at(self, sigma: float) -> int:
        return self.window if isinstance(self.window, int) else self.window(sigma)

    def _layouts(self) -> list[Layout]:
        sides = [self.window] if isinstance(self.window, int) else sorted(set(self.window.windows))
        return [self.layout(*self.image_size, side) for side in sides]
