from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.anomalies import Anomalies, Point, measure, two_windows
from elsewhere.anomalies.laboratory import CHUNK, drawn
from elsewhere.anomalies.report import draw_extras
from elsewhere.data import to_uint8
from tests.anomalies.lab_toys import SCHEDULE, SUBJECT, Scripted, scripted, toy_data

pytest.importorskip("scipy")
SEEDS = 20
NOISE = els.make_noise(SEEDS, (1, 8, 8), 3)
NETWORK = [2, 3] * 10
EARLY = [3, 3, 3, 3, 3, 3, 3, 1, 2, 2] * 2
LATE = [2] * 19 + [1]
INF = float("inf")


def points() -> list[Point]:
    return [
        scripted("network", NETWORK, NOISE, machine="network"),
        scripted("ELS 3", EARLY, NOISE, late=3, shrink=INF),
        scripted("ELS 9", LATE, NOISE, late=9, shrink=INF),
        scripted("ELS 9 to 3 at 1", LATE[10:] + LATE[:2], NOISE, late=3, shrink=1.0),
    ]


def run(out: Path, some: list[Point]) -> Anomalies:
    return measure(SUBJECT, some, toy_data(), out, schedule=SCHEDULE, seed=3)


def test_every_point_draws_from_the_same_noises_and_is_counted(tmp_path: Path) -> None:
    result = run(tmp_path, points())
    assert result.counts["network"].tolist() == NETWORK
    assert result.counts["ELS 3"].tolist() == EARLY
    assert len(result.counts["ELS 9 to 3 at 1"]) == 12
    assert result.training.tolist() == [2] * 6, "of the training images only the class of the subject is counted"
    rows = {row["name"]: row for row in result.table()}
    assert rows["ELS 3"]["wrong"]["share"] == 16 / 20
    assert rows["ELS 3"]["extra"]["hits"] == 14
    assert rows["ELS 3"]["missing"]["hits"] == 2
    assert rows["ELS 3"]["shrink"] == "always"
    assert rows["network"]["late_window"] is None


def test_the_class_is_asked_for(tmp_path: Path) -> None:
    point = scripted("IS", [2, 2], NOISE, machine="IS")
    plain = scripted("plain", [2, 2], NOISE)
    assert isinstance(plain.denoiser, Scripted)
    plain.denoiser.num_classes = 0  # type: ignore[misc]
    run(tmp_path, [point, plain])
    assert isinstance(point.denoiser, Scripted)
    assert point.denoiser.labels == {1}
    assert plain.denoiser.labels == {None}


def test_mistakes_are_held_against_those_of_the_network(tmp_path: Path) -> None:
    result = run(tmp_path, points())
    found = result.agreements()
    assert set(found) == {"ELS 3", "ELS 9", "ELS 9 to 3 at 1"}
    pairs = [(e != 2, n != 2) for e, n in zip(EARLY, NETWORK, strict=True)]
    assert found["ELS 3"].both == pairs.count((True, True))
    assert found["ELS 3"].only_network == pairs.count((False, True))
    # Only the seeds that both drew.
    short = found["ELS 9 to 3 at 1"]
    assert short.both + short.only_machine + short.only_network + short.neither == 12
    assert run(tmp_path / "alone", points()[1:]).agreements() == {}


def test_the_claim_is_confirmed_refuted_or_undecided_by_the_seeds_that_differ(tmp_path: Path) -> None:
    verdicts = {(v["question"], v["at"]): v for v in run(tmp_path, points()).verdicts()}
    smaller = verdicts["smaller late window", "always"]
    assert smaller["points"] == ["ELS 3", "ELS 9"]
    assert (smaller["only_first"], smaller["only_second"]) == (14, 0)
    assert smaller["verdict"] == "confirmed"
    assert smaller["p"] == pytest.approx(2 * 0.5**14)
    earlier = verdicts["earlier shrinking", 3]
    assert earlier["points"] == ["ELS 3", "ELS 9 to 3 at 1"]
    assert earlier["seeds"] == 12
    assert earlier["verdict"] == "confirmed"
    # Nothing to compare: one point alone at that level, or with that window.
    assert set(verdicts) == {("smaller late window", "always"), ("earlier shrinking", 3)}

    turned = [
        scripted("ELS 3", LATE, NOISE, late=3, shrink=INF),
        scripted("ELS 9", EARLY, NOISE, late=9, shrink=INF),
    ]
    assert [v["verdict"] for v in run(tmp_path / "turned", turned).verdicts()] == ["refuted"]
    few = [scripted(p.name, numbers[:4], NOISE, late=p.late, shrink=INF) for p, numbers in zip(turned, (LATE, EARLY))]  # noqa: B905
    assert [v["verdict"] for v in run(tmp_path / "few", few).verdicts()] == ["undecided"]


def test_what_is_written_says_everything_and_is_json(tmp_path: Path) -> None:
    result = run(tmp_path, points())
    text = (tmp_path / "results.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert text == result.to_json() + "\n"
    assert content["settings"]["sigmas"] == list(SCHEDULE.sigmas)
    assert content["table"][0]["counts"] == NETWORK
    assert content["training_images_counted_wrong"]["share"] == 0
    assert set(content["agreement_with_network"]) == {"ELS 3", "ELS 9", "ELS 9 to 3 at 1"}
    assert len(content["verdicts"]) == 2


def test_pictures_are_kept_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    run(tmp_path, points())
    images = drawn(tmp_path, "ELS 9 to 3 at 1")
    assert images.dtype == torch.uint8
    assert images.shape == (12, 1, 8, 8)
    assert (images[:, 0, 0] == 255).sum(1).tolist() == LATE[10:] + LATE[:2]
    with pytest.raises(FileNotFoundError):
        drawn(tmp_path, "ELS 5")


def test_a_stopped_measurement_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", points())

    class Stopped(Exception):
        pass

    stopped = points()
    machine = stopped[1].denoiser
    assert isinstance(machine, Scripted)

    class Stopping(Scripted):
        def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
            if self.calls == 2 * SCHEDULE.steps:
                raise Stopped
            return super().__call__(x, sigma, label)

        def __repr__(self) -> str:
            return repr(machine)

    stopped[1] = Point("ELS 3", "ELS", Stopping(EARLY, NOISE), SEEDS, 3, INF)
    with pytest.raises(Stopped):
        run(tmp_path / "parts", stopped)
    assert len(drawn(tmp_path / "parts", "ELS 3")) == 2 * CHUNK
    assert len(json.loads((tmp_path / "parts/results.json").read_text())["table"]) == 2

    again = points()
    parts = run(tmp_path / "parts", again)
    assert isinstance(again[0].denoiser, Scripted)
    assert isinstance(again[1].denoiser, Scripted)
    assert again[0].denoiser.calls == 0, "drawn before"
    assert again[1].denoiser.calls == SCHEDULE.steps, "the last seeds alone"
    assert parts.to_json() == whole.to_json()


def test_points_added_later_stand_in_their_order(tmp_path: Path) -> None:
    run(tmp_path, [points()[0], points()[2]])
    result = run(tmp_path, points())
    assert list(result.agreements()) == ["ELS 3", "ELS 9", "ELS 9 to 3 at 1"]
    assert result.to_json() == run(tmp_path / "at once", points()).to_json()


def test_fewer_pictures_are_the_first_of_more(tmp_path: Path) -> None:
    run(tmp_path, points())
    fewer = [Point(p.name, p.machine, p.denoiser, 5, p.late, p.shrink) for p in points()]
    result = run(tmp_path, fewer)
    assert result.counts["ELS 3"].tolist() == EARLY[:5]
    assert len(drawn(tmp_path, "ELS 3")) == SEEDS, "nothing is thrown away"


def test_pictures_drawn_otherwise_are_refused(tmp_path: Path) -> None:
    run(tmp_path, points())
    other = [scripted("ELS 3", LATE, NOISE, late=3, shrink=INF)]
    with pytest.raises(ValueError, match=r"ELS-3\.npz was drawn with other settings .* give another folder"):
        run(tmp_path, other)
    with pytest.raises(ValueError, match="other settings"):
        measure(SUBJECT, points(), toy_data(), tmp_path, schedule=SCHEDULE, seed=4)


def test_windows_and_training_images_are_part_of_the_settings(tmp_path: Path) -> None:
    data = toy_data()

    def once(images: els.ImageSet, first: int) -> None:
        schedule = els.LocalitySchedule((2.0, 1.0), (first, 3))
        point = Point("LS", "LS", els.LocalScore(images, schedule), 2)
        measure(SUBJECT, [point], images, tmp_path, schedule=SCHEDULE)

    once(data, 5)
    once(data, 5)
    with pytest.raises(ValueError, match="other settings"):
        once(data, 7)
    with pytest.raises(ValueError, match="other settings"):
        once(els.ImageSet(data.images.flip(0), data.labels, "toys"), 5)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_of_pictures_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn/ELS-3.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"ELS-3\.npz is not a file of drawn images"):
        run(tmp_path, points())


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    np.savez(tmp_path / "drawn/ELS-3.npz", images=np.array([{}], dtype=object), settings=np.array("x"))
    with pytest.raises(ValueError, match="is not a file of drawn images"):
        run(tmp_path, points())


def test_points_without_names_of_their_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with different names"):
        run(tmp_path, [points()[0], points()[0]])
    with pytest.raises(ValueError, match="got none"):
        run(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_point_that_draws_nothing_sensible_is_named(tmp_path: Path) -> None:
    point = Point("mine", "ELS", lambda x, sigma, label=None: x * float("nan"), 2)
    with pytest.raises(ValueError, match=r"the output of mine has NaN"):
        run(tmp_path, [point])


@pytest.mark.parametrize("level", [0.05, 0.5, 1.0, 30.0])
def test_the_window_is_large_above_the_level_and_small_from_there_on(level: float) -> None:
    schedule = els.schedules.cosine(20)
    windows = two_windows(9, 3, level, schedule)
    for sigma in schedule.sigmas[:-1]:
        assert windows(sigma) == (9 if sigma > level else 3)
    assert list(windows.windows) == sorted(windows.windows, reverse=True)


def test_at_the_level_itself_the_window_is_small() -> None:
    schedule = els.schedules.Schedule((2.0, 1.0, 0.5, 0.1, 0.0))
    assert two_windows(9, 3, 0.5, schedule).windows == (9, 9, 3, 3)


def test_two_windows_of_the_wrong_order_or_parity_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at most large \\(3\\), got 9"):
        two_windows(3, 9, 1.0, SCHEDULE)
    with pytest.raises(ValueError, match="odd"):
        two_windows(8, 3, 1.0, SCHEDULE)


def test_tables_in_words(tmp_path: Path) -> None:
    rates, together, verdicts = run(tmp_path, points()).tables()
    assert rates[1][0][:2] == ("training images", "6")
    assert rates[1][2][:2] == ("ELS 3", "20")
    assert rates[1][2][2].startswith("80.0% (58.4% to 91.9%)")
    assert together[1][0][0] == "ELS 3"
    assert {row[-1] for row in verdicts[1]} == {"confirmed"}
    assert len(run(tmp_path / "alone", points()[:1]).tables()) == 1


def test_pictures_of_a_random_sampler_are_those_of_one_batch_and_are_not_mixed_with_others(tmp_path: Path) -> None:
    data = toy_data()
    machine = els.IdealScore(data)
    seeds = CHUNK + 2
    point = Point("IS", "IS", machine, seeds)
    measure(SUBJECT, [point], data, tmp_path, schedule=SCHEDULE, seed=3, sampler="ancestral")
    noise = els.make_noise(seeds, data.shape, 3)
    expected = els.sample(machine, noise, SCHEDULE, SUBJECT.label, sampler="ancestral", seed=3).images
    assert torch.equal(drawn(tmp_path, "IS"), to_uint8(expected))
    with pytest.raises(ValueError, match="was drawn with other settings"):
        measure(SUBJECT, [point], data, tmp_path, schedule=SCHEDULE, seed=3)


def test_an_explained_picture_is_the_one_that_was_counted(tmp_path: Path) -> None:
    # Of a class, by a random sampler, and not the first of its chunk.
    data = toy_data()
    machine = els.EquivariantLocalScore(data, 3)
    point = Point("ELS 3", "ELS", machine, 4, 3, float("inf"))
    subject = replace(SUBJECT, count=lambda images: np.arange(len(images)), normal=2)
    result = measure(subject, [point], data, tmp_path, schedule=SCHEDULE, seed=3, sampler="ancestral")
    (extra,) = draw_extras(result)
    assert extra.title.startswith("ELS 3, seed 3: 3 ")
    assert torch.equal(to_uint8(extra.run.images), drawn(tmp_path, "ELS 3")[3:])
    assert torch.allclose(extra.mosaic().x0, extra.run.images, atol=1e-5)
