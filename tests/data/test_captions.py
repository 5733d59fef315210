"""Captions: words for each image, through every reader and every part of a set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from elsewhere.data import ImageSet, load_images
from elsewhere.data.captions import UNUSED
from tests.data.toys import pixels, refused, write_picture

WORDS = ("a cat", "a dog", "", "two cats, one asleep")


def captioned(words: Any = WORDS) -> ImageSet:
    return ImageSet(pixels(4, 1, 5, 6), np.array([0, 1, 1, 0]), "toys", ("a", "b"), captions=words)


def folder_of(folder: Path, count: int = 4) -> Path:
    for number, values in enumerate(pixels(count, 5, 6)):
        write_picture(folder / f"{number}.png", values)
    return folder


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (1, WORDS[1:2]),
        (-1, WORDS[3:]),
        (slice(2), WORDS[:2]),
        (slice(None, None, -1), WORDS[::-1]),
        ([3, 0, 3], (WORDS[3], WORDS[0], WORDS[3])),
        (torch.tensor([False, True, False, True]), (WORDS[1], WORDS[3])),
    ],
)
def test_parts_of_a_set_keep_the_captions_of_their_images(index: Any, expected: tuple[str, ...]) -> None:
    assert captioned()[index].captions == expected
    assert captioned(None)[index].captions is None


def test_rows_take_captions_by_number_and_by_mask() -> None:
    data, mask = captioned(), torch.tensor([True, False, False, True])
    for chosen in (mask, mask.nonzero()[:, 0]):
        part = data.rows(chosen)
        assert part.captions == (WORDS[0], WORDS[3])
        assert torch.equal(part.images, data.images[[0, 3]])
        assert part.labels is not None
        assert part.labels.tolist() == [0, 0]
        assert part.name == data.name
    assert data.take(2).captions == WORDS[:2]
    assert data.to("cpu").captions == WORDS
    assert [one.captions for one in data] == [(words,) for words in WORDS]


def test_a_list_of_captions_becomes_a_tuple() -> None:
    assert captioned(list(WORDS)).captions == WORDS


@pytest.mark.parametrize(
    ("words", "error", "part"),
    [
        (WORDS[:3], ValueError, "captions must be 4, one for each image, got 3"),
        ((), ValueError, "got 0"),
        ("word", TypeError, "captions must be"),
        ((1, 2, 3, 4), TypeError, "captions"),
        (("a", "b", "c", None), TypeError, "captions"),
    ],
)
def test_captions_that_are_not_one_string_for_each_image_are_refused(
    words: Any, error: type[Exception], part: str
) -> None:
    with refused(error, part):
        captioned(words)


def test_captions_are_no_part_of_the_fingerprint() -> None:
    assert captioned().fingerprint() == captioned(None).fingerprint()


def test_a_saved_set_has_its_captions(tmp_path: Path) -> None:
    captioned().save(tmp_path / "set.npz")
    assert load_images(tmp_path / "set.npz").captions == WORDS
    assert load_images(tmp_path / "set.npz", 2, labels=False).captions == WORDS[:2]
    assert not load_images(tmp_path / "set.npz").left_out
    captioned(None).save(tmp_path / "plain.npz")
    assert load_images(tmp_path / "plain.npz").captions is None


@pytest.mark.parametrize("words", [np.array(WORDS[:3]), np.arange(4), np.array([WORDS])])
def test_an_array_of_other_captions_is_refused(words: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=pixels(4, 5, 6), captions=words)
    with refused(TypeError, "captions", "must be an array of 4 strings"):
        load_images(tmp_path / "set.npz")


def test_the_lines_of_an_image_folder_are_captions(tmp_path: Path) -> None:
    folder_of(tmp_path)
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}", "score": 2.5} for i in (3, 0, 1, 9)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    data = load_images(tmp_path)
    assert data.captions == ("picture 0", "picture 1", "", "picture 3")
    assert data.left_out == {UNUSED: 1}
    assert load_images(tmp_path, 2).captions == ("picture 0", "picture 1")


def test_a_file_of_captions_reaches_into_classes(tmp_path: Path) -> None:
    folder_of(tmp_path / "cats", 2), folder_of(tmp_path / "dogs", 1)
    (tmp_path / "captions.json").write_text(json.dumps({"cats/1.png": "asleep", "dogs/0.png": "awake"}))
    data = load_images(tmp_path)
    assert data.captions == ("", "asleep", "awake")
    assert data.classes == ("cats", "dogs")


def test_metadata_without_words_are_no_captions(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png", "objects": [1, 2]}')
    assert load_images(tmp_path).captions is None


@pytest.mark.parametrize(
    ("name", "content", "error", "part"),
    [
        ("metadata.jsonl", '{"file_name": "0.png", "text": "x"}\nnonsense', ValueError, "line 2 is no JSON object"),
        ("metadata.jsonl", "[1]", ValueError, "line 1 is no JSON object"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": 3}', TypeError, "must have two strings"),
        ("metadata.jsonl", '{"text": "a cat"}', TypeError, "must have two strings"),
        ("captions.json", "{", ValueError, "is no JSON object"),
        ("captions.json", '{"0.png": ["a"]}', TypeError, "must give each file a string"),
    ],
)
def test_damaged_captions_are_refused_by_line_or_entry(
    name: str, content: str, error: type[Exception], part: str, tmp_path: Path
) -> None:
    folder_of(tmp_path)
    (tmp_path / name).write_text(content)
    with refused(error, str(tmp_path / name), part):
        load_images(tmp_path)


def test_a_column_of_strings_is_captions(tmp_path: Path) -> None:
    pictures = [str(folder_of(tmp_path / "files", 3) / f"{i}.png") for i in range(3)]
    features = datasets.Features(image=datasets.Image(), text=datasets.Value("string"))
    rows = {"image": pictures, "text": ["a", None, "c"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    assert load_images(tmp_path / "saved").captions == ("a", "", "c")
    assert load_images(tmp_path / "saved", 1).captions == ("a",)
