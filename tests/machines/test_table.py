"""Every machine of the table does what denoisers do, and the table says of it what is so."""

from __future__ import annotations

import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere import factory, machines
from elsewhere.analysis.report import FULL_NAMES
from elsewhere.machines import table
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.machine import Machine
from elsewhere.machines.table import MACHINES, TABLE, Entry
from elsewhere.machines.windowed import WindowedMachine
from elsewhere.testing import PROPERTIES, check_denoiser

ROOT = Path(__file__).resolve().parents[2]
every_machine = pytest.mark.parametrize("entry", MACHINES, ids=lambda entry: entry.name)


def images(channels: int = 1, count: int = 12, side: int = 6) -> els.ImageSet:
    """Random images of three classes."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return els.ImageSet(pixels, torch.arange(count) % 3, "toys")


@every_machine
@pytest.mark.parametrize("channels", [1, 3])
def test_every_machine_has_the_properties_of_a_denoiser(entry: Entry, channels: int) -> None:
    machine = entry.make(images(channels), window=3, borders="wrap")
    assert check_denoiser(machine, channels, (6, 6), num_classes=3) == tuple(PROPERTIES)


@every_machine
def test_little_noise_leaves_an_image_that_is_known(entry: Entry) -> None:
    data = images()
    x = data.scaled()[:3]
    # No two windows of random bytes are nearer than 2 / 255 in every pixel.
    torch.testing.assert_close(entry.make(data, window=3)(x, 1e-3), x, atol=1e-4, rtol=0)


@every_machine
def test_much_noise_leaves_the_mean_of_the_values(entry: Entry) -> None:
    data = images()
    x = 1e5 * els.make_noise(1, data.shape, 0)
    if entry.name in ("nearest", "golden"):
        pytest.skip("one image, or a choice of them, at any noise level: see test_family.py")
    # The weights of keys at a distance d differ by x d / sigma^2, here about 1e-4.
    found = entry.make(data, window=3, borders="wrap")(x, 1e5)
    torch.testing.assert_close(found, expected_mean(entry, data), atol=3e-3, rtol=0)


def expected_mean(entry: Entry, data: els.ImageSet) -> Tensor:
    """The mean of all values that the documentation's table names: at the same place, or at all inner places."""
    pixels = data.scaled()
    if "shift" in entry.formulas[0].keys:
        return pixels.mean((0, 2, 3), keepdim=True).expand(1, *data.shape)
    if "same place" in entry.formulas[0].keys or not entry.windows:
        return pixels.mean(0, keepdim=True)
    return pixels[:, :, 1:-1, 1:-1].mean().expand(1, *data.shape)


@every_machine
def test_the_table_says_what_a_machine_takes(entry: Entry) -> None:
    machine = entry.load()
    assert issubclass(machine, Machine)
    assert issubclass(machine, SoftmaxMachine) == entry.averages
    assert issubclass(machine, WindowedMachine) == entry.windows
    assert ("borders" in inspect.signature(machine).parameters) == entry.borders
    # Settings of the engine are for those that have one.
    made = entry.make(images(), window=3, engine="exact", tolerance=1e-3, memory=2**27)
    assert made.memory == 2**27
    if isinstance(made, SoftmaxMachine):
        shared = [not region.is_own_place for region in made.layout(*made.image_size, 3).regions]
        assert any(shared) == entry.searchable, "the fast engine searches windows that several pixels share"
    assert entry.name == entry.name.lower()
    # Machines without windows and borders leave these arguments alone.
    assert isinstance(entry.make(images(), window=3, borders="wrap"), machine)


@every_machine
def test_every_machine_is_exported_and_explained(entry: Entry) -> None:
    assert getattr(machines, entry.class_name) is entry.load()
    assert entry.class_name in machines.__all__
    assert getattr(els, entry.class_name) is entry.load()
    documented = inspect.getdoc(entry.load()) or ""
    assert re.search(r"\b(19|20)\d\d\b", documented), "the paper is cited"
    assert ">>> " in documented
    assert FULL_NAMES[entry.report_name] == entry.title, "reports give another title"


@every_machine
def test_the_factory_makes_every_machine(entry: Entry) -> None:
    made, source = factory.choose_machines([entry.name], images(), None, "wrap", 3 if entry.windows else None)
    assert [*made] == [entry.report_name]
    assert isinstance(made[entry.report_name], entry.load())
    assert ("3 x 3 pixels" in source) == entry.windows
    windowless = not entry.windows
    if windowless:
        with pytest.raises(ValueError, match=rf"the {entry.title} machine \({entry.name}\) has no window"):
            factory.choose_machines([entry.name], images(), None, "wrap", 3)


def test_a_new_machine_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands in the table is found by its name; nothing else must know of it."""
    formula = table.Formula("the whole image", "every training image", "that image")
    entry = Entry("mean", "ideal.IdealScore", "mean", (formula,))
    monkeypatch.setitem(TABLE, "mean", entry)
    made, _ = factory.choose_machines(["mean"], images(), None, "aware")
    assert isinstance(made["MEAN"], els.IdealScore)


def test_the_choices_of_commands_are_the_names_of_the_table() -> None:
    assert get_args(table.MachineName) == tuple(TABLE)
    assert (*TABLE, "best", "network") == table.CHOICES
    assert get_args(table.WindowedName) == tuple(name for name, entry in TABLE.items() if entry.windows)
    assert table.DEFAULT in TABLE
    assert set(table.DEFAULTS) <= set(TABLE)
    assert table.DEFAULTS == ("is", "ls", "els"), "what commands draw by default costs what it did"


@every_machine
def test_every_machine_that_averages_is_explained(entry: Entry) -> None:
    machine, x = entry.make(images(), window=3), els.make_noise(2, (1, 6, 6))
    if not entry.averages:
        with pytest.raises(TypeError, match="softmax average"):
            els.explain(machine, x, 1.0)
        return
    mosaic = els.explain(machine, x, 1.0, top=None)
    torch.testing.assert_close(mosaic.x0, machine(x, 1.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(mosaic.credits().sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-5)


def test_the_short_name_of_the_equivariant_machine() -> None:
    assert els.ESM is els.EquivariantScore
    assert machines.ESM is els.EquivariantScore


def test_the_table_of_the_documentation_is_the_table() -> None:
    render = runpy.run_path(str(ROOT / "scripts/machine_docs.py"))["render"]
    page = (ROOT / "docs/machines-and-formulas.md").read_text(encoding="utf-8")
    assert page == render(page), "run `make docs`"
    for entry in MACHINES:
        assert f"| `{entry.class_name}` ({entry.report_name})" in page


def test_names_are_read_without_torch() -> None:
    code = "import sys, elsewhere.machines.table; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
