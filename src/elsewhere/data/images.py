"""The image store: uint8 images with optional labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_dense, check_type, check_whole, checked, seen
from elsewhere.data.pixels import DARKEST
from elsewhere.data.request import BEYOND
from elsewhere.display import Pictures
from elsewhere.layout import plain
from elsewhere.limits import MOST_CLASSES
from elsewhere.phrases import count, part_of
from elsewhere.pixel_values import RANGE_KEY
from elsewhere.pixel_values import to_uint8 as to_uint8
from elsewhere.pixel_values import to_unit as to_unit

CONVERT = "load_images(array) takes bool, uint8 and floats in all usual layouts"


@dataclass(frozen=True)
class ImageSet(Pictures):
    """A set of images of one size, as they came from disk.

    Images and labels are also taken from NumPy arrays, which are copied. For images of other dtypes or layouts use
    `load_images`, which takes arrays and tensors as well.

    A set is read like a list: `len(data)`, `data[3]` is a set of one image, `data[:100]` the set of the first hundred,
    `data[data.labels == 2]` that of a class, and a loop goes through sets of one image each. Notebooks show its
    pictures; `grid`, `show`, `save`, `pil` and `numpy` are explained at `display.Pictures`.

    Attributes:
        images: uint8 (N, C, H, W), C = 1 (gray) or 3 (colour), 0 is black and 255 white.
        labels: int64 (N,), below 1,000,000, or None when the set has no classes.
        name: what reports call the set.
        classes: names of the classes, indexed by label, for every label; empty when unknown.
        captions: words for each image, N strings, "" for an image without; or None. Machines and most networks do not
            read them, so `fingerprint` does not depend on them.
        left_out: what `load_images` did not take from the source: kind to number, for example
            {"dangling links": 3, ".txt files": 2}; empty where it took everything.

    Raises:
        TypeError: images are not uint8 or labels are not integers.
        ValueError: wrong number of axes, no images, labels that do not match the images, or fewer names
            than classes; captions that are not one for each image.

    Example:
        >>> import numpy as np
        >>> data = ImageSet(np.zeros((2, 1, 8, 8), np.uint8), labels=np.array([0, 1]))
        >>> len(data), data.num_classes, data[1].labels.tolist()
        (2, 2, [1])
    """

    images: Tensor
    labels: Tensor | None = None
    name: str = "images"
    classes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)
    captions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            value = getattr(self, name)
            if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
                check_dense(name, value)
                object.__setattr__(self, name, plain(value.copy()))
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8:
            raise TypeError(
                f"images must be a uint8 tensor, got {getattr(self.images, 'dtype', seen(self.images))}: {CONVERT}"
            )
        check_dense("images", self.images)
        check_type("name", self.name, str)
        check_type("classes", self.classes, Sequence[str])
        object.__setattr__(self, "classes", tuple(self.classes))
        check_type("left_out", self.left_out, Mapping[str, int])
        if self.images.ndim != 4 or 0 in self.images.shape:
            raise ValueError(
                f"images must be (N, C, H, W) with no empty axis, got {tuple(self.images.shape)}: {CONVERT}"
            )
        if self.images.shape[1] not in (1, 3):
            raise ValueError(f"images must have 1 or 3 channels, got {self.images.shape[1]} at axis 1: {CONVERT}")
        object.__setattr__(self, "images", plain(self.images))
        if self.captions is not None:
            check_type("captions", self.captions, Sequence[str])
            object.__setattr__(self, "captions", tuple(self.captions))
            if len(self.captions) != len(self.images):
                raise ValueError(
                    f"captions must be {len(self.images)}, one for each image, got {len(self.captions)}: "
                    'give "" for an image without'
                )
        if self.labels is None:
            return
        if not isinstance(self.labels, Tensor):
            raise TypeError(
                f"labels must be an integer tensor, got {seen(self.labels)}: "
                "give class numbers 0, 1, 2, ..., as in torch.tensor(numbers)"
            )
        check_dense("labels", self.labels)
        if self.labels.dtype.is_floating_point or self.labels.dtype.is_complex or self.labels.dtype == torch.bool:
            raise TypeError(f"labels must be integers, got {self.labels.dtype}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be ({len(self.images)},), one for each image, got {tuple(self.labels.shape)}"
            )
        numbers = self.labels.cpu().numpy()  # torch cannot compare all unsigned types
        check_labels(int(numbers.min()), int(numbers.max()), "labels")
        object.__setattr__(self, "labels", plain(self.labels.to(torch.int64)))
        if self.classes and int(numbers.max()) >= len(self.classes):
            raise ValueError(
                f"classes must name every label, got {len(self.classes)} names and the label {int(numbers.max())}: "
                "give a name for each, or none"
            )

    def __repr__(self) -> str:
        colours, (_, height, width) = "gray" if self.shape[0] == 1 else "colour", self.shape
        classes = f", {count(self.num_classes, 'class', 'classes')}" if self.num_classes else ""
        return f"ImageSet({self.name!r}, {self.amount} of {height}x{width} {colours} pixels{classes})"

    def _repr_html_(self) -> str | None:
        present = [] if self.labels is None or not self.classes else sorted(set(self.labels.tolist()))
        shown = [listed_short([self.classes[label] for label in present])] if present else []
        return self._card(self.name, [self.amount, f"{self.shape[1]}x{self.shape[2]} pixels", *shown])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | Tensor | np.ndarray) -> ImageSet:
        """The set of some of the images.

        Args:
            index: the number of an image (negative: from the end), a slice, numbers of images, or for each image
                whether to take it, bool (N,).

        Raises:
            TypeError: an index of another kind.
            IndexError: no image of this number.
            ValueError: a bool index of another length, or no image selected.
        """
        chosen, text = choose(index, len(self))
        if not len(chosen):
            raise ValueError(f"the index selects no image of the {len(self)} of {self.name}, got {seen(index)}")
        if isinstance(index, slice) and index.step in (None, 1) and int(chosen[0]) == 0:
            return self.take(len(chosen))
        return replace(self.rows(chosen), name=f"{self.name}[{text}]", left_out={})

    def __iter__(self) -> Iterator[ImageSet]:
        return (self[number] for number in range(len(self)))

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def rows(self, chosen: Tensor) -> ImageSet:
        """The images of these numbers, int64 (n,), or where a bool (N,) is true, with all that belongs to them.

        Unlike indexing, this keeps the name of the set and what it left out.
        """
        labels = None if self.labels is None else self.labels[chosen.to(self.labels.device)]
        captions = self.captions
        if captions is not None:
            numbers = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
            captions = tuple(captions[number] for number in numbers.tolist())
        return replace(self, images=self.images[chosen.to(self.images.device)], labels=labels, captions=captions)

    @checked
    def to(self, device: str | torch.device) -> ImageSet:
        """The same set on another device, such as "cuda"; machines made of it compute there.

        Raises:
            TypeError: not a device.
            ValueError: no such device here; the message lists those that are.
        """
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)

    def _number(self) -> int:
        return len(self)

    def _floats(self, number: int) -> Tensor:
        return to_unit(self.images[:number].cpu())

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"images": self.images.cpu().numpy()}
        if int(self.images.max()) <= DARKEST:
            # A set this dark is only read if the file states its range.
            arrays[RANGE_KEY] = np.array([0.0, 255.0])
        if self.labels is not None:
            arrays["labels"] = self.labels.cpu().numpy()
        if self.classes:
            arrays["classes"] = np.array(self.classes, np.str_)
        if self.captions is not None:
            arrays["captions"] = np.array(self.captions, np.str_)
        return arrays

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def total(self) -> int:
        """How many images the source has, of which these are the first."""
        return len(self) + self.left_out.get(BEYOND, 0)

    @property
    def is_part(self) -> bool:
        """Whether the source has more images than these."""
        return self.total > len(self)

    @property
    def amount(self) -> str:
        """How many images, in words: "4000 images", or "only the first 100 of 4000 images"."""
        return part_of(len(self), self.total, "image")

    @property
    def num_classes(self) -> int:
        """Number of classes, with or without images here: of names, or highest label + 1; 0 without labels."""
        return 0 if self.labels is None else max(len(self.classes), int(self.labels.max()) + 1)

    @checked
    def scaled(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All images as floats in [-1, 1], (N, C, H, W).

        Raises:
            TypeError: not a floating dtype.
        """
        return to_unit(self.images, dtype)

    def take(self, limit: int | None) -> ImageSet:
        """The first `limit` images (all when None).

        Raises:
            TypeError, ValueError: not a number of images, or more than there are.
        """
        if limit is None:
            return self
        limit = check_whole("limit", limit)
        if limit == len(self):
            return self
        if limit < 1 or limit > len(self):
            raise ValueError(f"limit must be between 1 and {len(self)}, the size of {self.name}, got {limit}")
        labels = None if self.labels is None else self.labels[:limit]
        captions = None if self.captions is None else self.captions[:limit]
        left_out = {**self.left_out, BEYOND: self.total - limit}
        return replace(self, images=self.images[:limit], labels=labels, captions=captions, left_out=left_out)

    def fingerprint(self) -> str:
        """SHA-256 of pixels, shape and labels: two sets with the same fingerprint train the same network.

        Captions are not part of it: they do not change what a machine computes.
        """
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.cpu().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.to(torch.int64).cpu().numpy().tobytes())
        return digest.hexdigest()


def choose(index: object, count: int) -> tuple[Tensor, str]:
    """Numbers of the images that an index selects, int64 (n,), and the index in a few words.

    Args:
        index: see `ImageSet.__getitem__`.
        count: how many images there are.

    Raises:
        TypeError, IndexError, ValueError: see `ImageSet.__getitem__`.
    """
    kinds = "a number, a slice, numbers, or whether to take each"
    if isinstance(index, slice):
        try:
            chosen = range(count)[index]
        except (TypeError, ValueError) as error:
            raise type(error)(f"the slice of a set must be of whole numbers, got {seen(index)}") from None
        text = ":".join("" if end is None else str(end) for end in (index.start, index.stop))
        text += "" if index.step is None else f":{index.step}"
        return torch.tensor(chosen, dtype=torch.int64, device="cpu"), text
    if isinstance(index, str | bytes) or index is None:
        raise TypeError(f"the index of a set must be {kinds}, got {seen(index)}")
    try:
        given = plain(index) if isinstance(index, np.ndarray) else torch.as_tensor(index, device="cpu")
        given = given.detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"the index of a set must be {kinds}, got {seen(index)}") from error
    if given.numel() and (given.dtype.is_floating_point or given.dtype.is_complex or given.ndim > 1):
        raise TypeError(f"the index of a set must be {kinds}, got {seen(index)}")
    if given.dtype == torch.bool:
        if given.shape != (count,):
            raise ValueError(f"a bool index must have one value for each of the {count} images, got {seen(index)}")
        given = given.nonzero()[:, 0]
        return given, f"{len(given)} of {count}"
    given = given.to(torch.int64)
    for number in given.flatten().tolist():
        if not -count <= number < count:
            raise IndexError(f"image {number} is not among {count}: numbers go from 0 to {count - 1}")
    text = str(given.item()) if given.ndim == 0 else f"{len(given)} of {count}"
    return given.flatten() % count, text


def listed_short(names: Sequence[str], most: int = 10) -> str:
    """The first names with commas, and how many more there are.

    Example:
        >>> listed_short(["trouser", "coat", "bag"], 2)
        'trouser, coat and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def check_labels(low: int, high: int, name: str) -> None:
    """Refuse labels that cannot be numbers of classes.

    Args:
        low, high: the lowest and the highest.
        name: what the message calls them.

    Raises:
        ValueError: below 0, or 1,000,000 and more: tables of classes have one row for each number.
    """
    if low < 0:
        raise ValueError(f"{name} must be 0 or more, got {low}: number the classes from 0")
    if high >= MOST_CLASSES:
        raise ValueError(f"{name} must be less than {MOST_CLASSES}, got {high}: number the classes 0, 1, 2, ...")
