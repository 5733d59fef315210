"""Whatever a kept index holds, with a right hash: it is refused, or it can be searched."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from elsewhere.engine import Index, WindowKeys
from elsewhere.engine.search import cache, validation
from elsewhere.engine.search.settings import INDEX
from tests.engine.engine_toys import asked, levels, real, search

Change = Callable[[Tensor], Tensor]


def with_first(value: float) -> Change:
    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


def with_last(value: float) -> Change:
    return lambda tensor: with_first(value)(tensor.flatten().flip(0)).flip(0).view(tensor.shape)


def twice(tensor: Tensor) -> Tensor:
    return with_last(float(tensor.view(-1)[0]))(tensor)


# Another dtype, shape, or a number that is not finite: nothing that the loops could read.
FORMS: dict[str, Change] = {
    **{
        f"as {dtype}": lambda tensor, dtype=dtype: tensor.to(dtype) if tensor.dtype != dtype else tensor.to(torch.int8)
        for dtype in (torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64, torch.bool)
    },
    "empty": lambda tensor: tensor.flatten()[:0],
    "one number": lambda tensor: tensor.flatten()[:1].view(1, 1, 1, 1),
    "a row less": lambda tensor: tensor[:-1],
    "a row more": lambda tensor: torch.cat([tensor, tensor[-1:]]),
    "a column less": lambda tensor: tensor[..., :-1],
    "an axis more": lambda tensor: tensor[None],
}
NUMBERS: dict[str, Change] = {
    "not a number": with_last(torch.nan),
    "infinite": with_first(torch.inf),
    "huge": with_last(3e38),
}
# Positions and edges: of these every change is found.
ORDER: dict[str, Change] = {
    "negative": with_first(-1),
    "far beyond": with_last(2**30),
    "twice": twice,
    "all alike": lambda tensor: torch.full_like(tensor, 1),
    "falling": lambda tensor: tensor.flip(0),
}
# What only somebody could know who builds the index again.
PLAUSIBLE: dict[str, Change] = {
    "zero": torch.zeros_like,
    "negative": lambda tensor: -tensor,
    "reversed": lambda tensor: tensor.flip(0),
    "at the limit": lambda tensor: torch.full_like(tensor, 1500.0),
    "tiny": lambda tensor: tensor * 1e-30,
}


@pytest.fixture(scope="module")
def kept() -> tuple[WindowKeys, Index]:
    return real("fashion-mini", 40, 5)


def read(folder: Path, keys: WindowKeys, held: dict[str, Tensor]) -> Index | None:
    held = {name: tensor.contiguous() for name, tensor in held.items()}
    path = folder / "index.safetensors"
    save_file(held, path, {"what": "this", "hash": cache._hash(held, "this")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cache._read(path, "this", keys)


def changed(index: Index, name: str, change: Change) -> dict[str, Tensor]:
    held = {name: tensor.clone() for name, tensor in index.tensors().items()}
    held[name] = change(held[name])
    return held


def changes(index: Index) -> Iterator[tuple[str, str, Change]]:
    """Every change that must be found."""
    for name, tensor in index.tensors().items():
        kinds = FORMS | (NUMBERS if tensor.is_floating_point() else ORDER)
        for kind, change in kinds.items():
            if name == "kept" and kind == "falling":
                continue  # The order of keys within a cell says nothing.
            if name in ("regular", "block") and kind in ("twice", "all alike", "falling"):
                continue  # A single number.
            yield name, kind, change


def test_what_the_index_itself_holds_is_sound(kept: tuple[WindowKeys, Index]) -> None:
    for keys, index in (kept, real("pixel-faces", 21, 3), real("fashion-mini", 40, 5, floats=True)):
        assert validation.fault(index.tensors(), keys) is None


def test_every_other_form_is_refused(tmp_path: Path, kept: tuple[WindowKeys, Index]) -> None:
    keys, index = kept
    taken = [
        f"{name}: {kind}"
        for name, kind, change in changes(index)
        if read(tmp_path, keys, changed(index, name, change)) is not None
    ]
    assert taken == []


@pytest.mark.parametrize("kind", PLAUSIBLE)
def test_other_numbers_are_refused_or_answered_with(tmp_path: Path, kept: tuple[WindowKeys, Index], kind: str) -> None:
    keys, index = kept
    sigma = levels(0.01, 0.3, 30.0)
    queries = asked(keys, sigma)
    for name, tensor in index.tensors().items():
        if not tensor.is_floating_point():
            continue
        found = read(tmp_path, keys, changed(index, name, PLAUSIBLE[kind]))
        if found is not None:
            mean = search(found, queries, sigma).mean()
            assert bool(torch.isfinite(mean).all()), name


@pytest.mark.parametrize("name", validation.TENSORS)
def test_a_tensor_that_is_missing_is_noticed(kept: tuple[WindowKeys, Index], name: str) -> None:
    keys, index = kept
    held = index.tensors()
    assert held.keys() == validation.TENSORS.keys()
    del held[name]
    assert validation.fault(held, keys) is not None


def test_a_tensor_too_many_is_noticed(kept: tuple[WindowKeys, Index]) -> None:
    keys, index = kept
    assert validation.fault(index.tensors() | {"more": torch.zeros(1)}, keys) is not None


def test_blocks_of_another_size_are_noticed(kept: tuple[WindowKeys, Index]) -> None:
    keys, index = kept
    starts, bounds = index.starts.clone(), index.bounds
    # A group of three blocks or more, and the edge between its first two.
    group = int((bounds.diff() > 2 * INDEX.cells_a_block).nonzero()[0])
    starts[int(bounds[group]) + INDEX.cells_a_block] += 1
    assert validation.fault(index.tensors() | {"starts": starts}, keys) == "blocks of a group differ in size"
