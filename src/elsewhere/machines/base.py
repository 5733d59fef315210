"""What the machines that are one softmax average share: data, classes, windows, and the engine."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_choice, check_memory, check_number, check_whole, checked, seen
from elsewhere.denoiser import Label
from elsewhere.engine import (
    ENGINES,
    Engine,
    Layout,
    PixelStore,
    Planner,
    SoftmaxState,
    Traced,
    Workspace,
    Wraps,
    trace_patches,
)
from elsewhere.entropy import WeightEntropy, entropy_of
from elsewhere.gradients import check_constant
from elsewhere.machines.gradient import Differentiable
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.machines.machine import DEFAULT_MEMORY, Data, Machine
from elsewhere.phrases import count
from elsewhere.progress import track

Window = int | LocalitySchedule
Kind = TypeVar("Kind", bound="SoftmaxMachine")


class Estimate(NamedTuple):
    """A prediction and how far off it is estimated to be.

    Attributes:
        x0: posterior mean, (B, C, H, W).
        error: estimated error of x0 at each pixel, the largest over channels, in units of [-1, 1], (B, H, W): zero
            where every key was weighed in full precision.
    """

    x0: Tensor
    error: Tensor


@dataclass(frozen=True)
class Prepared:
    """An index that `prepare` has built or read.

    Attributes:
        window: side of the window that it is for.
        label: class that it is for, None for all images.
        windows: training windows in it.
        keys: number of these that differ from one another.
        nbytes: bytes that it needs beside the images.
        seconds: how long it took.
    """

    window: int
    label: int | None
    windows: int
    keys: int
    nbytes: int
    seconds: float


@dataclass(frozen=True)
class TracedImages:
    """Where the weights of some pixels went, for some images of a batch.

    Attributes:
        images: positions of the images in the batch, int64 (B,).
        window: side of the window.
        wraps: which windows wrap round the edges.
        training: the training images that the machine compares with, int64 (n,).
        met: number of windows that each pixel meets, int64 (H, W).
        part: what was found; its images count through `training`.
    """

    images: Tensor
    window: int
    wraps: Wraps
    training: Tensor
    met: Tensor
    part: Traced


class SoftmaxMachine(Machine):
    """x0hat_i = sum_j softmax_j(-|q_i - k_j|^2 / (2 sigma^2)) v_j over the training set.

    A machine says in `layout` which pixels meet which keys; the engine's planner does the rest.

    It is differentiable in x, once and in reverse mode. The backward pass weighs every key twice, in float64, whatever
    the engine: gradients of a machine that searches are those of the exact one.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        engine: "exact" weighs every key; "fast" searches an index for those that matter, on processors, where windows
            are shared by many places (that is, in ELS); "auto" is "fast" for large sets.
        tolerance: the largest error of x0hat that the fast engine aims for, in units of [-1, 1].
        memory: bytes that the engine may use beside the images, 64 MiB or more.
        cache: folder where the fast engine keeps its indexes; by default `ELSEWHERE_CACHE`, or `elsewhere` in the
            user's cache folder.
        device: where to compute; default: where the data are.
        weights: how much each training image counts, 0 or more, (N,): a prior, whose logarithm is added to the
            log-weights of all keys of the image. None for once each. Every key is then weighed, whatever the size.

    Attributes:
        last_error: the `error` of the last call: see `estimate`, which returns it.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: data of the wrong shape, not finite or far outside [-1, 1]; unknown engine; memory too small;
            tolerance not between 1e-5 and 0.1; the fast engine on a device other than a processor; a device that
            is not there.
    """

    last_error: Tensor
    taper = False
    splits = True
    """Whether the states of parts of the training images merge: see `states`."""

    @checked
    def __init__(
        self,
        data: Data,
        *,
        engine: Engine = "auto",
        tolerance: float = 1e-3,
        memory: int = DEFAULT_MEMORY,
        cache: str | Path | None = None,
        device: str | torch.device | None = None,
        weights: Tensor | np.ndarray | Sequence[float] | None = None,
    ) -> None:
        super().__init__(data, memory, device, cache)
        store = self._workspace.store
        _check_engine(engine, store.pixels.device)
        if weights is not None:
            self._workspace.weights = _weights(weights, store, engine)
        tolerance = check_number("tolerance", tolerance, 1e-5, 0.1)
        self._planner = Planner(self._workspace, engine, tolerance)
        low, high = store.floats(torch.stack(store.pixels.aminmax())).tolist()
        self._range = (low, high)

    @property
    def workspace(self) -> Workspace:
        """The training images as the engine stores them, and what is kept of them between calls."""
        return self._planner.workspace

    @property
    def engine(self) -> Engine:
        """The engine that was asked for: "exact", "fast" or "auto"."""
        return self._planner.engine

    @property
    def tolerance(self) -> float:
        """The largest error of x0hat that the fast engine aims for, in units of [-1, 1]."""
        return self._planner.tolerance

    @property
    def cache(self) -> Path | None:
        """Folder where indexes are kept, None for that of the user."""
        return self.workspace.folder

    def _describe(self, *settings: str) -> str:
        prior = [] if self.workspace.weights is None else ["weights=..."]
        return super()._describe(*settings, *prior)

    @abstractmethod
    def layout(self, height: int, width: int, window: int) -> Layout:
        """Which pixels of a (height, width) image meet which keys through a window of a side: see `engine.Layout`.

        Raises:
            ValueError: an image of this size cannot be drawn.
        """

    @abstractmethod
    def window_at(self, sigma: float) -> int:
        """Side of the window at a noise level."""

    def layout_at(self, height: int, width: int, sigma: float) -> Layout:
        """What the pixels of a (height, width) image ask for at a noise level: override it where more than the window
        changes with the noise.

        Raises:
            ValueError: see `layout`.
        """
        return self.layout(height, width, self.window_at(sigma))

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        check_constant(sigma, "sigma", self)
        x0: Tensor = Differentiable.apply(x, self, sigma.detach(), label)  # type: ignore[no-untyped-call]
        return x0

    def estimate(self, x: Tensor | np.ndarray, sigma: float | Tensor | np.ndarray, label: Label = None) -> Estimate:
        """A prediction together with its estimated error: see `Denoiser.__call__` for the arguments.

        No gradient is recorded.

        Example:
            >>> import elsewhere as els
            >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5)
            >>> machine.estimate(els.make_noise(2, (1, 28, 28)), sigma=1.0).error.shape
            torch.Size([2, 28, 28])
        """
        images, levels, labels = self.check(x, sigma, label)
        with torch.no_grad():
            return self.average(images.detach(), levels.detach(), labels)

    def average(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Estimate:
        """`estimate` of checked tensors that autograd does not follow."""
        planner, centred = self._planner, self._centred(x)
        # Not `empty_like`, which takes over strides: steps write through views.
        out, error = centred.new_empty(centred.shape), centred.new_zeros(centred[:, 0].shape)
        for index, layout, level, chosen in self._groups(centred, sigma, label):
            for some in torch.split(index, planner.images_at_once(layout, centred[0])):
                out[some], error[some] = planner.average(layout, centred[some], level, chosen)
        self.last_error = error
        # Rounding may take a mean out of the range of what it is a mean of: then nothing could read the image again.
        return Estimate((out + self.store.offset).clamp_(*self._range), error)

    def states(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> SoftmaxState:
        """What the training images say of each number of some images, in a form that merges.

        The states of a machine's parts (see `part`), merged, are its own: their mean is x0hat.

        Args:
            x, sigma, label: see `predict`.

        Returns:
            Peaks and totals float64 (B, C, H, W), weighted sums (B, C, H, W, 1), of pixels in [-1, 1]; nothing was seen
            (a total of 0) where this machine has no image of the class.

        Raises:
            ValueError: patches are pasted, whose states do not merge.
        """
        self.check_splits()
        centred = self._centred(x.detach())
        total = centred.new_zeros(x.shape, dtype=torch.float64)
        peak, weighted, error = total - torch.inf, total[..., None].clone(), total.clone()
        for index, layout, level, chosen in self._groups(centred, sigma.detach(), label):
            if not len(self.workspace.chosen(chosen)):
                continue
            for some in torch.split(index, self._planner.images_at_once(layout, centred[0])):
                state = self._planner.states(layout, centred[some], level, chosen)
                assert state.error is not None
                peak[some], total[some], error[some] = state.peak, state.total, state.error
                weighted[some] = state.weighted + state.total[..., None] * self.store.offset
        return SoftmaxState(peak, total, weighted, error)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest pixel of the training images, in [-1, 1]: answers are within."""
        return self._range

    def check_splits(self) -> None:
        """Refuse a machine whose states do not merge: see `states`.

        Raises:
            ValueError: it is one.
        """
        if not self.splits:
            raise ValueError(f"{self!r} is no single softmax average of pixels: the states of its parts do not merge")
        if any(layout.response is not None for layout in self._layouts()):
            raise ValueError(f"{self!r} pastes patches: the states of its parts do not merge")

    @checked
    def part(self, start: int, stop: int, memory: int | None = None) -> Self:
        """The same machine of the training images from `start` to `stop` alone.

        Args:
            start, stop: positions of images.
            memory: bytes that it may use; None for those of this machine.

        Raises:
            TypeError, ValueError: positions or memory out of range, or no images.
        """
        start, stop = check_whole("start", start, 0, len(self) - 1), check_whole("stop", stop, 1, len(self))
        memory = self.memory if memory is None else check_memory(memory)
        if start >= stop:
            raise ValueError(f"stop must be more than start, got {start} to {stop}: a part has one image or more")
        other = copy.copy(self)
        other.data = None if self.data is None else self.data[start:stop]
        other._workspace = self.workspace.part(start, stop, memory)
        other._planner = replace(self._planner, workspace=other._workspace)
        return other

    def with_engine(self, engine: Engine) -> Self:
        """The same machine with another engine; data and caches are shared.

        Raises:
            TypeError, ValueError: not an engine, or the fast one on a device other than a processor.
        """
        _check_engine(engine, self.store.pixels.device)
        other = copy.copy(self)
        other._planner = replace(self._planner, engine=engine)
        return other

    @checked
    def with_weights(self, weights: Tensor | np.ndarray | Sequence[float] | None) -> Self:
        """The same machine with other weights of its training images; the images are shared, caches are not.

        Args:
            weights: 0 or more, (N,), in place of those that the machine has; None for once each. An image of weight 0
                costs no time.

        Raises:
            TypeError, ValueError: see `SoftmaxMachine`.

        Example:
            >>> import elsewhere as els
            >>> machine = els.LocalScore(els.load_images("fashion-mini", limit=3), 5).with_weights([2, 1, 0])
            >>> machine(els.make_noise(1, (1, 28, 28)), sigma=1.0).shape
            torch.Size([1, 1, 28, 28])
        """
        before = self.workspace
        known = None if weights is None else _weights(weights, before.store, self.engine)
        workspace = Workspace(before.store, before.labels, before.memory, before.folder, known)
        return self._sharing(type(self), workspace)

    def to(self, device: str | torch.device) -> Self:
        other = super().to(device)
        _check_engine(other.engine, other._workspace.store.pixels.device)
        other._planner = replace(self._planner, workspace=other._workspace)
        return other

    def _sharing(self, kind: type[Kind], workspace: Workspace | None = None) -> Kind:
        """A machine of another kind, one of the classes that this one extends, with the same settings and data.

        Args:
            kind: the class.
            workspace: other training images; None: the same.
        """
        other = kind.__new__(kind)
        other.__dict__.update(self.__dict__)
        if workspace is not None:
            other._workspace = workspace
            other._planner = replace(self._planner, workspace=workspace)
        return other

    def trace(self, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None) -> Iterator[TracedImages]:
        """Where the weights of every query went, for checked arguments as in `predict`.

        A machine that searches an index answers from what the search read, unless more weights are wanted than a search
        keeps; then, and for all weights, every key is weighed.

        Args:
            x, sigma, label: see `predict`.
            top: how many of the largest weights to keep for each query; None for all of them.

        Raises:
            ValueError: all weights need more than the machine's memory.
        """
        searched = top is not None and top <= self._planner.search.kept
        planner = self._planner if searched else replace(self._planner, engine="exact")
        centred, sigma = self._centred(x.detach()), sigma.detach()
        for index, layout, level, chosen in self._groups(centred, sigma, label):
            training = planner.workspace.chosen(chosen)
            met = layout.windows_met((x.shape[2], x.shape[3]), self.image_size) * planner.counted(chosen)
            at_once = planner.images_at_once(layout, centred[0], top or 0, len(training))
            for some in torch.split(index, at_once):
                request = (layout, centred[some], level, chosen, top)
                parts = planner.trace(*request) if layout.response is None else [trace_patches(planner, *request)]
                for part in parts:
                    yield TracedImages(some, self._side(layout), layout.wraps, training, met, part)

    def entropy(self, x: Tensor | np.ndarray, sigma: float | Tensor | np.ndarray, label: Label = None) -> WeightEntropy:
        """The entropy of the weights of all windows, at each pixel: see `Denoiser.__call__` for the arguments.

        Every window is weighed, whatever the engine, twice: once for the totals and once for the entropy.

        Raises:
            TypeError, ValueError: see `Denoiser.__call__`.

        Example:
            >>> import elsewhere as els
            >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=50))
            >>> found = machine.entropy(els.make_noise(1, (1, 28, 28)), sigma=1000.0)
            >>> round(float(found.pixel_shares.mean()), 4)
            1.0
        """
        images, levels, labels = self.check(x, sigma, label)
        batch, _, *size = images.shape
        nats = torch.full((batch, size[0] * size[1]), torch.nan, dtype=torch.float64, device=self.device)
        windows, shares = nats.new_zeros(nats.shape, dtype=torch.int64), nats.new_zeros(batch, len(self))
        compared = windows.new_zeros(batch)
        for traced in self.with_engine("exact").trace(images, levels, labels, 1):
            attribution, members, pixels = traced.part.attribution, traced.images, traced.part.step.pixels
            every = torch.arange(nats.shape[1], device=self.device)
            pixels, each = (every, 1) if pixels is None else (pixels, len(every))
            if attribution.entropy is not None:
                found = attribution.entropy.view(len(members), -1)
                nats[members[:, None], pixels] = found.expand(-1, len(pixels))
            windows[members] = traced.met.flatten().to(self.device)
            shares[members[:, None], traced.training] += attribution.shares / each
            compared[members] = len(traced.training)
        shape = (batch, *size)
        return WeightEntropy(nats.view(shape), windows.view(shape), entropy_of(shares), compared)

    def _side(self, layout: Layout) -> int:
        """Side of the window of a layout; that of one which covers the image from every pixel, for whole images."""
        return 2 * max(self.image_size) - 1 if layout.metric is None else layout.metric.side

    def _centred(self, x: Tensor) -> Tensor:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(self.store.pixels.device, dtype) - self.store.offset

    def _groups(
        self, x: Tensor, sigma: Tensor, label: Tensor | None
    ) -> Iterator[tuple[Tensor, Layout, float, int | None]]:
        """Images of the batch that share a noise level and a class: their positions, int64, and what they ask for.

        The number is the standard deviation that the softmax uses.
        """
        groups: dict[tuple[float, int | None], list[int]] = {}
        labels = [None] * len(sigma) if label is None else label.tolist()
        for index, (level, chosen) in enumerate(zip(sigma.tolist(), labels, strict=True)):
            groups.setdefault((level, chosen), []).append(index)
        for (level, chosen), members in groups.items():
            layout = self.layout_at(x.shape[2], x.shape[3], level)
            width = level * layout.temperature**0.5
            yield torch.tensor(members, device=x.device, dtype=torch.int64), layout, width, chosen

    @checked
    def prepare(self, labels: Sequence[int | None] = (None,), *, progress: bool = False) -> list[Prepared]:
        """Build all indexes that the fast engine needs, or read them from the cache, before they are first needed.

        Args:
            labels: the classes to be asked for, None for all images together.
            progress: show a bar with the time left.

        Returns:
            Every index; none where all windows are weighed one by one.

        Raises:
            TypeError, ValueError: not labels, or a class without images.
        """
        classes = [label for label in labels if label is not None]
        if classes and not self.num_classes:
            raise ValueError(f"labels were given but {self!r} has no classes: leave labels out")
        for number in classes:
            check_whole("each of labels", number, 0, self.num_classes - 1)
        wanted = [
            (self._side(layout), layout, region, label)
            for label in labels
            for layout in self._layouts()
            for region in layout.regions
            if self._planner.searched(region, layout, label)
        ]
        made = []
        for window, layout, region, label in track(wanted, len(wanted), "indexing", progress):
            start = perf_counter()
            index = self._planner.built(region, layout, label)
            seconds = perf_counter() - start
            made.append(Prepared(window, label, index.keys.places, len(index.keys), index.nbytes, seconds))
        return made

    def _layouts(self) -> list[Layout]:
        """All layouts of an image of the size of the training images."""
        return [self.layout_at(*self.image_size, 1.0)]


def _check_engine(engine: Engine, device: torch.device) -> None:
    check_choice("engine", engine, ENGINES)
    if engine == "fast" and device.type != "cpu":
        raise ValueError(f"the fast engine runs on processors, got device {device}: use engine='exact'")


def _weights(weights: Any, store: PixelStore, engine: Engine) -> Tensor:
    """Checked weights of training images, float64 (N,) on their device."""
    try:
        if weights.is_complex() if isinstance(weights, Tensor) else np.iscomplexobj(weights):
            raise TypeError("complex")
        found = torch.as_tensor(weights, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"weights must be numbers, one for each image, got {seen(weights)}") from error
    if found.shape != (len(store),):
        raise ValueError(
            f"weights must have one number for each of {count(len(store), 'image')}, got shape {tuple(found.shape)}"
        )
    check_constant(found, "weights", "a machine")
    if not bool(found.isfinite().all()) or bool((found < 0).any()):
        raise ValueError(f"weights must be finite and 0 or more, got {float(found.min()):g} to {float(found.max()):g}")
    if engine == "fast":
        raise ValueError("weights need engine='exact' or 'auto': an index does not know them")
    found = found.to(store.pixels.device)
    if not bool((found > 0).any()):
        raise ValueError("weights are 0 for all images: one must be positive")
    return found
