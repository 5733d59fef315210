"""What the machines that are one softmax average share: data, classes, windows, and the engine."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Literal, Self, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from elsewhere import engine as engines
from elsewhere.checks import check_choice, check_memory, check_number, checked
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, check_images
from elsewhere.engine import (
    Average,
    PixelStore,
    SearchedKeys,
    SecondLook,
    Shelf,
    Shifts,
    ShiftsTracing,
    SoftmaxState,
    Trace,
    Tracing,
    compiled,
)
from elsewhere.gradients import check_constant
from elsewhere.machines.borders import Wraps
from elsewhere.machines.gradient import Differentiable
from elsewhere.machines.locality import LocalitySchedule, check_window, published_locality
from elsewhere.phrases import count

Data = ImageSet | Tensor | np.ndarray
Window = int | LocalitySchedule
Engine = Literal["auto", "exact", "fast"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
# With "auto", the windows at all places of so many training images or more are searched, fewer are weighed one by one.
MANY = 30_000_000
# Windows at fewer places than this are always weighed one by one: searching them would take longer.
FEW = 1_000_000
# The compiled loop weighs them at the same cost whatever their size, which reading what a search has found does not: by
# so many more places for each number in a window it is the faster one. Measured.
A_NUMBER = 7_500
DEFAULT_MEMORY = 2**30
Made = TypeVar("Made")


@dataclass(frozen=True)
class Question:
    """A job, and the pixels that its queries ask for.

    Attributes:
        job: its queries are those of the first image, then those of the second, ...
        pixels: flat positions, one for each query of an image, int64 (P,); None when a query asks for a whole image.
        padding: by how many pixels the training images were wrapped on every side before their windows were cut out.
        log_counts: where a job weighs equal windows one by one that are to be named as one: see `ShiftsTracing`.
    """

    job: Average | SearchedKeys | Shifts
    pixels: Tensor | None
    padding: int = 0
    log_counts: Tensor | None = None

    def second_look(self, state: SoftmaxState, batch: int, images: int, top: int | None) -> SecondLook:
        """The job that finds where the weights of this one went: see `Tracing`.

        Raises:
            TypeError: not every window was weighed.
        """
        most = self.keys if top is None else min(top, self.keys)
        if isinstance(self.job, Shifts):
            return ShiftsTracing(self.job, state, most, self.log_counts)
        assert not isinstance(self.job, SearchedKeys)
        return Tracing(self.job, state, batch, images, most)

    @property
    def keys(self) -> int:
        """Number of keys that a query has, at most.

        Raises:
            TypeError: not every key was weighed.
        """
        if isinstance(self.job, SearchedKeys):
            raise TypeError("SearchedKeys does not tell every weight")
        return self.job.most if isinstance(self.job, Shifts) else len(self.job)

    def answer(self, state: SoftmaxState, out: Tensor, error: Tensor | None = None) -> None:
        """Write the means of a state into images (B, C, H, W), and the error of each into `error` (B, H, W)."""
        if error is not None and state.error is not None and self.pixels is not None:
            error.flatten(1)[:, self.pixels] = state.error.view(len(out), -1).to(error.dtype)
        if self.pixels is None:
            out[:] = state.mean().view(out.shape)
        else:
            out.flatten(2)[:, :, self.pixels] = state.mean().view(len(out), len(self.pixels), -1).mT.to(out.dtype)


@dataclass(frozen=True)
class Traced:
    """What was found about one question on some images of a batch.

    Attributes:
        images: which images of the batch, int64 (B,).
        window: side of the window.
        training: which training images the engine saw, int64 (n,).
        question, state: the job, and its state.
        trace: where the weights went; `trace.shares` is (B, n).
        look: knows which windows the keys are, of the n training images.
    """

    images: Tensor
    window: int
    training: Tensor
    question: Question
    state: SoftmaxState
    trace: Trace
    look: SecondLook


class SoftmaxMachine(Denoiser):
    """x0hat_i = sum_j softmax_j(-|q_i - k_j|^2 / (2 sigma^2)) v_j over the training set.

    It is differentiable in x, once and in reverse mode. The backward pass weighs every key twice, in float64, whatever
    the engine: gradients of a machine that searches are those of the exact one.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        engine: "exact" weighs every key; "fast" searches an index for those that matter, on processors, where windows
            are shared by many places (that is, in ELS); "auto" is "fast" for MANY windows.
        tolerance: the largest error of x0hat that the fast engine aims for, in units of [-1, 1].
        memory: bytes that the engine may use beside the images, 64 MiB or more.
        cache: folder where the fast engine keeps its indexes; by default `ELSEWHERE_CACHE`, or `elsewhere` in the
            user's cache folder.
        device: where to compute; default: where the data are.

    Attributes:
        last_error: how far off the last call's x0hat is estimated to be at each pixel, (B, H, W): zero where every key
            was weighed in full precision.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: data of the wrong shape, not finite or far outside [-1, 1]; unknown engine; memory too small;
            tolerance not between 1e-5 and 0.1; the fast engine on a device other than a processor; a device that
            is not there.
    """

    last_error: Tensor
    taper = False

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
    ) -> None:
        memory = check_memory(memory)
        self.data = data if isinstance(data, ImageSet) else None
        pixels, labels = _pixels(data)
        if device is not None:
            pixels = pixels.to(device)
        self.engine: Engine = _check_engine(engine, pixels.device)
        self.tolerance = check_number("tolerance", tolerance, 1e-5, 0.1)
        self.memory = memory
        # The user's own folder is looked for when an index is kept: there may be none.
        self.cache = None if cache is None else Path(cache)
        self.store = PixelStore.of(pixels)
        low, high = self.store.floats(torch.stack(pixels.aminmax())).tolist()
        self._range = (low, high)
        self.labels = labels
        self.channels = pixels.shape[1]
        self.image_size = (pixels.shape[2], pixels.shape[3])
        self.size = self.image_size
        self.num_classes = self.data.num_classes if self.data else 0
        self._cache = _Cache(2 * memory // 3)

    def __len__(self) -> int:
        return len(self.store)

    def _describe(self, *settings: str) -> str:
        name = self.data.name if self.data else "array"
        return f"{type(self).__name__}({', '.join([f'{name!r}', count(len(self), 'image'), *settings])})"

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        check_constant(sigma, "sigma", self)
        x0: Tensor = Differentiable.apply(x, self, sigma.detach(), label)  # type: ignore[no-untyped-call]
        return x0

    def average(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """`predict` of a tensor that autograd does not follow."""
        centred, sigma = self._centred(x), sigma.to(self.store.pixels.device)
        # Not `empty_like`, which takes over strides: `Question.answer` writes through views.
        out, error = centred.new_empty(centred.shape), centred.new_zeros(centred[:, 0].shape)
        for index, window, chosen in self._parts(sigma, label):
            for some in torch.split(index, self._images_at_once(centred[0], window)):
                out[some], error[some] = self._mean(centred[some], sigma[some], window, chosen)
        self.last_error = error
        # Rounding may take a mean out of the range of what it is a mean of: then nothing could read the image again.
        return (out + self.store.offset).clamp_(*self._range)

    def with_engine(self, engine: Engine) -> Self:
        """The same machine with another engine; data and caches are shared.

        Raises:
            TypeError, ValueError: not an engine, or the fast one on a device other than a processor.
        """
        other = copy.copy(self)
        other.engine = _check_engine(engine, self.store.pixels.device)
        return other

    @property
    def _may_search(self) -> bool:
        """Whether windows are searched if there are enough of them."""
        if self.engine == "exact" or self.taper or self.store.pixels.device.type != "cpu":
            return False
        return self.engine == "fast" or self.store.pixels[:, 0].numel() >= MANY

    def _searches(self, windows: int, width: int) -> bool:
        """Whether so many windows, of so many numbers each, are searched."""
        return self._may_search and windows >= (FEW + A_NUMBER * width if compiled(self.store) else FEW)

    def _shelf(self, label: int | None) -> Shelf:
        def make() -> Shelf:
            return Shelf.of(self.cache, self._class_store(label).pixels)

        return self._cache.get(("shelf", label), make, lambda made: 0)

    def trace(self, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None) -> Iterator[Traced]:
        """Where the weights of every query went, for checked arguments as in `predict`, weighed by the exact engine.

        Args:
            top: how many of the largest weights to keep for each query; None for all of them.

        Raises:
            ValueError: all weights need more than the machine's memory.
        """
        device = self.store.pixels.device
        centred, sigma = self._centred(x.detach()), sigma.detach().to(device)
        exact = self.with_engine("exact")
        for index, window, chosen in self._parts(sigma, label):
            training = self._chosen(chosen)
            for some in torch.split(index, self._images_at_once(centred[0], window, top or 0, len(training))):
                for questions in exact._questions(centred[some], sigma[some], window, chosen, traced=True):
                    if top is None:
                        self._check_room(questions, len(some))
                    states = self._run(questions)
                    looks = [
                        question.second_look(state, len(some), len(training), top)
                        for question, state in zip(questions, states, strict=True)
                    ]
                    traces = engines.run(looks, device)
                    for question, state, look, trace in zip(questions, states, looks, traces, strict=True):
                        yield Traced(some, window, training, question, state, trace, look)

    def wraps(self, window: int) -> Wraps:
        """Which windows of this side wrap round the edges; a window that does not ends there."""
        return Wraps(x=False, training=False)

    def _check_room(self, questions: Sequence[Question], batch: int) -> None:
        # A log-weight and a position, sorted once.
        queries = (1 if question.pixels is None else len(question.pixels) for question in questions)
        needed = 32 * batch * sum(each * question.keys for each, question in zip(queries, questions, strict=True))
        if needed > self.memory:
            raise ValueError(
                f"top=None keeps every weight, here {needed} bytes of {self.memory}: give a number, or fewer images"
            )

    def _centred(self, x: Tensor) -> Tensor:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(self.store.pixels.device, dtype) - self.store.offset

    def _parts(self, sigma: Tensor, label: Tensor | None) -> Iterator[tuple[Tensor, int, int | None]]:
        """Images of the batch that look through the same window at the same classes."""
        parts: dict[tuple[int, int | None], list[int]] = {}
        labels = [None] * len(sigma) if label is None else label.tolist()
        for index, (level, chosen) in enumerate(zip(sigma.tolist(), labels, strict=True)):
            parts.setdefault((self._window_at(level), chosen), []).append(index)
        for (window, chosen), members in parts.items():
            yield torch.tensor(members, device=sigma.device, dtype=torch.int64), window, chosen

    def _images_at_once(self, image: Tensor, window: int, top: int = 0, training: int = 0) -> int:
        # Queries in float64 twice over, and the states of the pieces that wait to be merged.
        a_pixel = 16 * (image.shape[0] * min(window, 2 * max(image.shape[1:])) ** 2 + 64 * (image.shape[0] + 2 + top))
        return max(1, self.memory // 4 // (a_pixel * image[0].numel() + 8 * 64 * training))

    def _class_store(self, label: int | None) -> PixelStore:
        if label is None:
            return self.store
        return self._cache.get(("class", label), lambda: self._select(label), store_bytes)

    def _select(self, label: int) -> PixelStore:
        chosen = self._chosen(label)
        if not len(chosen):
            raise ValueError(f"label {label} has no training image")
        return self.store.take(chosen)

    def _chosen(self, label: int | None) -> Tensor:
        """Which training images are of a class, all for None, int64."""
        if label is None:
            return torch.arange(len(self), device=self.store.pixels.device)
        assert self.labels is not None
        return (self.labels == label).nonzero().flatten().to(self.store.pixels.device)

    def _run(self, questions: Sequence[Question]) -> list[SoftmaxState]:
        weighed = [question.job for question in questions if not isinstance(question.job, SearchedKeys)]
        states = iter(engines.run(weighed, self.store.pixels.device))
        return [
            question.job.search() if isinstance(question.job, SearchedKeys) else next(states) for question in questions
        ]

    @abstractmethod
    def _window_at(self, sigma: float) -> int:
        """Window side at a noise level."""

    def _mean(self, x: Tensor, sigma: Tensor, window: int, label: int | None) -> tuple[Tensor, Tensor]:
        """Posterior mean of centred images (B, C, H, W), all through one window and of one class, and its error."""
        out, error = x.new_empty(x.shape), x.new_zeros(x[:, 0].shape)
        for questions in self._questions(x, sigma, window, label, traced=False):
            for question, state in zip(questions, self._run(questions), strict=True):
                question.answer(state, out, error)
        return out, error

    @abstractmethod
    def _questions(
        self, x: Tensor, sigma: Tensor, window: int, label: int | None, *, traced: bool
    ) -> Iterable[list[Question]]:
        """What centred images (B, C, H, W) ask of which keys: together the questions cover every pixel once.

        They come in groups, so that not all queries need to be in memory at the same time.

        Args:
            traced: whether it will be asked where the weights went, so that equal windows must be known.
        """


class WindowedMachine(SoftmaxMachine):
    """A softmax machine that looks through windows.

    Every pixel of a window counts alike in |q - k|^2. In a tapered one a pixel d rows and e columns from the centre
    counts (1 - |d| / h) (1 - |e| / h) times, the side being 2 h - 1: the posterior mean if noise grew in this way with
    the distance. A network of small convolutions sees so, the near more than the far: what is farther away reaches its
    output on fewer paths (Luo et al. 2016, "Understanding the effective receptive field").

    Args:
        window: odd side in pixels, or a LocalitySchedule that gives one for each noise level; None for the windows
            published for CIFAR-10 (`machines.locality.published_locality`), as the command line has them.
        taper: whether windows are tapered; by default what the LocalitySchedule says, else not. Tapered windows are
            always weighed one by one, whatever the engine.

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

    def _slides(self, x: Tensor, label: int | None) -> bool:
        """Whether windows are weighed shift by shift."""
        return x.dtype == torch.float32 and compiled(self._class_store(label))

    def _window_at(self, sigma: float) -> int:
        return self.window if isinstance(self.window, int) else self.window(sigma)


class _Cache:
    """Things that are worth keeping between calls, the least recently used dropped first beyond a number of bytes.

    Threads may share it. Two that ask for the same thing at once may both make it; one is kept. Copies begin empty, and
    so does what another process receives: indexes have more tensors than a process can be sent file descriptors.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.things: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        # Held for moments only, never while something is made: a process may be forked by another thread then.
        self._lock = RLock()

    def __reduce__(self) -> tuple[type[_Cache], tuple[int]]:
        return _Cache, (self.limit,)

    def get(self, key: Any, make: Callable[[], Made], size: Callable[[Made], int]) -> Made:
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


def _check_engine(engine: Engine, device: torch.device) -> Engine:
    check_choice("engine", engine, ENGINES)
    if engine == "fast" and device.type != "cpu":
        raise ValueError(f"the fast engine runs on processors, got device {device}: use engine='exact'")
    return engine


def store_bytes(store: PixelStore) -> int:
    return store.pixels.numel() * store.pixels.element_size()


def _pixels(data: Data) -> tuple[Tensor, Tensor | None]:
    if isinstance(data, ImageSet):
        return data.images, data.labels
    floats = check_images(data, "data")
    check_constant(floats, "data", "a machine")
    if floats.shape[1] not in (1, 3):
        raise ValueError(f"data must have 1 or 3 channels, got {floats.shape[1]}")
    if float(floats.abs().max()) > 1.01:
        low, high = float(floats.min()), float(floats.max())
        raise ValueError(f"data must lie in [-1, 1], got {low:.3g} to {high:.3g}: scale it, as in x / 127.5 - 1")
    # Adding zero turns -0.0 into 0.0: equal windows then have equal bits.
    return (floats if floats.dtype == torch.float64 else floats.float()) + 0.0, None
