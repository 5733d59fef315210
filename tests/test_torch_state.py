"""What a program has set in torch, default dtype, default device or a mode, changes no answer."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.engine import planner
from elsewhere.morphogenesis import disc, rectangle, scattered
from elsewhere.networks import train
from elsewhere.networks.train_settings import TrainSettings, draw_batch
from elsewhere.testing import check_denoiser
from tests import public_calls as calls

FACTORIES = {
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "eye",
    "full",
    "linspace",
    "logspace",
    "ones",
    "rand",
    "randint",
}
FACTORIES |= {"randn", "randperm", "tensor", "zeros"}
# Integers have one dtype whatever the default is.
WHOLE = {"arange", "as_tensor", "asarray", "randint", "randperm"}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    # Nothing can be computed on this device: what lands there by default is found out.
    "meta": lambda: default_device("meta"),
    "meta as context": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "deterministic": deterministic,
}


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[Any]]:
    return STATES[request.param]


def everything(cache: Path) -> Iterator[tuple[str, list[Any]]]:
    """The public calls on small data, machines and networks made anew."""
    machines = calls.machines(cache)
    x, y = (calls.numbers(2, calls.SHAPE, seed) for seed in (2, 3))
    for name, machine in machines.items():
        yield name, calls.denoise(machine, x)
    machine: Any = machines["LS"]
    for call in (calls.scored, calls.drawn, calls.restored, calls.compared, calls.calibrated, calls.explained):
        yield call.__name__, call(machine, x)
    yield "explain", calls.explained(machines["ELS"], x)
    yield "inpaint", calls.inpainted(machine, x, x[0, 0] > 0)
    yield "audit", calls.audited(x)
    yield "metrics", calls.measured(x, y)
    yield "floats", calls.learnt(calls.numbers(20, calls.SHAPE, 4), x)
    yield "bytes", calls.stored(calls.training().images, torch.from_numpy(np.arange(20) % 2))
    image, other = (calls.numbers(1, (32, 32), seed)[0] for seed in (5, 6))
    yield "patterns", calls.patterned(image, other, other > 0)
    yield "wounds", [disc((9, 9), 2.5), rectangle((9, 9), 3, 4)]
    yield "noise", [els.make_noise(2, (1, 4, 4), seed=7), *vars(scattered(2, (8, 8), seed=3)).values()]
    batch = draw_batch(calls.training(), TrainSettings(steps=2, batch=4), 0)
    yield "batch", [batch.x_vp, batch.time, batch.label, batch.target]
    yield "embedded", [els.load_images("fashion-mini", 5).images, els.load_images("hands", 3).images]
    yield "checks", [np.array(check_denoiser(machines["IS"], size=calls.SHAPE[1:], channels=3))]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "SEARCH_PLACES", 400)
        patch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
        yield dict(everything(tmp_path_factory.mktemp("before")))


def test_answers_do_not_depend_on_the_state_of_torch(
    state: Callable[[], AbstractContextManager[Any]], expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    with state():
        found = dict(everything(tmp_path))
    for name, values in expected.items():
        for one, other in zip(found[name], values, strict=True):
            assert one.dtype == other.dtype, name
            assert np.array_equal(read(one), read(other)), name


def read(values: Any) -> Any:
    return values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)


def test_training_does_not_depend_on_the_state_of_torch(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    settings = TrainSettings(steps=2, batch=4, options={"width": 4, "blocks": 1})
    x = calls.numbers(1, calls.SHAPE, 2)
    right = train(calls.training(), tmp_path / "before", settings)(x, 1.0)
    with default_dtype(torch.float64), default_device("meta"), torch.inference_mode():
        found = train(calls.training(), tmp_path / "inside", settings)
        again = els.load_network(str(tmp_path / "inside" / "network.safetensors"))
        assert bool(((found(x, 1.0) - right).abs() < 1e-5).all())
        assert torch.equal(found(x, 1.0), again(x, 1.0))
    assert torch.get_default_dtype() == torch.float32


def test_every_tensor_is_made_with_a_device_and_a_dtype() -> None:
    """What torch's defaults would decide is written out: only so a new tensor does not depend on them."""
    missing = []
    for path in sorted(Path(els.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name = node.func.attr
            if ast.unparse(node.func.value) != "torch" or name not in FACTORIES:
                continue
            wanted = {"device"} if name in WHOLE else {"device", "dtype"}
            lacking = wanted - {keyword.arg for keyword in node.keywords}
            missing += [f"{path.name}:{node.lineno}: torch.{name} without {word}" for word in sorted(lacking)]
    assert not missing
