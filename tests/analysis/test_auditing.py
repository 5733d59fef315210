"""Planted copies, duplicates and mosaics, whose verdicts are known; the criteria against their definitions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.analysis.audit_result import DUPLICATE, describe_change
from elsewhere.analysis.auditing import audit
from elsewhere.analysis.neighbours import LEVEL, Placing, place
from elsewhere.analysis.provenance import provenance

DATA = els.load_images("fashion-mini", limit=130)
TRAINING = replace(DATA.take(120), name="clothes", left_out={})
HELD_OUT = els.ImageSet(DATA.images[120:], DATA.labels[120:], "others")  # type: ignore[index]


def noisy(images: torch.Tensor, levels: float) -> torch.Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + levels * noise).round().clamp(0, 255).to(torch.uint8)


def made(images: torch.Tensor) -> els.ImageSet:
    return els.ImageSet(images, name="made")


@pytest.fixture(scope="module")
def planted() -> els.Audit:
    images = TRAINING.images
    moved = place(images[20:21], Placing(-2, 3, False))
    everything = [images[:2], noisy(images[10:12], 8), moved, images[30:31].flip(-1), HELD_OUT.images[:6]]
    return audit(TRAINING, made(torch.cat(everything)), pixels=3, null=50)


def test_planted_copies_are_told_from_images_that_were_held_out(planted: els.Audit) -> None:
    assert planted.verdicts[:6] == ("copy",) * 2 + ("near copy",) * 4
    assert set(planted.verdicts[6:]) == {"novel", "no copy"}
    assert planted.verdicts.count("novel") == 3
    assert planted.measures.aligned.indices[:6, 0].tolist() == [0, 1, 10, 11, 20, 30]
    assert planted.change(4) == "2 up, 3 right"
    assert planted.change(5) == "mirrored"
    assert planted.change(0) == "as it stands"
    assert planted.proven[:6].all()


DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
MOVES = [(0, 0)] + [(pixels * down, pixels * right) for pixels in (1, 2, 3) for down, right in DIRECTIONS]
PLACINGS = [Placing(down, right, mirror) for mirror in (False, True) for down, right in MOVES]
COPIED = torch.arange(0, 120, 12)


@pytest.fixture(scope="module")
def moved() -> els.Audit:
    """Ten copies for each of PLACINGS, in turn, then noisy copies and the images held out."""
    images = TRAINING.images[COPIED]
    everything = [place(images, placing) for placing in PLACINGS] + [noisy(images, 8), HELD_OUT.images]
    return audit(TRAINING, made(torch.cat(everything)), pixels=0, null=120)


def recall(found: els.Audit, kind: int) -> float:
    """Share of the copies of a kind that were called copies, of the right training image."""
    mine = slice(kind * len(COPIED), (kind + 1) * len(COPIED))
    called = torch.tensor([verdict in ("copy", "near copy") for verdict in found.verdicts[mine]])
    return float((called & (found.measures.aligned.indices[mine, 0] == COPIED)).double().mean())


@pytest.mark.parametrize("placing", PLACINGS, ids=lambda p: describe_change([p.down, p.right], p.mirror))
def test_every_moved_and_mirrored_copy_is_found(moved: els.Audit, placing: Placing) -> None:
    assert recall(moved, PLACINGS.index(placing)) == 1
    mine = slice(PLACINGS.index(placing) * len(COPIED), (PLACINGS.index(placing) + 1) * len(COPIED))
    assert (moved.measures.aligned.distances[mine, 0] == 0).all()
    as_it_was = (placing.down, placing.right, placing.mirror) == (0, 0, False)
    assert set(moved.verdicts[mine]) == {"copy" if as_it_was else "near copy"}


def test_noisy_copies_are_found_and_no_image_held_out_is_taken_for_one(moved: els.Audit) -> None:
    assert recall(moved, len(PLACINGS)) == 1
    assert moved.verdicts[-len(HELD_OUT) :] == ("no copy",) * len(HELD_OUT)


def test_copies_moved_further_than_was_searched_are_missed() -> None:
    further = place(TRAINING.images[COPIED[3:5]], Placing(0, 3, False))
    assert audit(TRAINING, made(further), shift=2, pixels=0, null=50).verdicts == ("no copy",) * 2


def test_upside_down_copies_are_found_only_when_turned_back_as_the_documentation_says() -> None:
    upside_down = TRAINING.images[[40, 50]].flip(-2)
    assert audit(TRAINING, made(upside_down), pixels=0, null=50).verdicts == ("no copy",) * 2
    found = audit(TRAINING, made(upside_down.flip(-2)), pixels=0, null=50)
    assert found.verdicts == ("copy",) * 2
    assert found.measures.nearest.indices[:, 0].tolist() == [40, 50]


def test_the_published_criteria_are_what_their_papers_say(planted: els.Audit) -> None:
    images, keys = (s.scaled(torch.float64).flatten(1).numpy() for s in (planted.generated, TRAINING))
    distances = np.sort(np.sqrt(((images[:, None] - keys[None]) ** 2).sum(2)), axis=1)
    yoon = distances[:, 0] / distances[:, 1]
    carlini = distances[:, 0] / (0.5 * distances[:, :50].mean(1))
    np.testing.assert_allclose(planted.measures.yoon.numpy(), yoon, rtol=1e-9)
    np.testing.assert_allclose(planted.measures.carlini.numpy(), carlini, rtol=1e-9)
    lines = planted.summary()["criteria"]
    assert [line["generated"] for name, line in lines.items() if "Yoon" in name] == [int((yoon < 1 / 3).sum())]
    assert [line["generated"] for name, line in lines.items() if "Carlini" in name] == [int((carlini < 1).sum())]


def test_training_images_are_compared_with_the_others_only(planted: els.Audit) -> None:
    assert len(planted.null.yoon) == 50
    assert (planted.null.nearest.distances > 0).all()
    assert (planted.null.aligned.distances > 0).all()
    assert planted.near == float(planted.null.aligned.distances[:, 0].min())


def test_a_noisy_copy_of_an_image_that_is_there_twice_is_still_found() -> None:
    twice = els.ImageSet(torch.cat([TRAINING.images, noisy(TRAINING.images[:1], 1)]), name="twice")
    found = audit(twice, made(noisy(TRAINING.images[:1], 6)), pixels=0, null=50)
    assert float(found.measures.yoon[0]) > 1 / 3
    assert found.verdicts == ("near copy",)


def test_duplicates_among_training_images_do_not_forbid_near_copies() -> None:
    doubled = els.ImageSet(torch.cat([TRAINING.images[:60], TRAINING.images[:60]]), name="doubled")
    found = audit(doubled, made(torch.cat([noisy(TRAINING.images[:2], 6), HELD_OUT.images[:2]])), pixels=0, null=120)
    # Every training image has a duplicate: no scale is left by which to call anything near.
    assert found.near == 0
    assert found.verdicts == ("no copy",) * 4
    assert found.summary()["duplicates_among_training"] == 120
    some = els.ImageSet(torch.cat([TRAINING.images, TRAINING.images[:30]]), name="some")
    found = audit(some, made(torch.cat([noisy(TRAINING.images[:2], 6), HELD_OUT.images[:2]])), pixels=0, null=400)
    assert found.near > DUPLICATE
    assert found.verdicts == ("near copy",) * 2 + ("no copy",) * 2


def test_a_copy_is_within_one_gray_level() -> None:
    image = TRAINING.scaled()[4:5]
    inside, outside = image.clone(), image.clone()
    inside[..., 0, 0] += 28 * 0.9 * LEVEL
    outside[..., 0, 0] += 28 * 1.2 * LEVEL
    found = audit(TRAINING, torch.cat([inside, outside]), pixels=0, null=50)
    assert found.verdicts == ("copy", "near copy")


def test_parts_of_two_training_images_make_a_mosaic() -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(1, 256, (40, 1, 5, 5), generator=generator, dtype=torch.uint8)
    images = torch.zeros(40, 1, 12, 18, dtype=torch.uint8)
    images[:20, :, 3:8, 2:7], images[20:, :, 3:8, 11:16] = blocks[:20], blocks[20:]
    training = els.ImageSet(images, name="blocks")
    spoilt = images[4] + images[31]
    spoilt[0, 4:7, 3:6] = 90
    found = audit(training, made(torch.stack([images[4] + images[31], spoilt])))
    assert found.verdicts == ("mosaic", "novel")
    assert float(found.provenance.sources[0]) == pytest.approx(2, abs=1e-3)  # type: ignore[union-attr]
    assert set(found.provenance.images[0, :2].tolist()) == {4, 31}  # type: ignore[union-attr]
    assert found.mosaic >= 0.95


def test_pixels_are_traced_by_class_where_asked() -> None:
    found = audit(TRAINING, HELD_OUT, pixels=10, null=20, by_class=True)
    assert len(found.traced) == 10
    i = 7
    label = int(HELD_OUT.labels[i])  # type: ignore[index]
    same = (TRAINING.labels == label).nonzero().flatten()  # type: ignore[union-attr]
    alone = provenance(HELD_OUT.images[i : i + 1], TRAINING.images[same], 3, memory=2**28)
    assert float(found.provenance.consistent[i]) == float(alone.consistent[0])  # type: ignore[union-attr]
    assert found.provenance.images[i].tolist() == same[alone.images[0]].tolist()  # type: ignore[union-attr]


def test_the_summary_gathers_what_the_traced_images_say(planted: els.Audit) -> None:
    pixels = planted.summary()["pixels"]
    rows = [row for row in planted.rows() if row["consistent"] is not None]
    assert pixels["generated"]["traced"] == len(rows) == 3
    assert pixels["training"]["traced"] == 16
    for name in ("consistent", "sources"):
        low, middle, high = sorted(row[name] for row in rows)
        spread = pixels["generated"][name]
        assert [spread["lowest"], spread["median"], spread["highest"]] == pytest.approx([low, middle, high])
        # Of three values the quartiles lie half-way between neighbours.
        assert spread["lower_quartile"] == pytest.approx((low + middle) / 2)
        assert spread["upper_quartile"] == pytest.approx((middle + high) / 2)
        held_out = np.quantile(getattr(planted.held_out, name).numpy(), [0, 0.25, 0.5, 0.75, 1])
        assert list(pixels["training"][name].values()) == pytest.approx(held_out.tolist())


def test_the_summary_of_an_audit_that_traced_nothing_is_empty_there() -> None:
    found = audit(TRAINING, HELD_OUT.take(2), pixels=0, null=5)
    assert found.summary()["pixels"] == {"generated": None, "training": None}


def test_the_same_seed_finds_the_same(planted: els.Audit) -> None:
    again = audit(TRAINING, planted.generated, pixels=3, null=50)
    assert again.to_json() == planted.to_json()
    other = audit(TRAINING, planted.generated, pixels=0, null=50, seed=1)
    assert other.null.nearest.indices.tolist() != planted.null.nearest.indices.tolist()
    assert other.verdicts[:6] == planted.verdicts[:6]


def test_the_files_have_every_number(planted: els.Audit) -> None:
    content = json.loads(planted.to_json())
    assert content["format"] == "elsewhere.audit/2"
    assert content["settings"]["training"]["fingerprint"] == TRAINING.fingerprint()
    assert content["settings"]["generated"]["fingerprint"] == planted.generated.fingerprint()
    assert content["summary"]["verdicts"] == planted.counts()
    assert len(content["null"]["yoon"]) == 50
    lines = list(csv.DictReader(io.StringIO(planted.to_csv())))
    assert len(lines) == len(content["images"]) == 12
    for line, image in zip(lines, content["images"], strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in image.items()}
    assert lines[4]["down"] == "-2"
    assert lines[4]["mirrored"] == "False"
    traced = [line for line in lines if line["consistent"]]
    assert [int(line["image"]) for line in traced] == planted.traced.tolist()


@pytest.mark.parametrize(
    ("copies", "near", "words"),
    [
        (0, 0, "No copy of a training image was found among 4 generated images under these criteria."),
        (1, 0, "Among 4 generated images: 1 copy of training images."),
        (2, 1, "Among 4 generated images: 2 copies and 1 near copy of training images."),
        (0, 2, "Among 4 generated images: 2 near copies of training images."),
    ],
)
def test_the_headline_claims_no_more_than_was_counted(planted: els.Audit, copies: int, near: int, words: str) -> None:
    verdicts = ("copy",) * copies + ("near copy",) * near
    assert replace(planted, verdicts=verdicts + ("novel",) * (4 - len(verdicts))).headline == words


def test_changes_in_words() -> None:
    assert describe_change([0, 0], False) == "as it stands"
    assert describe_change([1, -2], True) == "mirrored, 1 down, 2 left"


def test_the_old_name_of_proven_still_works_and_warns(planted: els.Audit) -> None:
    with pytest.warns(DeprecationWarning, match=r"Audit\.settled is deprecated.*use Audit\.proven"):
        assert torch.equal(planted.settled, planted.proven)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"training": TRAINING.images}, TypeError, "training must be an ImageSet"),
        ({"training": TRAINING.take(2)}, ValueError, "3 training images or more, clothes has 2"),
        (
            {"generated": els.load_images("pixel-faces", limit=2)},
            ValueError,
            "clothes are 28 x 28 gray.*32 x 32 colour",
        ),
        ({"generated": torch.zeros(1, 1, 9, 9)}, ValueError, "28 x 28 gray.*array 9 x 9 gray.*--size"),
        ({"generated": torch.zeros(1, 4, 28, 28)}, ValueError, "1 or 3 channels, got 4"),
        ({"generated": torch.full((1, 1, 28, 28), 255.0)}, ValueError, r"about \[-1, 1\], got 255 to 255"),
        ({"generated": "images"}, TypeError, "generated must be an ImageSet"),
        (
            {"shift": 14},
            ValueError,
            r"shift must be less than half the shorter side of the images \(28 pixels\), got 14",
        ),
        ({"shift": -1}, ValueError, "shift must be 0 or more, got -1"),
        ({"shift": 1.5}, TypeError, "shift must be an integer or None, got float 1.5"),
        ({"pixels": -1}, ValueError, "pixels must be 0 or more"),
        ({"null": 0}, ValueError, "null must be 1 or more"),
        ({"memory": 1000}, ValueError, "memory must be at least 67108864 bytes"),
        ({"window": 4}, ValueError, "window must be odd"),
        ({"by_class": True}, ValueError, "by_class needs labels, and made has none"),
        (
            {"by_class": True, "generated": els.ImageSet(TRAINING.images[:1], torch.tensor([11]), "strange")},
            ValueError,
            "strange has images of class 11, which clothes does not have",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused(change: dict[str, object], error: type[Exception], words: str) -> None:
    arguments = {"training": TRAINING, "generated": made(TRAINING.images[:1]), **change}
    with pytest.raises(error, match=words):
        audit(**arguments)  # type: ignore[arg-type]
