import csv
import json
import math

import numpy as np
import pytest
import torch
from analysis_toys import Blur, Nearly, few_images
from PIL import Image

from elsewhere.analysis import compare, nearest_training_images
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine

SCHEDULE = cosine(3)
DATA = few_images()
NOISE = make_noise(7, (1, 9, 9), seed=5)
LOCALITY = LocalitySchedule(SCHEDULE.sigmas[:-1], (7, 5, 3))


class Constant:
    """Ends on one training image, whatever the noise."""

    num_classes = 0
    data = DATA

    def __repr__(self):
        return "Constant()"

    def __call__(self, x, sigma, label=None):
        return DATA.scaled()[4:5].expand(x.shape)


def arguments(**changes):
    usual = {
        "machines": {"IS": Constant(), "ELS": Blur(LOCALITY, DATA)},
        "network": Nearly(Blur(LOCALITY), 0.02),
        "noise": NOISE,
        "schedule": SCHEDULE,
    }
    return {**usual, **changes}


@pytest.fixture(scope="module")
def result():
    return compare(**arguments())


def test_everyone_draws_from_the_same_noise(result):
    assert list(result.images) == ["IS", "ELS", "network"]
    for name, denoiser in (*arguments()["machines"].items(), ("network", arguments()["network"])):
        torch.testing.assert_close(result.images[name], sample(denoiser, NOISE, SCHEDULE).images)


def test_numbers_agree_with_numpy_on_the_images(result):
    network = result.images["network"].double().flatten(1).numpy()
    for name in ("IS", "ELS"):
        ours = result.images[name].double().flatten(1).numpy()
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, network, strict=True)]
        np.testing.assert_allclose(result.metrics[name]["pearson_r"], r, atol=1e-12)
        assert result.median(name, "pearson_r") == pytest.approx(np.median(r))
        squares = ((ours - network) ** 2).mean(1)
        np.testing.assert_allclose(result.metrics[name]["mse"], squares, atol=1e-12)
        np.testing.assert_allclose(result.metrics[name]["r_squared"], 1 - squares / network.var(1), atol=1e-9)


def test_the_share_of_seeds_won_counts_strictly_higher_r(result):
    r = {name: result.metrics[name]["pearson_r"] for name in result.machines}
    assert result.beats("ELS", "IS") == np.mean(r["ELS"] > r["IS"]) == 1
    assert result.beats("IS", "ELS") == 0
    assert result.beats("ELS", "ELS") == 0
    with pytest.raises(ValueError, match=r"machine must be one of IS, ELS, got 'LS'"):
        result.beats("LS", "IS")


def test_memory_and_creation_are_told_apart(result):
    assert result.nearest["IS"].copies.all()
    assert result.nearest["IS"].indices.tolist() == [4] * 7
    assert not result.nearest["ELS"].copies.any()
    expected = nearest_training_images(result.images["network"], DATA)
    assert result.nearest["network"].distances.tolist() == expected.distances.tolist()
    summary = result.summary()
    assert (summary["IS"]["copies"], summary["ELS"]["copies"]) == (1, 0)


def test_summary_brackets_the_median_and_is_the_same_each_time(result):
    entry = result.summary()["ELS"]["pearson_r"]
    values = result.metrics["ELS"]["pearson_r"]
    assert values.min() <= entry["low"] <= entry["median"] <= entry["high"] <= values.max()
    assert entry["low"] < entry["high"]
    assert result.summary() == result.summary()


def test_the_bootstrap_interval_covers_the_median_as_often_as_it_says():
    from elsewhere.analysis.comparison_result import median_interval

    rng = np.random.default_rng(1)
    intervals = [median_interval(rng.normal(size=32)) for _ in range(150)]
    covered = np.mean([i["low"] <= 0 <= i["high"] for i in intervals])
    # 95 % of 150, give or take three standard errors and the bootstrap's own small-sample error.
    assert 0.87 <= covered <= 1


def test_the_table_has_one_row_a_seed_and_name(result):
    rows = result.table()
    assert [(row["seed"], row["name"]) for row in rows[:4]] == [(0, "IS"), (0, "ELS"), (0, "network"), (1, "IS")]
    assert len(rows) == 7 * 3
    assert rows[4]["pearson_r"] == result.metrics["ELS"]["pearson_r"][1]
    assert rows[2]["pearson_r"] is None
    assert rows[2]["nearest_index"] is not None


def test_two_runs_give_the_same_numbers(result):
    again = compare(**arguments())
    assert again.table() == result.table()
    assert all(torch.equal(again.images[name], result.images[name]) for name in result.images)


def test_machines_without_data_have_no_nearest_image():
    found = compare(**arguments(machines={"blur": Blur(3), "lambda": lambda x, sigma: x * 0.5}))
    assert found.nearest == {}
    assert found.settings["data"] == ""
    assert found.table()[0]["nearest_distance"] is None
    assert "nearest_distance" not in found.summary()["blur"]


def test_labels_are_named_and_reach_everyone():
    class ByLabel(Blur):
        num_classes = 3

        def __call__(self, x, sigma, label=None):
            return super().__call__(x, sigma) * 0 + label[:, None, None, None] / 4 + torch.linspace(0, 0.1, 9)

    found = compare(**arguments(machines={"A": ByLabel(3, DATA)}, network=ByLabel(5), label=[0, 1, 2, 0, 1, 2, 2]))
    assert found.labels == ("cup", "<b>hat</b>", "shoe", "cup", "<b>hat</b>", "shoe", "shoe")
    assert [row["label"] for row in found.table()[::2]] == list(found.labels)
    for name in ("A", "network"):
        assert found.images[name].mean((1, 2, 3)).tolist() == pytest.approx(
            [0.05, 0.3, 0.55, 0.05, 0.3, 0.55, 0.55], abs=1e-6
        )


def test_a_network_trained_on_other_images_is_told(result):
    class Trained(Nearly):
        def __init__(self, fingerprint):
            super().__init__(Blur(LOCALITY), 0.02)
            self.spec = type("Spec", (), {"fingerprint": fingerprint})

    assert result.settings["same_data"] is None
    assert compare(**arguments(network=Trained(DATA.fingerprint()))).settings["same_data"] is True
    assert compare(**arguments(network=Trained("other"))).settings["same_data"] is False


def test_saved_files_parse_back(tmp_path, result):
    result.save(tmp_path / "out")
    names = ["grid.png", "report.html", "results.csv", "results.json", "scatter.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["table"] == result.table()
    assert content["summary"] == result.summary()
    assert content["beats"]["ELS"]["IS"] == 1
    assert content["windows"]["ELS"]["windows"] == [7, 5, 3]
    assert content["settings"]["schedule"] == "cosine(3)"
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["pearson_r"]) for row in rows if row["name"] == "ELS"] == pytest.approx(
        result.metrics["ELS"]["pearson_r"].tolist(), abs=0
    )
    for name in ("grid.png", "scatter.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            picture.load()
            assert min(picture.size) > 100


def test_one_machine_has_no_scatter(tmp_path):
    compare(**arguments(machines={"ELS": Blur(3, DATA)})).save(tmp_path)
    assert not (tmp_path / "scatter.png").exists()
    assert (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    result = compare(**arguments(machines={"blur": Blur(3)}))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write the comparison to .*taken: .*choose another folder") as raised:
        result.save(tmp_path / "taken")
    assert "\n" not in str(raised.value)
    assert (tmp_path / "taken").read_text() == "a file"


def test_an_image_that_cannot_be_drawn_leaves_nothing_behind(tmp_path, result, monkeypatch):
    monkeypatch.setattr("elsewhere.analysis.comparison_files.grid_png", lambda comparison: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        result.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_leading_machine_is_els_or_the_one_that_agrees_best(result):
    assert result.leading == "ELS"
    assert compare(**arguments(machines={"flat": Constant(), "blur": Blur(LOCALITY)})).leading == "blur"
    assert repr(result).startswith("Comparison(7 seeds, median Pearson r: IS ")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"machines": {}}, ValueError, "machines is empty"),
        ({"machines": [Blur()]}, TypeError, "machines must be a dict"),
        ({"machines": {"network": Blur()}}, ValueError, "names other than '', 'network', got 'network'"),
        ({"machines": {" ": Blur()}}, ValueError, "names other than"),
        ({"machines": {"ELS": 3}}, TypeError, "'ELS'. must be callable"),
        ({"network": None}, TypeError, "network must be callable"),
        ({"noise": NOISE[0]}, ValueError, r"noise must be \(B, C, H, W\)"),
        ({"noise": make_noise(2, (1, 8, 9))}, ValueError, "noise is 8x9 pixels, ELS was made for 9x9"),
        ({"noise": make_noise(2, (3, 9, 9))}, ValueError, "noise has 3 channels, ELS was made for 1"),
        ({"noise": NOISE * math.nan}, ValueError, "noise has NaN"),
        ({"noise": NOISE.int()}, TypeError, "floating point"),
        ({"noise": [1.0]}, TypeError, "torch tensor or a NumPy array"),
        ({"label": 3}, ValueError, "IS has no classes"),
        ({"schedule": "cosine"}, TypeError, "schedule must be a Schedule"),
        ({"network": lambda x, sigma: x[:1]}, ValueError, r"network returned shape \(1, 1, 9, 9\)"),
        ({"network": lambda x, sigma: x * math.inf}, ValueError, "output of network has NaN"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message) as raised:
        compare(**arguments(**change))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("label", [-1, 3, [0, 1]])
def test_labels_out_of_range_are_refused(label):
    blur = Blur(3, DATA)
    blur.num_classes = 3
    with pytest.raises(ValueError, match="label must"):
        compare(**arguments(machines={"ELS": blur}, label=label))


def test_a_machine_that_breaks_half_way_is_named_at_once():
    def breaks(x, sigma):
        return x / 0 if sigma < 1 else Blur(3)(x, sigma)

    with pytest.raises(ValueError, match="output of ELS has NaN"):
        compare(**arguments(machines={"ELS": breaks}))
