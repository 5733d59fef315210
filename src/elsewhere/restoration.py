"""Inverse problems by the local MMSE estimator: deblurring, super-resolution, inpainting, denoising."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_choice, checked, seen
from elsewhere.denoiser import Label, check_images, check_label
from elsewhere.engine.dense import DenseJob, Prior
from elsewhere.engine.keys.degraded import DegradedKeys
from elsewhere.engine.keys.places import Extent
from elsewhere.engine.layout import Layout, Region
from elsewhere.engine.planner import NUMBER
from elsewhere.engine.runner import MOST_PIECES, run
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.equivariant_local import EquivariantLocalScore
from elsewhere.machines.ideal import IdealScore
from elsewhere.machines.local import LocalScore
from elsewhere.operators import Operator
from elsewhere.schedules import check_level

Array = TypeVar("Array", Tensor, np.ndarray)
Linear = Callable[[Tensor], Tensor]
Inverse = Literal["auto", "none", "pseudo"]

MACHINES = (IdealScore, LocalScore, EquivariantLocalScore)
SMALLEST_SINGULAR = 1e-3
"""Singular values of an operator below this share of the largest are not inverted: they would magnify noise a
thousandfold."""
SMALLEST_VARIANCE = 1e-9
"""Variances of a window's noise below this share of the largest are rounding: the window cannot have noise there."""
SAME = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Covariances that differ by less than this share of the largest entry are the same: a thousand times what rounding in
the dtype of the operator leaves, since pseudo-inverses magnify it so."""
IMAGES_AT_ONCE = 256


@checked
def restore(
    machine: SoftmaxMachine,
    y: Array,
    operator: Linear,
    noise: float,
    label: Label = None,
    *,
    inverse: Inverse = "auto",
) -> Array:
    """The posterior mean of x given y = A x + noise e, as a machine sees it: the local equivariant MMSE estimator
    (LE-MMSE; Nguyen et al. 2026, "An analytic theory of convolutional neural network inverse problems solvers",
    arXiv 2601.10334).

    With z = B y, every pixel p of the result is a weighted mean of pixels q of training images x_j,

        x0_p = sum_{j, q} w_jq x_jq,   w_jq ~ N(window_p z; window_q B A x_j, noise^2 window_q B B^T window_q^T)

    over the places q that the machine lets p meet: its own place in LS, all alike places in ELS. It is the same average
    as that of the machine: denoising (A = B = identity) is `machine(y, noise)`. IS compares whole measurements, so that
    B plays no part: the posterior mean given the training images.

    Pixel p meets only places q where the noise in the window has the same covariance. Where the operator is the same
    everywhere, as a blur that wraps, these are all places; near hidden pixels it may be p's own place alone.

    Args:
        machine: an IdealScore, LocalScore or EquivariantLocalScore, without taper; a LocalitySchedule gives the window
            of `noise`. Every key is weighed, whatever the engine.
        y: measurements (B, C', H', W'), torch or NumPy, floating point.
        operator: A: `els.operators.mask`, `blur`, `downsample`, or any linear function of images (N, C, H, W).
        noise: standard deviation of the noise in y, within `schedules.SIGMAS`.
        label: class of all images or (B,), or None for every class together.
        inverse: B: "none" (the identity), "pseudo" (the pseudo-inverse of A), or "auto": "pseudo" where A hides or
            averages pixels or changes the size, else "none". The pseudo-inverse of an operator without a formula for it
            takes memory for a matrix of H W numbers squared (C H W for a user's own function).

    Returns:
        x0hat (B, C, H, W), same type and dtype as y. No gradient is recorded.

    Raises:
        TypeError: another machine, an operator that returns no images.
        ValueError: a tapered machine, measurements of another shape, an operator that is not linear, a level out of
            range, windows without a place that has the same noise, windows that wrap so far that they read pixels twice
            (with the pseudo-inverse), too little memory for a matrix.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=200)
        >>> half = els.operators.downsample(2)
        >>> y = half(data.scaled()[:1]) + 0.1 * els.make_noise(1, (1, 14, 14))
        >>> els.restore(els.LocalScore(data, 9), y, half, noise=0.1).shape
        torch.Size([1, 1, 28, 28])
    """
    if type(machine) not in MACHINES:
        raise TypeError(f"machine must be an IdealScore, LocalScore or EquivariantLocalScore, got {seen(machine)}")
    check_level(noise, "noise")
    check_choice("inverse", inverse, ("auto", "none", "pseudo"))
    measured = check_images(y, "y").detach()
    store = machine.store
    dtype = torch.float64 if measured.dtype == torch.float64 else torch.float32
    shape = (machine.channels or 0, *machine.image_size)
    expected = _check_linear(operator, torch.zeros(1, *shape, dtype=dtype, device=store.pixels.device))
    if measured.shape[1:] != expected:
        raise ValueError(f"y must be (B, {', '.join(map(str, expected))}), what operator makes of the training images, "
                         f"got shape {tuple(measured.shape)}")  # fmt: skip
    labels = check_label(label, len(measured), machine.num_classes, repr(machine))
    layout = machine.layout_at(*machine.image_size, noise)
    if layout.metric is not None and not layout.metric.is_square:
        raise ValueError("machine has taper=True: windows are compared by the covariance of the noise, use taper=False")
    problem = _problem(machine, layout, operator, inverse, shape, measured.to(store.pixels.device, dtype), noise)
    out = problem.z.new_empty(len(measured), *shape)
    chosen: list[int | None] = [None] if labels is None else sorted(set(labels.tolist()))
    with torch.no_grad():
        for one in chosen:
            index = torch.arange(len(out), device=out.device)
            if labels is not None and one is not None:
                index = index[labels.to(out.device).eq(one)]
            out[index] = problem.solve(machine, index, one)
    found = out.to(measured.dtype)
    if isinstance(y, Tensor):
        return found.to(y.device)
    return found.cpu().numpy().astype(y.dtype, copy=False)


@dataclass(frozen=True)
class _Group:
    """Pixels whose windows meet the windows at some places, all with noise of the same covariance.

    Attributes:
        pixels: flat positions in the image, int64 (P,).
        queries, keys: positions that the windows read, int64 (P, w) and (K, w).
        places: flat positions of the keys' centres, int64 (K, v).
        whiten: see `DegradedKeys`.
    """

    pixels: Tensor
    queries: Tensor
    keys: Tensor
    places: Tensor
    whiten: Tensor | None

    def to(self, device: torch.device) -> _Group:
        """The same on a device."""
        whiten = None if self.whiten is None else self.whiten.to(device)
        moved = (part.to(device) for part in (self.pixels, self.queries, self.keys, self.places))
        return _Group(*moved, whiten)  # type: ignore[call-arg]


@dataclass(frozen=True)
class _Problem:
    """Windows of z = B y against windows of B A x.

    Attributes:
        forward: B A, images to (N, C', L).
        z: (B, C', L).
        noise: standard deviation of y.
        groups: together they have every pixel once; of a whole image, one group without `pixels`.
    """

    forward: Linear
    z: Tensor
    noise: float
    groups: list[_Group]

    def solve(self, machine: SoftmaxMachine, index: Tensor, label: int | None) -> Tensor:
        """The restored images at some positions of the batch, from training images of a class."""
        store, logs, z = machine.workspace.of_class(label), machine.workspace.weight_logs(label), self.z[index]
        degraded = torch.cat([
            self.forward(store.floats(some).to(z.dtype)) for some in torch.split(store.pixels, IMAGES_AT_ONCE)
        ])  # fmt: skip
        out = z.new_empty(len(z), store.channels, store.pixels[0, 0].numel())
        centre = float(degraded.double().mean())
        for group in self.groups:
            keys = DegradedKeys(store, degraded, group.keys, group.places, group.whiten, centre)
            for images, at in self._pieces(group, keys, len(z), machine.memory):
                queries = keys.queries(z[images], group.queries[at])
                prior = None
                if logs is not None:
                    image = torch.arange(len(images), device=z.device).repeat_interleave(len(queries) // len(images))
                    prior = Prior(logs.expand(len(images), -1), image, len(group.keys))
                (state,) = run([DenseJob(queries, self.noise, keys, prior=prior)], z.device)
                mean = state.mean().view(len(images), -1, store.channels, group.places.shape[1])
                whole = group.places.shape[1] > 1
                pixels = group.places[0] if whole else group.pixels[at]
                out[images.unsqueeze(1), :, pixels] = (mean[:, 0].mT if whole else mean[..., 0]).to(out.dtype)
        return out.view(len(z), *store.pixels.shape[1:])

    def _pieces(self, group: _Group, keys: DegradedKeys, batch: int, memory: int) -> Iterator[tuple[Tensor, slice]]:
        """Images and pixels whose queries and states need a quarter of the memory at most."""
        values = keys.width - keys.compared
        at_once = max(1, memory // 4 // (NUMBER * (keys.width + MOST_PIECES * (values + 2))))
        pixels = min(len(group.queries), at_once)
        for images in torch.split(torch.arange(batch, device=self.z.device), max(1, at_once // pixels)):
            for start in range(0, len(group.queries), pixels):
                yield images, slice(start, start + pixels)


def _problem(
    machine: SoftmaxMachine,
    layout: Layout,
    operator: Linear,
    inverse: Inverse,
    shape: tuple[int, ...],
    y: Tensor,
    noise: float,
) -> _Problem:
    device = y.device
    if layout.metric is None:
        # Whole measurements, whose noise is white.
        every = torch.arange(y[0, 0].numel(), device=device)[None]
        values = torch.arange(shape[1] * shape[2], device=device)[None]
        group = _Group(values[0, :1], every, every, values, None)
        return _Problem(lambda images: _degraded(operator, images).flatten(2), y.flatten(2), noise, [group])
    same_size = y.shape[1:] == shape
    has_formula = isinstance(operator, Operator) and operator.pseudo_inverse is not None
    if inverse == "none" or (inverse == "auto" and same_size and not has_formula):
        if not same_size:
            raise ValueError(
                f"inverse='none' needs measurements of the images' shape {shape}, got {tuple(y.shape[1:])}"
            )
        groups = list(_groups(layout, shape, None, device))
        return _Problem(lambda images: _degraded(operator, images).flatten(2), y.flatten(2), noise, groups)
    apart = isinstance(operator, Operator)  # every channel by itself
    backward = _backward(operator, shape, tuple(y.shape[1:]), machine.memory, y)
    factor = backward(_basis(tuple(y.shape[1:]), apart, y.double())).flatten(1).T
    same = SAME[torch.float64 if apart else y.dtype]
    groups = list(_groups(layout, shape, factor @ factor.T, device, 1 if apart else shape[0], same))
    if apart:
        return _Problem(lambda x: backward(_degraded(operator, x)).flatten(2), backward(y).flatten(2), noise, groups)
    return _Problem(
        lambda x: backward(_degraded(operator, x)).flatten(1)[:, None], backward(y).flatten(1)[:, None], noise, groups
    )


def _basis(shape: tuple[int, ...], apart: bool, like: Tensor) -> Tensor:
    """Every image (or measurement) with a single one in it; of one channel where channels are apart."""
    channels = 1 if apart else shape[0]
    numbers = channels * shape[1] * shape[2]
    eye = torch.eye(numbers, dtype=like.dtype, device=like.device)
    return eye.view(numbers, channels, *shape[1:])


def _backward(operator: Linear, shape: tuple[int, ...], measured: tuple[int, ...], memory: int, like: Tensor) -> Linear:
    """A^+ as a function of measurements."""
    apart = isinstance(operator, Operator)
    numbers = shape[1] * shape[2] * (1 if apart else shape[0])
    # The matrix, its singular vectors, and the covariance.
    needed = 8 * 4 * numbers**2
    if needed > memory:
        raise ValueError(
            f"memory must be {needed >> 20} MiB or more for the pseudo-inverse on {shape[1]}x{shape[2]} pixels, got "
            f"{memory >> 20} MiB: give the machine more, or inverse='none'"
        )
    if isinstance(operator, Operator) and operator.pseudo_inverse is not None:
        return operator.pseudo_inverse
    matrix = _degraded(operator, _basis(shape, apart, like.double() if apart else like)).flatten(1).T
    inverted = torch.linalg.pinv(matrix.double(), rtol=SMALLEST_SINGULAR)

    def apply(y: Tensor) -> Tensor:
        rows = y.flatten(0, 1).flatten(1) if apart else y.flatten(1)
        images: Tensor = rows.double() @ inverted.T
        return images.to(y.dtype).view(len(y), -1, *shape[1:])

    return apply


def _groups(
    layout: Layout,
    shape: tuple[int, ...],
    covariance: Tensor | None,
    device: torch.device,
    channels: int = 1,
    same: float = 0.0,
) -> Iterator[_Group]:
    """The pixels of an image in groups that share keys.

    Args:
        layout: which pixels meet which places.
        shape: C, H and W.
        covariance: of B e for e of unit variance, over `channels` H W numbers; None where it is the identity.
        device: where to put positions.
        channels: how many of them a window reads together.
        same: see `_Kinds`.
    """
    assert layout.metric is not None
    for region in layout.regions:
        for pixels, queries, places, keys in _alike(region, layout, shape):
            if covariance is None:
                yield _Group(pixels, queries, keys, places[:, None], None).to(device)
                continue
            if channels > 1:
                offsets = torch.arange(channels, device="cpu")[:, None] * (shape[1] * shape[2])
                queries, keys = ((part[:, None] + offsets).flatten(1) for part in (queries, keys))
            if _repeats(queries):
                raise ValueError(
                    f"machine has windows of {layout.metric.side} pixels a side, which wrap round images of {shape[1]}x"
                    f"{shape[2]} and read pixels twice: use a smaller window, borders='aware', or inverse='none'"
                )
            kinds = _Kinds(covariance, same)
            of_keys, of_queries = kinds.of(keys), kinds.of(queries)
            for kind in sorted(set(of_queries.tolist())):
                met, members = of_keys == kind, of_queries == kind
                if not bool(met.any()):
                    raise ValueError(
                        "machine has windows that wrap round an edge where the noise is like that of no training "
                        "window: use borders='aware' or 'torus', or inverse='none'"
                    )
                whiten = _whitening(kinds.known[kind])
                yield _Group(pixels[members], queries[members], keys[met], places[met][:, None], whiten).to(device)


def _alike(region: Region, layout: Layout, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Pixels with the positions that their windows read, and the places that they meet with theirs, all int64."""
    _, height, width = shape
    assert layout.metric is not None
    radius = layout.metric.radius
    if region.places is None:
        for row in region.rows:
            for column in region.columns:
                extent = Extent(
                    min(radius, row),
                    min(radius, height - 1 - row),
                    min(radius, column),
                    min(radius, width - 1 - column),
                )
                here, window = _windows([row], [column], extent, (height, width))
                yield here, window, here, window
        return
    extent, padding = region.places.extent, layout.padding
    rows, columns = ([at - padding for at in line] for line in (region.places.rows, region.places.columns))
    pixels, queries = _windows([*region.rows], [*region.columns], extent, (height, width))
    places, keys = _windows(rows, columns, extent, (height, width))
    yield pixels, queries, places, keys


def _repeats(windows: Tensor) -> bool:
    """Whether any window (P, w) reads a position twice. The machine counts its pixel twice, the covariance once."""
    ordered = windows.sort(dim=1).values
    return bool((ordered[:, 1:] == ordered[:, :-1]).any())


def _windows(rows: list[int], columns: list[int], extent: Extent, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat positions of places, (P,), and those that their windows read, wrapping round the edges, (P, w)."""
    height, width = size
    down = torch.arange(-extent.top, extent.bottom + 1, device="cpu")
    across = torch.arange(-extent.left, extent.right + 1, device="cpu")
    centre = torch.cartesian_prod(*(torch.tensor(line, dtype=torch.int64, device="cpu") for line in (rows, columns)))
    row = (centre[:, 0, None, None] + down[:, None]) % height
    column = (centre[:, 1, None, None] + across) % width
    return centre[:, 0] * width + centre[:, 1], (row * width + column).flatten(1)


class _Kinds:
    """Windows of one size by the covariance of their noise.

    Args:
        covariance: of all numbers, (d, d).
        same: differences of entries, as a share of the largest, up to which covariances are the same.

    Attributes:
        known: one covariance (w, w) of each kind.
    """

    def __init__(self, covariance: Tensor, same: float) -> None:
        self.covariance, self.tolerance = covariance, same * float(covariance.abs().max())
        self.known: list[Tensor] = []

    def of(self, windows: Tensor) -> Tensor:
        """The kind of each window (P, w), int64 (P,)."""
        kinds = [self._kind(window.to(self.covariance.device)) for window in windows]
        return torch.tensor(kinds, dtype=torch.int64, device="cpu")

    def _kind(self, window: Tensor) -> int:
        found = self.covariance[window][:, window]
        # The last kinds first: neighbouring windows are mostly alike.
        for kind in range(len(self.known) - 1, -1, -1):
            if float((found - self.known[kind]).abs().max()) <= self.tolerance:
                return kind
        self.known.append(found)
        return len(self.known) - 1


def _whitening(covariance: Tensor) -> Tensor:
    """W with W W^T the pseudo-inverse of a covariance, (w, r): windows times W have noise of unit variance.

    A window and a key of the same covariance agree in the directions without noise, which are left out.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > SMALLEST_VARIANCE * values.amax().clamp(min=1e-300)
    whiten: Tensor = vectors[:, kept] / values[kept].sqrt()
    return whiten


def _degraded(operator: Linear, images: Tensor) -> Tensor:
    """A x.

    Raises:
        TypeError, ValueError: what the operator raises, or it returns no tensor of images.
    """
    try:
        found = operator(images)
    except TypeError as error:
        shape = tuple(images.shape)
        raise TypeError(f"operator must be a function of images, it fails on a tensor of shape {shape}") from error
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"operator fails on images of shape {tuple(images.shape)}: {error}") from error
    if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != len(images):
        shape = tuple(found.shape) if isinstance(found, Tensor) else seen(found)
        raise TypeError(f"operator must return a tensor ({len(images)}, C, H, W) for as many images, got {shape}")
    return found.to(images)


def _check_linear(operator: Linear, like: Tensor) -> torch.Size:
    """The shape of one measurement of images like these; refuses what is not linear, on two images of fixed numbers.

    Raises:
        TypeError, ValueError: not linear, or no function of images.
    """
    # In the dtype of the measurements: a user's operator may have numbers of that dtype alone.
    wave = torch.arange(like.numel(), dtype=torch.float64, device=like.device).view(like.shape)
    one, other = (0.3 * wave).sin().to(like.dtype), (0.7 * wave + 1).cos().to(like.dtype)
    parts = [_degraded(operator, images) for images in (one, other, 2 * one - 3 * other)]
    error = float((parts[2] - (2 * parts[0] - 3 * parts[1])).abs().max())
    # Operators in float32 agree to seven digits.
    if not error <= 1e-4 * (1 + float(parts[2].abs().max())):
        raise ValueError(f"operator must be linear, A(2 a - 3 b) and 2 A a - 3 A b differ by {error:.3g}")
    return parts[0].shape[1:]
