"""Every public call that takes images or masks, on small data: for tests of memory layouts and of torch's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.analysis import metrics, nearest_training_images
from elsewhere.anomalies import count_fingers, count_legs, count_sleeves, finger_tips
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.morphogenesis import GrayScott, State, assess, copying, evolve, measure, pattern_machine
from elsewhere.morphogenesis.films import coloured
from elsewhere.networks.trained import NetworkSpec, TrainedNetwork

SHAPE = (3, 8, 9)
STEPS = els.schedules.cosine(2)
Images = Any
Found = list[Tensor | np.ndarray]


def numbers(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Float32 in [-1, 1] by formula: no generator of torch is involved."""
    values = np.random.default_rng(seed).random((count, *shape), np.float32)
    return torch.from_numpy(2 * values - 1)


def training(count: int = 20, shape: tuple[int, ...] = SHAPE) -> els.ImageSet:
    pixels = np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)
    return els.ImageSet(torch.from_numpy(pixels), torch.from_numpy(np.arange(count) % 2), "toys")


def network() -> TrainedNetwork:
    spec = NetworkSpec("resnet", SHAPE[0], SHAPE[1:], options={"width": 8, "blocks": 1})
    module = spec.build()
    weights = {name: numbers(1, tuple(value.shape), 9)[0] / 8 for name, value in module.state_dict().items()}
    return TrainedNetwork(spec.rebuild(weights), spec)


def machines(cache: Any) -> dict[str, Callable[..., Any]]:
    """Denoisers; with `elsewhere.engine.planner.SEARCH_PLACES` low, "ELS fast" searches."""
    data = training()
    return {
        "IS": els.IdealScore(data),
        "LS": els.LocalScore(data, 3),
        "LS tapered": els.LocalScore(data, 5, taper=True),
        "ELS": els.EquivariantLocalScore(data, 3, engine="exact"),
        "ELS wrap": els.EquivariantLocalScore(data, 5, "wrap", engine="exact"),
        "ELS fast": els.EquivariantLocalScore(data, 3, "torus", engine="fast", cache=cache),
        "network": network(),
    }


def denoise(machine: Any, x: Images) -> Found:
    x0 = machine(x, 1.0, 1 if machine.num_classes else None)
    return [x0, machine(x, 0.1), *([machine.last_error] if isinstance(machine, SoftmaxMachine) else [])]


def scored(machine: Any, x: Images) -> Found:
    return [els.score(machine, x, 0.5)]


def drawn(machine: Any, x: Images) -> Found:
    run = els.sample(machine, x, STEPS, keep=True)
    return [run.images, *run.states, *run.predictions, els.fixed_point(machine, x, max_iters=2).images]


def inpainted(machine: Any, x: Images, mask: Images) -> Found:
    return [els.inpaint(machine, x, mask, STEPS, rounds=2).images]


def restored(machine: Any, x: Images) -> Found:
    hole = np.zeros(SHAPE[1:], bool)
    hole[2:4, 3:5] = True
    operators = els.operators.blur(np.full((3, 3), 1 / 9)), els.operators.mask(hole)
    return [els.restore(machine, x, operator, 0.5) for operator in operators]


def compared(machine: Any, x: Images) -> Found:
    found = els.compare({"LS": machine}, network(), x, schedule=STEPS)
    nearest = found.nearest["LS"]
    return [*found.images.values(), *found.metrics["LS"].values(), nearest.indices, nearest.distances]


def calibrated(machine: Any, x: Images) -> Found:
    found = els.calibrate(machine, network(), x, schedule=STEPS, windows=[3, 5])
    return [np.array(found.details[name]["mean"]) for name in ("cosine", "least-squares")]


def explained(machine: Any, x: Images) -> Found:
    found = els.explain(machine, x, 0.3, top=2)
    run = els.explain_run(machine, els.sample(machine, x, STEPS, keep=True), top=1)
    return [found.image_ids, found.positions, found.weights, found.x0, found.credits(), *(m.weights for m in run)]


def audited(x: Images) -> Found:
    found = els.audit(training(), x, pixels=2, null=5, window=3, shift=1)
    return [found.measures.aligned.distances, found.measures.tiles, np.array(found.verdicts)]


def measured(x: Images, y: Images) -> Found:
    both = (metrics.pearson_r, metrics.cosine_similarity, metrics.r_squared, metrics.mse)
    nearest = nearest_training_images(x, training())
    return [*(metric(x, y) for metric in both), nearest.indices, nearest.distances]


def learnt(data: Images, x: Tensor) -> Found:
    """Training images given as floats."""
    every = (els.IdealScore(data), els.LocalScore(data, 3), els.EquivariantLocalScore(data, 3, engine="exact"))
    return [machine(x, 0.5) for machine in every]


def stored(pixels: Tensor, labels: Tensor) -> Found:
    """Training images given as bytes."""
    data = els.ImageSet(pixels, labels, "toys")
    machine = els.LocalScore(data, 3)
    digest = np.frombuffer(bytes.fromhex(data.fingerprint()), np.uint8)
    return [data.scaled(), digest, machine(numbers(1, SHAPE, 5), 0.5, 1), data.take(3).images]


def counted(images: Images) -> Found:
    """Limbs in (B, 1, 32, 32)."""
    return [*(count(images) for count in (count_fingers, count_legs, count_sleeves)), finger_tips(images[0])]


def patterned(image: Tensor, other: Tensor, wound: Tensor) -> Found:
    """Patterns (32, 32), a second one and a mask."""
    state = evolve(GrayScott(0.035, 0.065), State(1 + image[None] / 4, other[None] / 4), 3)
    found, copied = measure(image), copying(image, other, 3)
    healed = assess(image, other, wound, other, 3)
    grown = pattern_machine(image[None, None])(other[None, None], 0.5)
    figures = [found.wavelength, found.density, copied.distance, copied.window_distance, healed.error]
    return [state.u, state.v, state.images(), grown, coloured(image[None, None]), np.array(figures)]
