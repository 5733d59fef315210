"""Names of files and folders that denote splits (train, Testing, val2017, ...) or annotations (masks, labels, ...)."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDS = {
    "train": "train training trn",
    "test": "test testing tst pred predict prediction inference query gallery",
    "val": "val valid validation validate vld dev devel development eval evaluation holdout",
    "unlabeled": "unlabeled unlabelled",
}
KIND = {word: kind for kind, words in WORDS.items() for word in words.split()}
PICTURES = frozenset(["image", "images", "img", "imgs", "jpegimages", "input", "inputs", "photos", "pictures"])
MASKS = frozenset(["mask", "masks", "seg", "segmentation", "segmentations", "segmentationclass", "segmentationobject"])
LABELS = frozenset(["label", "labels", "annotation", "annotations", "gt", "groundtruth", "target", "targets", "depth"])
ANNOTATIONS = MASKS | LABELS
FILLERS = frozenset(["set", "data", "dataset", "split", "part", "image", "images", "img", "imgs", "pictures", "photos"])


def kind_of(name: str) -> str | None:
    """The kind of split that any word of a name says ("train", "test", "val", "unlabeled"), or None."""
    return next((KIND[word] for word in _words(name) if word in KIND), None)


def is_plain(name: str) -> bool:
    """Whether a name says its split and nothing else: `Train`, `test_set`, `val2017`, but not `bullet train`."""
    words = [word for word in _words(name) if word not in FILLERS and len(word) > 1]
    return len(words) == 1 and words[0] in KIND


def annotations_among(names: Sequence[str]) -> list[str]:
    """Which of the names of folders side by side are those of masks or labels for the images in another of them.

    For example `masks` beside `images`. None where no name is that of a folder of images: then they may be classes.
    """
    words = {name: set(_words(name)) for name in names}
    if not any(found & PICTURES for found in words.values()):
        return []
    return [name for name, found in words.items() if found & ANNOTATIONS and not found & PICTURES]


def annotated(names: Sequence[str]) -> tuple[str, str] | None:
    """A picture and its annotation among the names of files side by side, without suffixes: a, a_mask; or None."""
    known = set(names)
    for name in names:
        parts = re.fullmatch(r"(.+?)[-_. ](\w+)", name)
        if parts and parts[2].lower() in ANNOTATIONS and parts[1] in known:
            return parts[1], name
    return None


def several(names: Sequence[str]) -> bool:
    """Whether names of things side by side are those of two or more kinds of splits."""
    return len({kind for kind in map(kind_of, names) if kind is not None}) > 1


def choose_split(names: Sequence[str], split: str, source: str) -> str:
    """The name that is the split asked for, or else the only one of that kind.

    Raises:
        ValueError: none, or several.
    """
    if split in names:
        return split
    same = [name for name in names if name.lower() == split.lower()]
    same = same or [name for name in names if kind_of(name) == KIND.get(split.lower(), split)]
    if len(same) == 1:
        return same[0]
    problem = f"several splits of the kind {split!r}" if same else f"no split {split!r}"
    raise ValueError(
        f"{source} has {problem}: give split= one of {', '.join(names)} "
        "(in the command line: elsewhere data --split NAME --save images.npz)"
    )


def of_split(name: str) -> str:
    """The key in `ImageSet.left_out` of a split that was not asked for."""
    return f"images of the split {name!r}"


def _words(name: str) -> list[str]:
    # Digits, punctuation and a capital after a small letter end a word: val2017, train_set, trainA, TestSet.
    name = re.sub(r"(?i)hold[-_ ]out", "holdout", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    parts = re.findall(r"[^\W\d_]+", name)
    return [word for part in parts for word in _unglued(part.lower())]


def _unglued(word: str) -> tuple[str, ...]:
    """A word of two: trainset, testdata."""
    for filler in FILLERS:
        if word.removesuffix(filler) in KIND:
            return word.removesuffix(filler), filler
    return (word,)
