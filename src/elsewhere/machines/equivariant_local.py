"""The equivariant local score machine: each pixel sees a window and does not know where it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from elsewhere.checks import check_whole, checked
from elsewhere.engine import (
    Average,
    Frame,
    Index,
    Line,
    PixelStore,
    SearchedKeys,
    SharedKeys,
    Shifts,
    WindowKeys,
    meeting,
)
from elsewhere.engine.exact import MOST_PIECES
from elsewhere.engine.jobs import COARSE
from elsewhere.machines.base import Data, Question, Window, WindowedMachine, store_bytes
from elsewhere.machines.borders import BorderClass, Wraps, border_classes, interior, wrap
from elsewhere.machines.local import same_place
from elsewhere.progress import track

Borders = Literal["aware", "wrap", "torus"]
# Windows of up to so many numbers are weighed one by one as fast as shift by shift: measured.
LITTLE = 49


@dataclass(frozen=True)
class Prepared:
    """An index that `prepare` has built or read.

    Attributes:
        window: side of the window that it is for.
        label: class that it is for, None for all images.
        windows: training windows in it.
        keys: of these, windows that differ.
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
class Asked:
    """A rectangle of x, and the places of the training images whose windows it asks.

    Attributes:
        rows, columns: of x.
        keys: the places.
        alone: whether it is a single pixel that asks its own place.
    """

    rows: range
    columns: range
    keys: BorderClass
    alone: bool = False

    def within(self, band: range) -> Asked:
        """What some rows of x have of it, perhaps nothing."""
        return replace(self, rows=range(max(self.rows.start, band.start), min(self.rows.stop, band.stop)))


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
        approximate = [f"engine='fast', tolerance={self.tolerance:g}"] if self._may_search else []
        return self._describe(*self._window_settings(), f"borders={self.borders!r}", *approximate)

    def _questions(
        self, x: Tensor, sigma: Tensor, window: int, label: int | None, *, traced: bool
    ) -> Iterator[list[Question]]:
        asked, margin = self._asked(x, window)
        padded = wrap(x, margin)
        searched = [part for part in asked if self._searched(part.keys, label)]
        # Of the edges alone a shift brings few windows together, and sums over corners are long for a few pixels.
        single = bool(searched) and self.tolerance >= COARSE and self.channels * window**2 <= LITTLE
        if self._slides(x, label) and not single:
            slid = [part for part in asked if part not in searched]
            if slid:
                asked = searched
                counts = self._log_counts(slid, label) if traced else None
                yield from self._slid(padded, sigma, window, label, slid, margin, counts)
        flat = torch.arange(x[0, 0].numel(), device=x.device).view(x.shape[2:])
        for group in self._groups([part for part in asked if single or not part.alone], len(x)):
            questions = []
            for part in group:
                inside = (range(r.start + margin, r.stop + margin) for r in (part.rows, part.columns))
                queries = part.keys.extent.windows(padded, *inside)[1]
                pixels = flat[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop].flatten()
                job = self._job(queries, sigma, window, part.keys, label)
                questions.append(Question(job, pixels, self._padding(part.keys)))
            yield questions
        alone = [part.rows.start * x.shape[3] + part.columns.start for part in asked if part.alone and not single]
        if alone:
            yield [
                same_place(self, x, sigma, window, label, torch.tensor(pixels, device=x.device, dtype=torch.int64))
                for pixels in _corners(alone, x.shape[2], x.shape[3], window // 2)
            ]

    def _slid(
        self,
        padded: Tensor,
        sigma: Tensor,
        window: int,
        label: int | None,
        asked: list[Asked],
        margin: int,
        log_counts: Tensor | None,
    ) -> Iterator[list[Question]]:
        """What is weighed shift by shift, in bands of rows whose states need a quarter of the memory at most."""
        store = self._key_store(asked[0].keys, label)
        batch, channels, height, width = padded.shape
        radius = window // 2
        a_pixel = (channels + 2) * (8 * MOST_PIECES * batch + 64 * torch.get_num_threads())
        # Queries that reach beyond an edge go on at the opposite one.
        around = self._around(padded, sigma, store, window, asked[0], self.memory // 4 // a_pixel) if margin else None
        if around is not None:
            yield [
                Question(
                    around, torch.arange(around.count // batch, device="cpu"), self._padding(asked[0].keys), log_counts
                )
            ]
            return
        most = max(1, self.memory // 4 // (a_pixel * width))
        for top in range(0, height - 2 * margin, most):
            band = range(top, min(top + most, height - 2 * margin))
            # What the windows of the band see of x, and where that begins.
            low, high = max(0, band.start + margin - radius), min(height, band.stop + margin + radius)
            parts = [part for part in (one.within(band) for one in asked) if part.rows]
            here = torch.zeros(len(band), width - 2 * margin, dtype=torch.bool, device="cpu")
            for part in parts:
                here[part.rows.start - top : part.rows.stop - top, part.columns.start : part.columns.stop] = True
            row, column = here.nonzero().unbind(1)
            inside = (row + top + margin - low) * width + column + margin
            frames = _frames(parts, margin - low, margin)
            job = Shifts(padded[:, :, low:high], sigma, store, window, frames, inside, taper=self.taper)
            pixels = (row + top) * (width - 2 * margin) + column
            yield [Question(job, pixels, self._padding(asked[0].keys), log_counts)]

    def _around(
        self, padded: Tensor, sigma: Tensor, store: PixelStore, window: int, asked: Asked, most: int
    ) -> Shifts | None:
        """The job of all pixels of images that turn round, whose shifts meet all places of the training images.

        Without turning round, shifts near the edges meet few, and each has sums to begin with. None where a place would
        be met twice, and where more pixels than `most` were to be held.
        """
        margin = window // 2
        period = len(asked.rows), len(asked.columns)
        met = [len(asked.keys.rows), len(asked.keys.columns)]
        sides = [side + more - 1 for side, more in zip(padded.shape[2:], met, strict=True)]
        if any(more > side for more, side in zip(met, period, strict=True)) or math.prod(sides) > most:
            return None
        for axis, (side, turn) in enumerate(zip(sides, period, strict=True), 2):
            index = torch.arange(side, device="cpu")
            padded = padded.index_select(axis, index.where(index < turn + 2 * margin, index - turn))
        lines = [
            [Line(margin - places.start + shift, places.start, places.stop) for shift in range(turn)]
            for places, turn in zip((asked.keys.rows, asked.keys.columns), period, strict=True)
        ]
        row, column = (torch.arange(margin, margin + turn, device="cpu") for turn in period)
        inside = (row[:, None] * sides[1] + column).flatten()
        return Shifts(padded, sigma, store, window, [Frame(*lines)], inside, period, self.taper)

    def _log_counts(self, asked: list[Asked], label: int | None) -> Tensor | None:
        """How many equal windows the one at each place of the training images stands for: see `ShiftsTracing`."""
        shared = [part.keys for part in asked if self._merges(part.keys, label)]
        if not shared:
            return None
        # What is no edge is the interior, of which there is one.
        places = shared[0]

        def make() -> Tensor | None:
            keys = self._window_keys(places, label, True, 0)
            if keys.kept is None or keys.log_counts is None:
                return None
            store = self._key_store(places, label)
            counts = torch.zeros(len(store), *store.pixels.shape[2:], dtype=torch.float32, device="cpu")
            inside = torch.full((len(store), *keys.grid), -torch.inf, dtype=torch.float32, device="cpu")
            inside.view(-1)[keys.kept.long()] = keys.log_counts.float()
            counts[:, places.rows.start : places.rows.stop, places.columns.start : places.columns.stop] = inside
            return counts

        return self._cache.get(_name("counts", places, label), make, lambda made: 0 if made is None else made.nbytes)

    def wraps(self, window: int) -> Wraps:
        torus = self.borders == "torus"
        # Wrapping without an interior place, the machine is the local one: see `_asked`.
        return Wraps(torus or (self.borders == "wrap" and self._key_places(window) is not None), torus)

    def _asked(self, x: Tensor, window: int) -> tuple[list[Asked], int]:
        """Which rectangles of x ask the windows at which places of the training images.

        Returns:
            The rectangles, and by how much x must be wrapped on every side for queries to lie inside it.
        """
        height, width = x.shape[2:]
        if self.borders != "aware":
            places = self._key_places(window)
            if places is not None:
                return [Asked(range(height), range(width), places)], window // 2
            self._check_same_size(x, window)
            # Seen through a window as large as this, every place is alike with itself alone.
            everything = 2 * max(height, width) + 1
            return [Asked(own.rows, own.columns, own, True) for own in border_classes(height, width, everything)], 0
        known = {places.key: places for places in border_classes(*self.image_size, window)}
        asked = []
        for places in border_classes(height, width, window):
            if places.key not in known:
                self._check_same_size(x, window)
            alone = places.alone and (height, width) == self.image_size
            asked.append(Asked(places.rows, places.columns, known[places.key], alone))
        return asked, 0

    def _key_places(self, window: int) -> BorderClass | None:
        """Centres of the windows that queries which wrap round meet, in the images as `_key_store` gives them."""
        if self.borders == "wrap":
            return interior(*self.image_size, window)
        radius = window // 2
        rows, columns = (range(radius, radius + side) for side in self.image_size)
        return BorderClass(rows, columns, ((radius, radius), (radius, radius)))

    def _padding(self, places: BorderClass) -> int:
        """By how many pixels the images of `_key_store` are wrapped on every side."""
        return places.extent.top if self.borders == "torus" else 0

    def _key_store(self, places: BorderClass, label: int | None) -> PixelStore:
        store = self._class_store(label)
        if self.borders != "torus":
            return store
        radius = self._padding(places)
        return self._cache.get(
            ("torus", radius, label), lambda: replace(store, pixels=wrap(store.pixels, radius)), store_bytes
        )

    def _groups(self, asked: list[Asked], batch: int) -> Iterator[list[Asked]]:
        """Rectangles in groups whose queries and states need a quarter of the memory at most; large ones are cut."""
        group: list[Asked] = []
        free = self.memory // 4
        for part in asked:
            height, width = part.keys.extent.sides
            # As in `_images_at_once`: queries in float64 twice over, and the states that wait to be merged.
            a_pixel = 16 * batch * (self.channels * height * width + 64 * (self.channels + 2))
            most = max(1, self.memory // 4 // a_pixel)
            for rows, columns in _cut(part.rows, part.columns, most):
                cost = a_pixel * len(rows) * len(columns)
                if group and cost > free:
                    yield group
                    group, free = [], self.memory // 4
                group.append(Asked(rows, columns, part.keys))
                free -= cost
        if group:
            yield group

    def _check_same_size(self, x: Tensor, window: int) -> None:
        if tuple(x.shape[2:]) != self.image_size:
            raise ValueError(
                f"x is {x.shape[2]}x{x.shape[3]} pixels: through a window of {window} on training images of "
                f"{self.image_size[0]}x{self.image_size[1]} another size cannot be drawn; use a smaller window"
            )

    @checked
    def prepare(self, labels: Sequence[int | None] = (None,), *, progress: bool = False) -> list[Prepared]:
        """Build, or read from the cache, all that the fast engine needs, which else is done when it is first needed.

        Args:
            labels: the classes to be asked for, None for all images together.
            progress: show a bar with the time left.

        Returns:
            Every index; none where all windows are weighed one by one.

        Raises:
            TypeError, ValueError: labels that are none, a class without images.
        """
        classes = [label for label in labels if label is not None]
        if classes and not self.num_classes:
            raise ValueError(f"labels were given but {self!r} has no classes: leave labels out")
        for number in classes:
            check_whole("each of labels", number, 0, self.num_classes - 1)
        windows = {self.window} if isinstance(self.window, int) else set(self.window.windows)
        wanted = [
            (window, places, label)
            for label in labels
            for window in sorted(windows)
            for places in self._shared_places(window)
            if self._searched(places, label)
        ]
        made = []
        for window, places, label in track(wanted, len(wanted), "indexing", progress):
            start = perf_counter()
            index = self._built(places, label)
            seconds = perf_counter() - start
            made.append(Prepared(window, label, index.keys.places, len(index.keys), index.nbytes, seconds))
        return made

    def _searched(self, places: BorderClass, label: int | None) -> bool:
        height, width = places.extent.sides
        windows = len(self._class_store(label)) * len(places.rows) * len(places.columns)
        return self._searches(windows, self.channels * height * width)

    def _shared_places(self, window: int) -> list[BorderClass]:
        """Places of the training images whose windows are shared by many queries."""
        if self.borders == "aware":
            return [places for places in border_classes(*self.image_size, window) if not places.alone]
        places = self._key_places(window)
        return [] if places is None else [places]

    def _job(
        self, queries: Tensor, sigma: Tensor, window: int, places: BorderClass, label: int | None
    ) -> Average | SearchedKeys:
        """The job of query windows (B, rows, columns, C, h, w) against the windows at some places of every image."""
        each = queries.shape[1] * queries.shape[2]
        asked, levels = queries.reshape(len(queries) * each, -1), sigma.repeat_interleave(each)
        if self._searched(places, label):
            grid = queries.shape[1], queries.shape[2]
            return SearchedKeys(asked, levels, self._index(places, label), self.tolerance, self.memory, grid)
        tolerance = self.tolerance if self._may_search else 0.0
        keys = self._shared_keys(window, places, label)
        if keys.roots is not None:
            asked = asked * keys.roots.to(asked.dtype)
        return SharedKeys(asked, levels, keys, tolerance)

    def _shared_keys(self, window: int, places: BorderClass, label: int | None) -> WindowKeys:
        def make() -> WindowKeys:
            merge = self._merges(places, label)
            weights = places.extent.weights(window, self.channels).to(self.store.pixels.device) if self.taper else None
            return self._window_keys(places, label, merge, self.memory // (64 if _is_edge(places) else 4), weights)

        name = _name("keys", places, label)
        return self._cache.get((*name, window) if self.taper else name, make, lambda made: made.nbytes)

    def _merges(self, places: BorderClass, label: int | None) -> bool:
        """Whether equal windows are looked for."""
        # Edges are too few to merge, and so many that each may hold little; sorting takes some 40 bytes a window.
        count = len(self._class_store(label)) * len(places.rows) * len(places.columns)
        return not _is_edge(places) and 40 * count < self.memory // 2

    def _index(self, places: BorderClass, label: int | None) -> Index:
        def make() -> Index:
            index = self._built(places, label)
            wanted = index.nbytes + index.keys.nbytes_of_copies
            if wanted > self._cache.limit:
                return index
            # Reading is most of the work, and windows lie scattered over the images. What the copies take the place of
            # goes before they are made.
            self._cache.make_room(wanted)
            return index.copied()

        return self._cache.get(_name("copied", places, label), make, lambda made: made.nbytes)

    def _built(self, places: BorderClass, label: int | None) -> Index:
        def make() -> Index:
            return self._shelf(label).get(self._window_keys(places, label, False, 0), merge=True)

        return self._cache.get(_name("index", places, label), make, lambda made: made.nbytes)

    def _window_keys(
        self, places: BorderClass, label: int | None, merge: bool, hold: int, weights: Tensor | None = None
    ) -> WindowKeys:
        store = self._key_store(places, label)
        return WindowKeys(store, places.extent, places.rows, places.columns, merge=merge, hold=hold, weights=weights)


def _name(what: str, places: BorderClass, label: int | None) -> tuple[object, ...]:
    return what, places.rows, places.columns, places.key, label


def _is_edge(places: BorderClass) -> bool:
    return len(places.rows) == 1 or len(places.columns) == 1


def _frames(asked: list[Asked], down: int, right: int) -> list[Frame]:
    """Which rows and columns meet, x lying further down and right than the rectangles say."""
    of_rows: dict[tuple[range, range], list[tuple[range, range]]] = {}
    for part in asked:
        of_rows.setdefault((_moved(part.rows, down), part.keys.rows), []).append(
            (_moved(part.columns, right), part.keys.columns)
        )
    # Rows that meet the same columns go together.
    together: dict[tuple[tuple[range, range], ...], list[tuple[range, range]]] = {}
    for rows, columns in of_rows.items():
        together.setdefault(tuple(columns), []).append(rows)
    return [Frame(meeting(rows), meeting(columns)) for columns, rows in together.items()]


def _moved(places: range, by: int) -> range:
    return range(places.start + by, places.stop + by)


def _corners(alone: list[int], height: int, width: int, radius: int) -> list[list[int]]:
    """Flat positions by the corner of the image that they lie near; all together where that is less to look at."""
    corners: dict[tuple[bool, bool], list[int]] = {}
    for pixel in alone:
        corners.setdefault((pixel // width < height / 2, pixel % width < width / 2), []).append(pixel)
    seen = 0
    for pixels in corners.values():
        rows, columns = {pixel // width for pixel in pixels}, {pixel % width for pixel in pixels}
        seen += (max(rows) - min(rows) + 1 + radius) * (max(columns) - min(columns) + 1 + radius)
    return list(corners.values()) if seen < height * width else [alone]


def _cut(rows: range, columns: range, most: int) -> Iterator[tuple[range, range]]:
    """A rectangle cut into bands of whole rows, or, where one row is too long, into parts of rows."""
    down, across = max(1, most // len(columns)), min(most, len(columns))
    for top in range(rows.start, rows.stop, down):
        for left in range(columns.start, columns.stop, across):
            yield range(top, min(top + down, rows.stop)), range(left, min(left + across, columns.stop))
