"""Networks of any parametrisation, read as D(x, sigma): `Preconditioning` has the formulas."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from elsewhere.checks import check_levels, check_number, check_sides, check_whole, checked, seen
from elsewhere.denoiser import check_images
from elsewhere.limits import MOST_CLASSES
from elsewhere.networks.base import NetworkDenoiser
from elsewhere.schedulers import FlowTimes, FunctionTimes, LogTimes, Preconditioning, TableTimes, Times
from elsewhere.schedules import check_level


class PreconditionedNetwork(NetworkDenoiser):
    """A network F, read as D(x, sigma) = c_skip x + c_out F(c_in x, t).

    Below the least noise level that the network knows it is given that level; in the formula sigma stays as it is.
    Above the greatest, x is shrunk to that level, D(x, sigma) = D(x sigma_T / sigma, sigma_T): there x is nearly all
    noise, and an error of F must not grow with sigma. x0hat is never clipped.

    Attributes:
        preconditioning: scale, prediction and times.
        null_class: the number that means "no class"; None where there is none.
        channels, size, num_classes: see `Denoiser`.
        unconditional: whether the module also answers without a class number; without it and without a null class,
            every call needs a label.

    Raises:
        TypeError, ValueError: arguments of another kind or out of range.
    """

    unconditional = False

    @property
    def has_null_class(self) -> bool:  # type: ignore[override]
        """Whether it answers without a class."""
        return not self.num_classes or self.null_class is not None or self.unconditional

    @checked
    def __init__(
        self,
        module: nn.Module,
        preconditioning: Preconditioning,
        *,
        name: str,
        channels: int | None = None,
        size: tuple[int, int] | None = None,
        num_classes: int = 0,
        null_class: int | None = None,
    ) -> None:
        if channels is not None:
            check_whole("channels", channels, 1)
        if size is not None:
            check_sides("size", size)
        check_whole("num_classes", num_classes, 0, limit=MOST_CLASSES)
        if null_class is not None:
            check_whole("null_class", null_class, 0, limit=MOST_CLASSES)
            if not num_classes:
                raise ValueError(f"null_class={null_class} was given without classes: give num_classes as well")
        self.module = module.eval().requires_grad_(False)
        self.preconditioning = preconditioning
        self.name = name
        self.channels = channels
        self.size = size
        self.num_classes = num_classes
        self.null_class = null_class

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.preconditioning.prediction})"

    def timestep(self, sigma: Tensor) -> Tensor:
        """The t that stands for each noise level (B,), float32 (B,); the first and the last for those beyond."""
        return self.preconditioning.times.time(sigma.double()).float()

    def _predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        if self.num_classes and label is None and not self.unconditional:
            if self.null_class is None:
                raise ValueError(
                    f"{self!r} was trained with classes and has no number for none of them: "
                    f"give label=0..{self.num_classes - 1}, or load it with null_class= if a number means that"
                )
            label = torch.full((len(x),), self.null_class, device=x.device, dtype=torch.int64)
        level = sigma.clamp(max=self.preconditioning.times.greatest)
        found = self.preconditioning(level[:, None, None, None])
        c_in, c_skip, c_out = (c.to(x.dtype) for c in (found.c_in, found.c_skip, found.c_out))
        x = x * (level / sigma)[:, None, None, None].to(x.dtype)
        parameter = next(self.module.parameters(), None)
        given = (c_in * x).to(x.dtype if parameter is None else parameter.dtype)
        answer = self._ask(given, self.preconditioning.times.time(level), label)
        return c_skip * x + c_out * answer.to(x.dtype)

    @abstractmethod
    def _ask(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        """F(x, t): x in the module's dtype, t float64 (b,), label int64 (b,) or None."""


class WrappedNetwork(PreconditionedNetwork):
    """A torch module whose parametrisation was stated: see `wrap`."""

    whole_times = False

    def _ask(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        given = time.round().long() if self.whole_times else time.to(x.dtype)
        answer = self.module(x, given) if label is None else self.module(x, given, label)
        answer = getattr(answer, "sample", answer)
        answer = answer[0] if isinstance(answer, tuple | list) and answer else answer
        if not isinstance(answer, Tensor) or answer.shape != x.shape:
            found = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else seen(answer)
            raise ValueError(
                f"{self!r} answered with {found} to images of shape {tuple(x.shape)}: expected a tensor of that shape"
            )
        return check_images(answer, f"the output of {self!r}")


@checked
def wrap(
    module: nn.Module,
    prediction: Literal["epsilon", "v", "sample", "flow", "edm"],
    sigmas: Sequence[float] | Tensor | np.ndarray | None = None,
    *,
    time: Callable[[Tensor], Tensor] | None = None,
    whole_times: bool = False,
    sigma_data: float = 0.5,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    num_classes: int = 0,
    null_class: int | None = None,
    name: str = "module",
) -> WrappedNetwork:
    """Read a plain torch module as a denoiser D(x, sigma, label=None).

    The module is called as `module(x_in, t)`, or `module(x_in, t, labels)` if it has classes: x_in (B, C, H, W), t
    (B,), labels int64 (B,). It answers with a tensor of the shape of x_in, or with an object that has one as `.sample`.
    With x = x0 + sigma n, a = 1 / sqrt(1 + sigma^2), s = sigma a, u = sigma / (1 + sigma), d = `sigma_data` and
    q = sqrt(sigma^2 + d^2):

    | prediction | x_in | the answer F | x0hat | t, unless `time` says otherwise |
    |---|---|---|---|---|
    | "epsilon" | a x | n | x - sigma F | fractional index into `sigmas` |
    | "v" | a x | a n - s x0 | a^2 x - s F | fractional index into `sigmas` |
    | "sample" | a x | x0 | F | fractional index into `sigmas` |
    | "flow" | (1 - u) x | n - x0 | (1 - u) x - u F | u, 0 to 1 |
    | "edm" | x / q | EDM's F | (d / q)^2 x + sigma d / q F | ln(sigma) / 4 |

    Args:
        module: set to evaluation, without gradients, in place.
        prediction: what the module predicts; "flow" as in rectified flow, "edm" as in Karras et al. (2022), table 1.
        sigmas: for "epsilon", "v" and "sample" the noise level of each timestep 0, 1, 2, ..., rising: for DDPM
            ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5. Levels between two have a fractional timestep, linear in
            log sigma; those beyond the ends are read as `PreconditionedNetwork` says.
        time: in place of that, a function from sigma, float64 (B,), to t (B,).
        whole_times: whether t is rounded and given as int64, for modules that look it up in a table.
        sigma_data: the standard deviation of the images, for "edm".
        channels, size: of the images, (H, W), where the module takes no others.
        num_classes: classes of the images; 0: the module takes no labels.
        null_class: the label that means "no class" to the module, often `num_classes`; None: it has none.
        name: what reports call it.

    Raises:
        TypeError: not a module, or an argument of another kind.
        ValueError: levels that do not rise, no levels, levels or a time that the prediction does not have, or a number
            out of range.

    Example:
        >>> import elsewhere as els
        >>> class Half(torch.nn.Module):
        ...     def forward(self, x, t):
        ...         return 0.5 * x
        >>> denoiser = els.wrap(Half(), "epsilon", sigmas=[0.1, 1.0, 10.0])
        >>> denoiser(torch.ones(1, 1, 2, 2), 1.0)[0, 0, 0, 0]  # 1 - 1 * 0.5 / sqrt(2)
        tensor(0.6464)
    """
    check_number("sigma_data", sigma_data, 1e-6, 1e6)
    scale: Any = {"flow": "flow", "edm": "edm"}.get(prediction, "vp")
    meaning: Any = "epsilon" if prediction == "edm" else prediction
    times = _times(prediction, sigmas, time)
    network = WrappedNetwork(
        module,
        Preconditioning(scale, meaning, times, float(sigma_data)),
        name=name,
        channels=channels,
        size=size,
        num_classes=num_classes,
        null_class=null_class,
    )
    network.whole_times = whole_times
    return network


def _times(
    prediction: str, sigmas: Sequence[float] | Tensor | np.ndarray | None, time: Callable[[Tensor], Tensor] | None
) -> Times:
    if sigmas is not None and time is not None:
        raise ValueError("sigmas and time both say which t belongs to a noise level: give one of them")
    if prediction in ("flow", "edm"):
        if sigmas is not None:
            raise ValueError(
                f"sigmas was given with prediction={prediction!r}, whose t is a formula: leave sigmas out, or give "
                "time= where the t of the module is another"
            )
        if time is not None:
            return FunctionTimes(time)
        return FlowTimes() if prediction == "flow" else LogTimes()
    if time is not None:
        return FunctionTimes(time)
    if sigmas is None:
        raise ValueError(
            f"sigmas is missing: with prediction={prediction!r} give the noise level of each timestep 0, 1, 2, ..., "
            "such as ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5 of DDPM, or time="
        )
    levels = check_levels("sigmas", sigmas)
    for level in levels:
        check_level(level, "every one of sigmas")
    if len(levels) < 2 or not all(before < after for before, after in pairwise(levels)):
        raise ValueError(f"sigmas must be two or more levels that rise with the timestep, got {seen(levels)}")
    return TableTimes(np.arange(len(levels), dtype=np.float64), np.log(np.array(levels)))
