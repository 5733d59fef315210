"""Published comparisons: their protocols against outputs of the published code, and their rows on toys."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.analysis import mse, pearson_r, r_squared
from elsewhere.analysis.reproduce_files import HEADER, markdown, save_reproduction, table_rows
from elsewhere.analysis.reproduce_protocols import KAMB, PROTOCOLS, PSPC_SIDES, STUDIO, Sampling
from elsewhere.analysis.reproduce_result import Row, summarise
from elsewhere.analysis.reproduce_run import METRICS, UNMEASURED, draw_final, reproduce, seed_values
from elsewhere.machines.table import TABLE
from elsewhere.networks import NetworkSpec, save_network
from elsewhere.schedules import Schedule

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SIDE = 8


def case_of(protocol: Any, key: str) -> Any:
    return next(case for case in protocol.cases if case.key == key)


@pytest.mark.parametrize(("machine", "borders", "name"), [
    ("is", "aware", "IS"), ("ls", "aware", "LS"), ("els", "aware", "bbELS"), ("els", "wrap", "ELS"),
])  # fmt: skip
def test_kamb_draws_what_the_published_code_drew(machine: str, borders: Any, name: str) -> None:
    # trajectories.npz was drawn by the published sampler with the windows of fashion-mnist/unet.
    with np.load(GOLDEN / "trajectories.npz") as golden:
        data = els.ImageSet(torch.from_numpy(golden["images_u8"]))
        noise, final = torch.from_numpy(golden["noise"]), golden[f"{name}_final"]
    windows = case_of(KAMB, "fashion-mnist/unet").windows
    drawn = draw_final(TABLE[machine].make(data, windows, borders), noise, KAMB.machine_run)
    # Float32 sums of up to 625 squares differ by 1e-5 of a logarithm; 19 steps amplify it. Seen: 4e-5.
    assert float((drawn - torch.from_numpy(final)).abs().max()) < 3e-4


def half(x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
    return 0.5 * x


def test_a_run_from_sigma_n_without_clipping_is_the_sampler() -> None:
    noise = els.make_noise(3, (1, 4, 5))
    schedule = els.schedules.karras(7)
    drawn = draw_final(half, noise, Sampling(schedule, "VE"))
    assert torch.equal(drawn, els.sample(half, noise, schedule).images)
    level = schedule.sigmas[0]
    scaled = draw_final(half, noise * level / np.sqrt(1 + level**2), Sampling(schedule, "VP"))
    assert torch.allclose(drawn, scaled, rtol=1e-5)


def test_clipping_changes_the_image_and_not_the_direction() -> None:
    # Two steps by hand: x1 = clip(D0) + s1 / s0 (x0 - D0); the end is clip(D1).
    noise = els.make_noise(2, (1, 3, 3)).double()
    sampling = Sampling(Schedule((2.0, 1.0, 0.0)), clip=True)
    x = noise * np.sqrt(5.0)
    x = (0.5 * x).clamp(-1, 1) + 0.5 * (x - 0.5 * x)
    assert torch.allclose(draw_final(half, noise, sampling), (0.5 * x).clamp(-1, 1), atol=1e-12)


def test_published_numbers_are_those_of_the_paper() -> None:
    medians = {case.key: [case.published[name]["pearson_r"] for name in ("ELS", "LS", "IS")] for case in KAMB.cases}
    assert medians == {
        "mnist/unet": [0.84, 0.83, 0.69], "mnist/resnet": [0.94, 0.84, 0.62],
        "mnist/resnet-circular": [0.73, 0.33, 0.14], "fashion-mnist/unet": [0.91, 0.91, 0.80],
        "fashion-mnist/resnet": [0.90, 0.88, 0.74], "cifar-10/unet": [0.82, 0.80, 0.39],
        "cifar-10/resnet": [0.90, 0.86, 0.43], "cifar-10/unet-attention": [0.75, 0.74, 0.47],
        "celeba/unet": [0.75, 0.81, 0.51], "celeba/resnet": [0.92, 0.88, 0.48],
    }  # fmt: skip


def test_windows_of_kamb_are_read_as_the_published_sampler_reads_them() -> None:
    # Index i is for t = i/20: index 19, the last, is for the noisiest level that a machine sees, t = .95.
    windows = case_of(KAMB, "mnist/unet").windows
    sides = (3, 3, 3, 5, 5, 7, 7, 7, 9, 9, 9, 11, 13, 15, 17, 21, 23, 23, 25, 27)
    for i in range(1, 20):
        assert windows(float(np.tan(np.pi / 2 * i / 20 / 1.008))) == sides[i]
    assert KAMB.machine_run.schedule.steps == 19
    assert KAMB.network_run.schedule.steps == 20


def test_sides_of_composites_are_the_published_ones() -> None:
    # EDM's 18 levels; 32 is the whole image, which the next odd side stands for.
    published = [32] * 7 + [23, 15, 11, 7, 5] + [3] * 6
    levels = els.schedules.karras(18).sigmas[:-1]
    assert [min(PSPC_SIDES(sigma), 32) for sigma in levels] == published


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_are_consistent(name: str) -> None:
    protocol = PROTOCOLS[name]
    methods = {method.name for method in protocol.methods}
    assert len({case.key for case in protocol.cases}) == len(protocol.cases)
    for case in protocol.cases:
        assert set(case.published) <= methods
        for numbers in case.published.values():
            assert set(numbers) <= set(protocol.metrics)
    known = {*METRICS, *UNMEASURED, "speedup"}
    assert set(protocol.metrics) <= known
    assert all(method.machine or method.why for method in protocol.methods)


def test_the_unbiased_r_squared_is_the_published_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, network = torch.randn(2, 4, 3, 5, 5, generator=generator, dtype=torch.float64)
    found = r_squared(ours, network, unbiased=True)
    for i in range(4):
        y, x = network[i].flatten(), ours[i].flatten()
        expected = 1 - float(((x - y) ** 2).sum()) / (float(y.var()) * 75)
        assert abs(float(found[i]) - expected) < 1e-12
    assert bool((found > r_squared(ours, network)).all())


# ---------------------------------------------------------------------------------------------------- on toys


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A set and networks: one trained on it, one on it without labels, one with classes, one on another set."""
    home = tmp_path_factory.mktemp("toys")
    images = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE), dtype=np.uint8)
    np.savez(home / "set.npz", images=images, labels=np.arange(20) % 3)
    data = els.load_images(home / "set.npz")
    prints = {
        "net": (0, data.fingerprint()),
        "plain": (0, els.load_images(home / "set.npz", labels=False).fingerprint()),
        "classes": (3, data.fingerprint()),
        "other": (0, data.take(5).fingerprint()),
        "unknown": (0, ""),
    }
    paths = {"set": str(home / "set.npz")}
    for name, (classes, fingerprint) in prints.items():
        options = {"width": 4, "blocks": 1, "padding": "zeros"}
        spec = NetworkSpec("resnet", 1, (SIDE, SIDE), classes, options, data.name, fingerprint)
        torch.manual_seed(0)
        module = spec.build()
        torch.nn.init.normal_(module.leave.weight, std=0.1)  # type: ignore[union-attr,arg-type]
        paths[name] = str(home / f"{name}.safetensors")
        save_network(paths[name], module, spec)
    return paths


def rows_of(result: Any, case: str) -> list[Row]:
    return [row for row in result.rows if row.case == case]


def test_measured_rows_have_the_numbers_of_the_definition(toys: dict[str, str]) -> None:
    result = reproduce("kamb", {"mnist": toys["set"]}, {"mnist/resnet": toys["net"]}, seeds=3, seed=5)
    case = case_of(KAMB, "mnist/resnet")
    data, net = els.load_images(toys["set"]), els.load_network(toys["net"])
    noise = els.make_noise(3, data.shape, seed=5)
    target = draw_final(net, noise, KAMB.network_run)
    machine = els.LocalScore(data, case.windows)
    r = pearson_r(draw_final(machine, noise, KAMB.machine_run), target).numpy()
    row = next(row for row in rows_of(result, "mnist/resnet") if row.method == "LS")
    assert np.allclose(seed_values(result, "mnist/resnet", "LS", "pearson_r"), r, atol=1e-9)
    assert (row.published, row.seeds) == (0.84, 3)
    assert row.ours == pytest.approx(float(np.median(r)))
    assert row.low is not None
    assert row.low <= row.ours  # type: ignore[operator]
    assert "images of 8 x 8 pixels, published 32 x 32" in row.notes
    assert row.notes[0] == "a network of our own, not the published weights"


def test_circular_rows_wrap_round_the_edges(toys: dict[str, str]) -> None:
    nets = {"mnist/resnet-circular": toys["net"], "mnist/resnet": toys["net"]}
    result = reproduce("kamb", {"mnist": toys["set"]}, nets, seeds=1, machines=["ELS"])
    machines = {key: case["machines"]["ELS"] for key, case in result.settings["cases"].items()}
    assert "borders='wrap'" in machines["mnist/resnet-circular"]
    assert "borders='aware'" in machines["mnist/resnet"]


def test_rows_without_data_or_network_say_what_they_need(toys: dict[str, str]) -> None:
    result = reproduce("kamb", {"mnist": toys["set"]}, {"cifar-10/unet": toys["net"]}, seeds=1)
    assert not result.measured
    assert len(result.rows) == 30
    notes = {row.case: row.notes[0] for row in result.rows}
    assert notes["mnist/unet"] == "needs --network mnist/unet=NETWORK (UNet, zero padding)"
    assert notes["cifar-10/unet"] == "needs --data cifar-10=SOURCE"
    assert notes["celeba/unet"].startswith("needs --data celeba=SOURCE and --network celeba/unet=NETWORK")
    assert all(row.published is not None for row in result.rows)


def test_machines_that_the_table_lacks_are_said_to_be_missing(
    toys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not deleted from the table: that would change its order for the tests after this one.
    known = {name: entry for name, entry in TABLE.items() if name not in ("pca", "wiener", "smoothed", "nearest")}
    monkeypatch.setattr("elsewhere.analysis.reproduce_run.TABLE", known)
    result = reproduce("studio", {"mnist": toys["set"]}, {"mnist/unet": toys["plain"]}, seeds=2)
    rows = {row.method: row for row in rows_of(result, "mnist/unet") if row.metric == "r_squared_unbiased"}
    assert rows["wiener"].notes == ("not available: there is no machine 'wiener' here",)
    assert not rows["wiener"].measured
    assert rows["optimal"].measured
    assert "windows of CIFAR-10's ResNet: none published" not in rows["els"].notes


def test_the_studio_compares_the_clipped_last_prediction_by_means(toys: dict[str, str]) -> None:
    result = reproduce("studio", {"mnist": toys["set"]}, {"mnist/unet": toys["net"]}, seeds=3, machines=["optimal"])
    data, net = els.load_images(toys["set"]), els.load_network(toys["net"])
    noise = els.make_noise(3, data.shape)
    finals = [draw_final(denoiser, noise, STUDIO.machine_run).clamp(-1, 1) for denoiser in (els.IdealScore(data), net)]
    found = {row.metric: row.ours for row in rows_of(result, "mnist/unet") if row.method == "optimal"}
    assert found["mse"] == pytest.approx(float(mse(*finals).mean()))
    assert found["r_squared_unbiased"] == pytest.approx(float(r_squared(*finals, unbiased=True).mean()))
    others = [row for row in rows_of(result, "mnist/unet") if row.method != "optimal"]
    assert all(row.notes == ("not asked for",) for row in others)


class Slow:
    """A machine for tests of what is told of machines that do not exist yet."""

    def __init__(self, data: Any, **settings: Any) -> None:
        if settings.pop("scaled", None) is not None:
            raise TypeError("takes no scaled")
        self.settings = settings

    def __call__(self, x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
        return 0 * x


def test_settings_of_the_case_reach_machines_and_refusals_are_told(
    toys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    class Entry:
        windows = False

        def __init__(self, name: str) -> None:
            self.name = name

        def make(self, data: Any, window: Any, borders: Any, **settings: Any) -> Slow:
            made[self.name] = settings
            return Slow(data, **settings)

    for name in ("pca", "wiener", "smoothed", "nearest"):
        monkeypatch.setitem(TABLE, name, Entry(name))  # type: ignore[arg-type]
    sources, nets = {"mnist": toys["set"]}, {"mnist/unet": toys["net"]}
    result = reproduce("studio", sources, nets, seeds=1, settings={"memory": 2**27})
    assert made["pca"] == {"memory": 2**27, "threshold": 0.005, "published": True}
    assert made["smoothed"] == {"memory": 2**27, "copies": 10, "noise": 1.0}
    nearest = [row for row in rows_of(result, "mnist/unet") if row.method == "nearest_dataset"]
    assert nearest[0].notes == ("cannot be made with the published settings: takes no scaled",)
    assert not nearest[0].measured


def test_speedups_are_ratios_of_seconds(toys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        windows = False

        def make(self, data: Any, *args: Any, **settings: Any) -> Slow:
            return Slow(data)

    for name in ("pca", "golden"):
        monkeypatch.setitem(TABLE, name, Entry())  # type: ignore[arg-type]
    sources, nets = {"afhq": toys["set"]}, {"afhq/unet": toys["net"]}
    result = reproduce("golddiff", sources, nets, seeds=2, machines=["GoldDiff", "PCA"])
    seconds = result.settings["cases"]["afhq/unet"]["seconds"]
    row = next(row for row in rows_of(result, "afhq/unet") if (row.method, row.metric) == ("GoldDiff", "speedup"))
    assert (row.published, row.ours) == (71.0, seconds["PCA"] / seconds["GoldDiff"])
    alone = reproduce("golddiff", sources, nets, seeds=2, machines=["GoldDiff"])
    row = next(row for row in rows_of(alone, "afhq/unet") if (row.method, row.metric) == ("GoldDiff", "speedup"))
    assert (row.ours, row.notes) == (None, ("needs PCA beside it",))
    # MSE of images in [0, 1]: black against the network's clipped image.
    found = next(row for row in rows_of(alone, "afhq/unet") if (row.method, row.metric) == ("GoldDiff", "mse_01"))
    net = els.load_network(toys["net"])
    target = draw_final(net, els.make_noise(2, (1, SIDE, SIDE)), STUDIO.network_run).clamp(-1, 1)
    assert found.ours == pytest.approx(float(((target + 1) / 2 - 0.5).square().mean()))


def test_metrics_that_cannot_be_computed_keep_the_published_number(toys: dict[str, str]) -> None:
    sources, nets = {"cifar-10": toys["set"]}, {"cifar-10/ddpm++": toys["net"]}
    result = reproduce("pspc", sources, nets, seeds=1, machines=["Optimal"])
    rows = {row.metric: row for row in rows_of(result, "cifar-10/ddpm++") if row.method == "Optimal"}
    assert (rows["sscd"].published, rows["sscd"].ours) == (0.35, None)
    assert rows["sscd"].notes == (UNMEASURED["sscd"],)
    assert rows["pearson_r"].measured
    flexible = next(row for row in rows_of(result, "cifar-10/ddpm++") if row.method == "PSPC-Flex")
    assert (flexible.published, flexible.notes) == (0.55, ("not asked for",))


def test_classes_are_drawn_one_at_a_time_where_the_network_knows_them(toys: dict[str, str]) -> None:
    sources = {"fashion-mnist": toys["set"]}
    together = reproduce("kamb", sources, {"fashion-mnist/resnet": toys["net"]}, seeds=1, machines=["IS"])
    apart = reproduce("kamb", sources, {"fashion-mnist/resnet": toys["classes"]}, seeds=1, machines=["IS"])
    note = "all classes together, published one class at a time"
    assert note in together.measured[0].notes
    assert note not in apart.measured[0].notes
    data = els.load_images(toys["set"])
    noise = els.make_noise(1, data.shape)
    first = [draw_final(d, noise, run, torch.tensor([0])) for d, run in (
        (els.IdealScore(data), KAMB.machine_run), (els.load_network(toys["classes"]), KAMB.network_run))]  # fmt: skip
    assert apart.measured[0].ours == pytest.approx(float(pearson_r(*first)))


def test_a_network_of_other_images_is_refused_but_for_a_trial(toys: dict[str, str]) -> None:
    sources = {"mnist": toys["set"]}
    with pytest.raises(ValueError, match="the network was trained on"):
        reproduce("kamb", sources, {"mnist/unet": toys["other"]}, seeds=1)
    trial = reproduce("kamb", sources, {"mnist/unet": toys["other"]}, seeds=1, limit=4, machines=["IS"])
    assert "only the first 4 of 20 images, the network was trained on all" in trial.measured[0].notes
    unknown = reproduce("kamb", sources, {"mnist/unet": toys["unknown"]}, seeds=1, machines=["IS"])
    assert "it is unknown whether the network was trained on these images" in unknown.measured[0].notes


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: reproduce("karras"), "name must be"),
    (lambda: reproduce("kamb", {"imagenet": "x"}), "data must name rows of kamb: .*celeba, got 'imagenet'"),
    (lambda: reproduce("kamb", None, {"mnist": "x"}), "network must name rows of kamb: mnist/unet"),
    (lambda: reproduce("kamb", machines=["els"]), "machines must name rows of kamb: ELS, LS or IS, got 'els'"),
    (lambda: reproduce("kamb", seeds=0), "seeds must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_wishes_say_what_is_wrong(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_files_hold_every_row_and_are_written_as_it_goes(
    toys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[list[int]] = []

    def keep(result: Any, folder: Any) -> None:
        states.append([len(result.measured), len(result.rows)])
        save_reproduction(result, folder)

    monkeypatch.setattr("elsewhere.analysis.reproduce_run.save_reproduction", keep)
    result = reproduce("kamb", {"mnist": toys["set"]}, {"mnist/unet": toys["net"]}, seeds=2, folder=tmp_path)
    assert states == [[0, 30], [1, 30], [2, 30], [3, 30], [3, 30]]
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["format"] == "elsewhere.reproduction/1"
    assert len(content["rows"]) == 30
    assert content["rows"][0]["values"] == pytest.approx(seed_values(result, "mnist/unet", "ELS", "pearson_r"))
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["case"] for line in lines] == [row.case for row in result.rows]
    assert (tmp_path / "table.md").read_text() == markdown(result)


def test_tables_say_a_note_of_a_whole_case_once(toys: dict[str, str]) -> None:
    result = reproduce("kamb", {"mnist": toys["set"]}, {"mnist/unet": toys["net"]}, seeds=1, machines=["LS", "IS"])
    text = markdown(result)
    assert text.count("a network of our own, not the published weights") == 1
    rows = table_rows(result)
    assert {len(row) for row in rows} == {len(HEADER)}
    assert rows[0][:5] == ("mnist/unet", "ELS", "pearson_r", "0.840", "-")
    assert rows[0][-1] == "not asked for"
    assert rows[1][5] == "", "one seed has no interval"


def test_summaries_are_medians_or_means_of_the_defined_values() -> None:
    values = np.array([1.0, 2.0, 6.0, np.nan])
    assert summarise(values, "median")[0] == 2
    assert summarise(values, "mean")[0] == 3
    _, low, high = summarise(values, "mean")
    assert low is not None
    assert high is not None
    assert 1 <= low <= 3 <= high <= 6
    assert summarise(np.array([np.nan]), "mean") == (None, None, None)
    assert summarise(np.array([4.0]), "median") == (4.0, None, None)
