import json

import numpy as np
import pytest
import torch
from analysis_toys import Blur, Nearly, few_images

from elsewhere.analysis import calibrate, calibration, save_calibration_plots
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine

SCHEDULE = cosine(4)
KNOWN = LocalitySchedule(SCHEDULE.sigmas[:-1], (7, 3, 5, 3))
NOISE = make_noise(6, (1, 9, 9), seed=3)


class Interrupted(Exception):
    pass


class FailsAfter(Blur):
    """A machine that is interrupted after some calls."""

    left = 0

    def with_window(self, window):
        outer = self

        class Counted(Blur):
            def __call__(self, x, sigma, label=None):
                outer.left -= 1
                if outer.left < 0:
                    raise Interrupted
                return super().__call__(x, sigma, label)

        return Counted(window, self.data)


@pytest.mark.parametrize("criterion", ["cosine", "least-squares"])
@pytest.mark.parametrize("error", [0.0, 0.05])
def test_the_window_of_every_level_is_found(criterion, error):
    found = calibrate(Blur(), Nearly(Blur(KNOWN), error), NOISE, schedule=SCHEDULE, criterion=criterion)
    assert found == KNOWN
    assert found.details["windows"] == [3, 5, 7, 9]


def test_scores_are_means_over_seeds_on_the_networks_own_path():
    network = Nearly(Blur(KNOWN), 0.3)
    details = calibrate(Blur(), network, NOISE, schedule=SCHEDULE, windows=[3, 7]).details
    run = sample(network, NOISE, SCHEDULE, keep=True)
    for level, sigma in enumerate(SCHEDULE.sigmas[:-1]):
        x = run.states[level].double()
        theirs = ((network(x, sigma) - x) / sigma**2).flatten(1).numpy()
        for index, side in enumerate((3, 7)):
            ours = ((Blur(side)(x, sigma) - x) / sigma**2).flatten(1).numpy()
            cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
            squares = ((ours - theirs) ** 2).mean(1) * sigma**4
            for name, values in (("cosine", cosines), ("least-squares", squares)):
                # The calibration's denoisers compute in float32, this in float64.
                assert details[name]["mean"][level][index] == pytest.approx(values.mean(), rel=1e-4)
                error = values.std(ddof=1) / np.sqrt(len(values))
                assert details[name]["standard_error"][level][index] == pytest.approx(error, rel=1e-3, abs=1e-9)


def test_ties_go_to_the_smaller_window_and_are_listed():
    class Same(Blur):
        def with_window(self, window):
            return Same(3 if window == 3 else 5)

    found = calibrate(Same(), Nearly(Blur(5)), NOISE, schedule=SCHEDULE, windows=[9, 7, 5, 3])
    assert found.windows == (5, 5, 5, 5)
    assert found.details["tied"] == [[5, 7, 9]] * 4


def test_a_clearly_worse_window_is_not_tied():
    details = calibrate(Blur(), Blur(KNOWN), NOISE, schedule=SCHEDULE).details
    assert details["tied"] == [[7], [3], [5], [3]]


def test_one_seed_has_no_standard_error():
    found = calibrate(Blur(), Blur(KNOWN), NOISE[:1], schedule=SCHEDULE)
    assert found == KNOWN
    assert found.details["cosine"]["standard_error"] is None
    assert found.details["tied"] == [[w] for w in KNOWN.windows]


def test_seeds_in_chunks_give_the_same_scores(monkeypatch):
    whole = calibrate(Blur(), Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE)
    monkeypatch.setattr(calibration, "CHUNK", 4)
    parts = calibrate(Blur(), Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE)
    np.testing.assert_allclose(parts.details["cosine"]["mean"], whole.details["cosine"]["mean"], rtol=1e-6)


def test_labels_reach_machine_and_network_seed_by_seed(monkeypatch):
    class ByLabel(Blur):
        num_classes = 3

        def __call__(self, x, sigma, label=None):
            return super().__call__(x, sigma) + 0.2 * label[:, None, None, None]

        def with_window(self, window):
            return ByLabel(window)

    monkeypatch.setattr(calibration, "CHUNK", 4)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    found = calibrate(ByLabel(), ByLabel(KNOWN), NOISE, schedule=SCHEDULE, label=labels)
    assert found == KNOWN
    assert np.max(found.details["least-squares"]["mean"], axis=None) > 0
    assert np.min(found.details["least-squares"]["mean"], axis=1) == pytest.approx(0, abs=1e-10)
    assert found.details["label"] == labels.tolist()


def test_details_survive_the_file_and_name_every_setting(tmp_path):
    data = few_images()
    found = calibrate(Blur(data=data), Blur(KNOWN), NOISE, schedule=SCHEDULE)
    found.save(tmp_path / "windows.json")
    loaded = LocalitySchedule.load(tmp_path / "windows.json")
    assert loaded == found
    assert loaded.details == found.details
    expected = {"criterion": "cosine", "data": "few", "fingerprint": data.fingerprint(), "seeds": 6}
    expected |= {"schedule": "cosine(4)", "network": repr(Blur(KNOWN)), "label": None}
    assert {name: loaded.details[name] for name in expected} == expected


def test_an_interrupted_calibration_goes_on_where_it_stopped(tmp_path):
    cache = tmp_path / "cache.json"
    whole = calibrate(Blur(), Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE)
    machine = FailsAfter()
    machine.left = 1 + 6  # one call tells the machine
    with pytest.raises(Interrupted):
        calibrate(machine, Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE, cache=cache)
    assert len(json.loads(cache.read_text())["scores"]) == 6
    machine.left = 1 + 10  # four windows at four levels, less the six that are done
    resumed = calibrate(machine, Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE, cache=cache)
    assert machine.left == 0
    assert resumed.details == whole.details
    machine.left = 1
    again = calibrate(machine, Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE, cache=cache, criterion="least-squares")
    assert again.windows == KNOWN.windows
    assert [path.name for path in tmp_path.iterdir()] == ["cache.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"noise": make_noise(6, (1, 9, 9), seed=4)}, "noise"),
        ({"schedule": cosine(5)}, "schedule"),
        ({"network": Nearly(Blur(KNOWN), 0.5)}, "network"),
        ({"machine": Blur(data=few_images())}, "data"),
    ],
)
def test_a_cache_of_other_settings_is_refused(tmp_path, change, named):
    usual = {"machine": Blur(), "network": Nearly(Blur(KNOWN)), "noise": NOISE, "schedule": SCHEDULE}
    calibrate(**usual, windows=[3], cache=tmp_path / "cache.json")
    before = (tmp_path / "cache.json").read_bytes()
    with pytest.raises(ValueError, match=rf"has the scores of another calibration \(different .*{named}.*delete it"):
        calibrate(**{**usual, **change}, windows=[3], cache=tmp_path / "cache.json")
    assert (tmp_path / "cache.json").read_bytes() == before


def test_a_cache_of_other_weights_or_unnamed_data_is_refused(tmp_path):
    class SameName(Blur):
        def __init__(self, window, factor):
            super().__init__(window)
            self.factor = factor

        def __repr__(self):
            return "name"

        def __call__(self, x, sigma, label=None):
            return self.factor * super().__call__(x, sigma)

        def with_window(self, window):
            return SameName(window, self.factor)

    arguments = {"schedule": SCHEDULE, "windows": [3], "cache": tmp_path / "cache.json"}
    calibrate(SameName(3, 0.9), SameName(5, 0.9), NOISE, **arguments)
    calibrate(SameName(5, 0.9), SameName(5, 0.9), NOISE, **arguments)
    for machine, network in ((0.9, 0.8), (0.8, 0.9)):
        with pytest.raises(ValueError, match="different network weights or training images"):
            calibrate(SameName(3, machine), SameName(5, network), NOISE, **arguments)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', "\0", '{"format":'])
def test_a_file_that_is_no_cache_is_refused(tmp_path, content):
    (tmp_path / "cache.json").write_text(content)
    with pytest.raises(ValueError, match=r"cache\.json is not a calibration cache"):
        calibrate(Blur(), Blur(KNOWN), NOISE, schedule=SCHEDULE, windows=[3], cache=tmp_path / "cache.json")
    assert (tmp_path / "cache.json").read_text() == content


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"machine": Nearly(Blur())}, TypeError, "machine must be a machine with windows"),
        ({"network": "resnet"}, TypeError, "network must be callable"),
        ({"noise": torch.zeros(6, 9, 9)}, ValueError, r"noise must be \(B, C, H, W\)"),
        ({"noise": torch.full((6, 1, 9, 9), torch.nan)}, ValueError, "noise has NaN"),
        ({"noise": make_noise(2, (3, 9, 9))}, ValueError, "noise has 3 channels, machine was made for 1"),
        ({"criterion": "l2"}, ValueError, r"cosine, least-squares, got 'l2'"),
        ({"windows": []}, ValueError, "windows is empty"),
        ({"windows": [3, 4]}, ValueError, "windows must be odd and positive"),
        ({"windows": [3.0]}, TypeError, "must be an integer"),
        ({"label": 1}, ValueError, "no classes"),
        ({"schedule": 20}, TypeError, "schedule must be a Schedule"),
        ({"network": lambda x, sigma: x * torch.nan}, ValueError, "output of network has NaN"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, change, error, message):
    usual = {"machine": Blur(), "network": Blur(KNOWN), "noise": NOISE, "schedule": SCHEDULE}
    with pytest.raises(error, match=message) as raised:
        calibrate(**{**usual, **change}, cache=tmp_path / "cache.json")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_plots_are_written_and_need_scores(tmp_path):
    found = calibrate(Blur(), Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE)
    save_calibration_plots(found, tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["scores.png", "windows.png"]
    with pytest.raises(ValueError, match="no calibration scores"):
        save_calibration_plots(KNOWN, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_windows_wider_than_any_image_needs_are_refused_before_the_work():
    with pytest.raises(ValueError, match=r"windows must be at most 17 for images of 9 pixels, got 99999"):
        calibrate(Blur(), Nearly(Blur(KNOWN)), NOISE, schedule=SCHEDULE, windows=[3, 99999])
