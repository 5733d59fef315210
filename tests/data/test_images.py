from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.data import ImageSet, to_uint8, to_unit
from tests.data.toys import few, pixels, refused


def toy_set(labels: list[int] | None = None) -> ImageSet:
    numbers = None if labels is None else torch.tensor(labels)
    return ImageSet(torch.from_numpy(pixels(4, 3, 5, 6)), numbers, "toys", ("a", "b", "c"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_byte_survives_the_way_to_floats_and_back(dtype: torch.dtype) -> None:
    values = torch.arange(256, dtype=torch.uint8)
    floats = to_unit(values, dtype)
    assert floats.dtype == dtype
    assert floats[0] == -1
    assert floats[-1] == 1
    assert torch.equal(to_uint8(floats), values)


def test_floats_are_rounded_and_clipped_on_the_way_to_bytes() -> None:
    step = 1 / 127.5
    values = torch.tensor([-3.0, -1 + 0.4 * step, -1 + 0.6 * step, 1 - 0.4 * step, 3.0])
    assert to_uint8(values).tolist() == [0, 0, 1, 255, 255]


def test_a_set_says_what_it_holds() -> None:
    data = toy_set([0, 2, 0, 1])
    assert len(data) == 4
    assert data.shape == (3, 5, 6)
    assert data.num_classes == 3
    assert toy_set().num_classes == 0
    assert torch.equal(data.scaled(), to_unit(data.images))


def test_what_a_set_says_of_itself_is_short() -> None:
    colour = ImageSet(torch.zeros(3, 3, 8, 6, dtype=torch.uint8), torch.tensor([0, 1, 1]), "toys")
    assert repr(colour) == "ImageSet('toys', 3 images of 8x6 colour pixels, 2 classes)"
    gray = ImageSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    assert repr(gray) == "ImageSet('images', 1 image of 8x8 gray pixels)"
    assert repr(colour.take(2)).startswith("ImageSet('toys', only the first 2 of 3 images of 8x6")


def test_taking_some_keeps_the_first_and_all_that_belongs_to_them() -> None:
    data = toy_set([0, 2, 0, 1])
    some = data.take(2)
    assert torch.equal(some.images, data.images[:2])
    assert some.labels is not None
    assert some.labels.tolist() == [0, 2]
    assert (some.name, some.classes) == (data.name, data.classes)
    assert toy_set().take(2).labels is None
    for everything in (None, 4):
        assert data.take(everything) is data


@pytest.mark.parametrize("limit", [0, -1, 5])
def test_taking_none_or_too_many_is_refused(limit: int) -> None:
    with refused(ValueError, "between 1 and 4, the size of toys", limit):
        toy_set().take(limit)


@few
@given(place=st.integers(0, 4 * 3 * 5 * 6 - 1), change=st.integers(1, 255))
def test_any_changed_pixel_changes_the_fingerprint(place: int, change: int) -> None:
    images = toy_set().images.clone()
    images.view(-1)[place] += change
    assert ImageSet(images).fingerprint() != toy_set().fingerprint()


def test_the_fingerprint_depends_on_pixels_shape_and_labels_only() -> None:
    data = toy_set([0, 2, 0, 1])
    assert data.labels is not None
    # Not the names, the memory layout or the width of the labels.
    scattered = data.images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not scattered.is_contiguous()
    same = ImageSet(scattered, data.labels.to(torch.int32), "other")
    assert same.fingerprint() == data.fingerprint()
    others = [
        toy_set(),
        toy_set([0, 2, 1, 0]),
        ImageSet(data.images.reshape(4, 3, 6, 5), data.labels),
        ImageSet(data.images.flip(0), data.labels),
    ]
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 5


GOOD = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
BAD: list[tuple[Any, Any, type[Exception], str]] = [
    (GOOD.float(), None, TypeError, "uint8 tensor, got torch.float32"),
    (GOOD.numpy().astype(float), None, TypeError, "uint8 tensor, got float64: load_images(array) takes"),
    (GOOD.numpy()[:, 0], None, ValueError, "got (2, 4, 4): load_images(array) takes"),
    ("fashion-mini", None, TypeError, "got str"),
    (GOOD[0], None, ValueError, "got (1, 4, 4)"),
    (GOOD[:0], None, ValueError, "no empty axis"),
    (GOOD[..., :0], None, ValueError, "no empty axis"),
    (GOOD.repeat(1, 2, 1, 1), None, ValueError, "1 or 3 channels, got 2"),
    (GOOD, torch.zeros(2), TypeError, "integers, got torch.float32"),
    (GOOD, torch.zeros(2, dtype=torch.bool), TypeError, "integers, got torch.bool"),
    (GOOD, [0, 1], TypeError, "integer tensor, got list"),
    (GOOD, torch.tensor([0, 2**40]), ValueError, "less than 1000000, got 1099511627776"),
    (GOOD, torch.tensor([0]), ValueError, "one for each image, got (1,)"),
    (GOOD, torch.tensor([[0], [1]]), ValueError, "one for each image, got (2, 1)"),
    (GOOD, torch.tensor([0, -1]), ValueError, "0 or more, got -1"),
]


@pytest.mark.parametrize(("images", "labels", "error", "message"), BAD)
def test_what_is_no_set_of_images_is_refused(images: Any, labels: Any, error: type[Exception], message: str) -> None:
    with refused(error, message):
        ImageSet(images, labels)


indices = st.one_of(
    st.integers(-4, 3),
    st.slices(4),
    st.lists(st.integers(-4, 3), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=4, max_size=4),
)


@given(indices)
@few
def test_an_index_selects_what_it_selects_of_a_list(index: Any) -> None:
    data = toy_set([0, 2, 0, 1])
    pairs = list(zip(data.images, [0, 2, 0, 1], strict=True))
    if isinstance(index, int):
        wanted = [pairs[index]]
    elif isinstance(index, slice):
        wanted = pairs[index]
    elif isinstance(index[0], bool):
        wanted = [pair for pair, take in zip(pairs, index, strict=True) if take]
    else:
        wanted = [pairs[number] for number in index]
    if not wanted:
        with refused(ValueError, "selects no image of the 4 of toys"):
            data[index]
        return
    some = data[index]
    assert torch.equal(some.images, torch.stack([image for image, _ in wanted]))
    assert some.labels is not None
    assert some.labels.tolist() == [label for _, label in wanted]
    assert some.classes == data.classes


def test_tensors_and_arrays_select_as_lists_do() -> None:
    data = toy_set([0, 2, 0, 1])
    assert data.labels is not None
    zeros = data[data.labels == 0]
    assert torch.equal(zeros.images, data.images[[0, 2]])
    assert torch.equal(data[(data.labels == 0).numpy()].images, zeros.images)
    assert torch.equal(data[torch.tensor([0, 2])].images, zeros.images)
    assert torch.equal(data[torch.tensor([0, 2]).numpy()[::-1]].images, zeros.images.flip(0))
    assert torch.equal(data[torch.tensor(3)].images, data.images[3:])


def test_the_first_images_are_a_part_and_others_are_a_set_with_a_name_of_its_own() -> None:
    data = toy_set()
    assert data[:2].amount == "only the first 2 of 4 images"
    assert data[:2].name == data[:9].name == "toys"
    assert not data[:9].is_part
    assert [data[1].name, data[1:3].name, data[::2].name, data[[0, 3]].name] == [
        "toys[1]",
        "toys[1:3]",
        "toys[::2]",
        "toys[2 of 4]",
    ]
    assert not data[1:3].is_part


def test_a_loop_goes_through_sets_of_one_image() -> None:
    data = toy_set([0, 2, 0, 1])
    assert [len(one) for one in data] == [1, 1, 1, 1]
    assert torch.equal(torch.cat([one.images for one in data]), data.images)
    assert len(list(data)) == len(data)


@pytest.mark.parametrize(
    ("index", "error", "part"),
    [
        (4, IndexError, "image 4 is not among 4"),
        ([0, -5], IndexError, "image -5 is not among 4"),
        (10**30, TypeError, "a number, a slice"),
        ("0", TypeError, "a number, a slice"),
        (None, TypeError, "a number, a slice"),
        (1.0, TypeError, "a number, a slice"),
        ([[0], [1]], TypeError, "a number, a slice"),
        ([0, [1]], TypeError, "a number, a slice"),
        (torch.tensor([0.5]), TypeError, "a number, a slice"),
        ([True, False], ValueError, "one value for each of the 4 images"),
        (True, ValueError, "one value for each of the 4 images"),
        (slice(0, "a"), TypeError, "whole numbers"),
        (slice(1, 2, 0), ValueError, "whole numbers"),
        ([], ValueError, "selects no image"),
        (slice(4, 9), ValueError, "selects no image"),
    ],
)
def test_a_bad_index_is_refused(index: Any, error: type[Exception], part: str) -> None:
    with refused(error, part):
        toy_set()[index]


def test_a_part_of_a_set_has_all_classes_of_the_set() -> None:
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    data = ImageSet(images, torch.tensor([0, 0, 1, 1]), classes=("bars", "discs"))
    assert data[:2].num_classes == data.num_classes == 2
    assert ImageSet(images, torch.tensor([0, 0, 1, 4])).num_classes == 5
