"""Names that say which split of a dataset something is: train, Testing, val2017, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDS = {
    "train": "train training trn",
    "test": "test testing tst pred predict prediction inference",
    "val": "val valid validation validate dev devel development eval evaluation holdout",
    "unlabeled": "unlabeled unlabelled",
}
KIND = {word: kind for kind, words in WORDS.items() for word in words.split()}
FILLERS = frozenset(["set", "data", "dataset", "split", "part", "image", "images", "img", "imgs", "pictures", "photos"])


def kind_of(name: str) -> str | None:
    """The kind of split that any word of a name says ("train", "test", "val", "unlabeled"), or None."""
    return next((KIND[word] for word in _words(name) if word in KIND), None)


def is_plain(name: str) -> bool:
    """Whether a name says its split and nothing else: `Train`, `test_set`, `val2017`, but not `bullet train`."""
    words = [word for word in _words(name) if word not in FILLERS and len(word) > 1]
    return len(words) == 1 and words[0] in KIND


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
    same = [name for name in names if kind_of(name) == split]
    if len(same) == 1:
        return same[0]
    problem = f"several splits of the kind {split!r}" if same else f"no split {split!r}"
    raise ValueError(
        f"{source} has {problem}: give split= one of {', '.join(names)} "
        "(in the command line: elsewhere data --split NAME --save images.npz)"
    )


def of_split(name: str) -> str:
    """The kind of what was left out (`ImageSet.left_out`) of a split that was not asked for."""
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
