"""Bad calls of everything public, made from the signatures: a valid call of each, with one argument replaced.

`python -m tests.bad_calls` makes all of them (some 10,000) and prints the faults; the test makes 1,000.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import signal
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

import elsewhere as els
from elsewhere import analysis, anomalies, morphogenesis, networks, schedulers, schedules
from elsewhere.text import WordMatcher
from tests.latents.latent_toys import tiny
from tests.networks.published_toys import kamb_resnet, write_kamb

MODULES = (
    "elsewhere",
    "elsewhere.adapters",
    "elsewhere.analysis",
    "elsewhere.anomalies",
    "elsewhere.data",
    "elsewhere.data.hands",
    "elsewhere.latents",
    "elsewhere.machines",
    "elsewhere.morphogenesis",
    "elsewhere.networks",
    "elsewhere.operators",
    "elsewhere.schedules",
    "elsewhere.testing",
    "elsewhere.textures",
)
MISFITS = ("a machine", "image set", "a run")
"""Right by themselves, they do not go with another argument: the message names either."""

PROPER = (TypeError, ValueError, OSError, ImportError, MemoryError)
INTERNAL = re.compile(
    r"object has no attribute|not subscriptable|unsupported operand|not iterable|takes \d+ positional|"
    r"is not callable|not supported between|ambiguous|can't convert|expected np|must be real number|bad operand|"
    r"unhashable|has no len|cannot be interpreted|Expected all|DefaultCPUAllocator"
)
SECONDS = 5.0

LEFT_OUT = {
    "check_level": "a check",
    "average": "takes what `check` returns; a call of the denoiser checks",
    "BrokenProperty": "an exception: callers catch it and do not make it",
    "predict": "takes what `check` returns; a call of the denoiser checks",
    "layout": "what a machine says to the planner; called with the size of checked images",
    "window_at": "called with checked noise levels",
    "layout_at": "called with the size of checked images and checked noise levels",
    "metric": "called with windows that the machine has",
    "states": "takes what `check` returns; `distributed` checks",
    "trace": "takes what `check` returns; `explain` checks",
    "wraps": "asked by `explain` for windows that the machine has",
    "load_hands": "takes what `load_images` has checked",
    "is_hands": "any string has an answer",
    "show": "opens a window where there is one",
    "Operator": "`restore` judges its functions when it calls them",
}

# ------------------------------------------------------------------------------------------------- valid calls


def clothes(count: int = 6, side: int = 8) -> els.ImageSet:
    index = torch.arange(count * side * side).view(count, 1, side, side)
    images = ((index * 37 + index // 5 * 11) % 256).to(torch.uint8)
    return els.ImageSet(images, torch.arange(count) % 2, "toys", ("one", "two"))


@cache
def values() -> dict[str, Any]:
    """A valid value for every parameter that has no default, by the name of the parameter."""
    folder = Path(tempfile.mkdtemp(prefix="bad-calls-"))
    data = clothes()
    machine = els.EquivariantLocalScore(data, 3)
    noise = els.make_noise(2, data.shape)
    schedule = schedules.cosine(2)
    run = els.sample(machine, noise, schedule, keep=True)
    mosaic = els.explain(machine, run.states[0], run.sigmas[0], top=2)
    calibrated = els.calibrate(machine, machine, noise, schedule=schedule, windows=[3, 5])
    comparison = els.compare({"ELS": machine, "IS": els.IdealScore(data)}, machine, noise, schedule=schedule)
    found = els.audit(data, data.scaled()[:2], pixels=1, shift=1)
    shares = els.transition(data, {"IS": els.IdealScore}, (3,), images=1, schedule=schedule)
    shares.save(folder / "transition")
    pattern = morphogenesis.simulate(morphogenesis.PATTERNS["spots"], (16, 16), steps=300).images()[0, 0]
    spec = networks.NetworkSpec("resnet", 1, (8, 8), 2, {"width": 4, "blocks": 1})
    network = networks.TrainedNetwork(spec.build(), spec)
    networks.save_network(folder / "network.safetensors", network.module, spec)
    said = networks.NetworkSpec("resnet", 1, (8, 8), options=spec.options, text_model="toy", text_width=2)
    with_words = networks.TrainedNetwork(said.build(), said)
    calibrated.save(folder / "locality.json")
    square = els.PatchSettings(3, keys="same place")
    level = {"square": {"mse": 1.0}, "tapered": {"mse": 0.9}}
    details = {"finals": {"windows": [0.9]}, "kept": "windows", "windows": [level]}
    family = els.FamilyCalibration((2.0,), (square,), (0.1,), details=details)
    family.save(folder / "best.json")
    np.save(folder / "images.npy", data.images.numpy())
    Image.fromarray(data.images[0, 0].numpy()).save(folder / "picture.png")
    drawn = els.TextureSettings(window=3, scales=1, steps=2, finish=0)
    wound = torch.zeros(16, 16, dtype=torch.bool)
    wound[4:8, 4:8] = True
    hits = np.array([True, False, True])
    subject = anomalies.Subject("toys", "toys", None, "none", 5, lambda images: np.zeros(len(images), np.int64))
    point = anomalies.Point("IS", "IS", els.IdealScore(data), 1)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:4] = True
    mixes = els.MixSchedule((2.0, 1.0), ({"ELS": 1.0}, {"ELS": 0.5, "IS": 0.5}))
    mixed = els.mix({"ELS": machine, "IS": els.IdealScore(data)}, mixes)
    mixes.save(folder / "mix.json")
    unet = diffusers.UNet2DModel(8, 1, 1, block_out_channels=(4,), norm_num_groups=2, layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False)  # fmt: skip
    attending = networks.NetworkSpec("unet", 1, (8, 8), options={"widths": (8,), "normalise": True, "attention": (0,)})
    attentive = networks.TrainedNetwork(attending.build(), attending)
    attention = els.attention_report({"IS": els.IdealScore(data)}, data, windows=[3], schedule=schedule, count=2)
    (folder / "attention").mkdir()
    (folder / "attention" / "results.json").write_text(attention.to_json())
    write_kamb(folder / "published.pt", kamb_resnet, 8, 1, "zeros", 0, False)
    by_name = els.IdealScore(els.load_images("fashion-mini", limit=5))
    els.as_unet(by_name, diffusers.DDPMScheduler()).save_pretrained(folder / "unet")
    times = schedulers.Preconditioning("flow", "flow", schedulers.FlowTimes())
    autoencoder = tiny(channels=1)
    autoencoder.module.save_pretrained(folder / "autoencoder")
    latents = els.encode(data, autoencoder)
    decoded = els.Decoded(els.IdealScore(latents))
    drawn_latents = els.sample(decoded, els.make_noise(2, latents.shape), schedule, keep=True)
    words = els.ImageSet(data.images, captions=("red cat", "cat", "bus", "tree", "red bus", ""))
    kept = {
        "attentive": attentive, "captioned": els.LocalScore(words, 3),
        "folder": folder, "autoencoder": autoencoder, "latents": latents.images, "encoded": latents,
        "latent_machine": decoded.machine, "decoded": decoded, "latent_run": drawn_latents.latents,
        "preconditioning": times, "recipe": {"machine": "is", "settings": {}},
        "calibrated": calibrated, "family": family, "patch": els.PatchScore(data, square),
        "wiener": els.Wiener(data), "drawn": drawn,
        "instances": [
            attention, attention.networks[0],
            data, machine, els.IdealScore(data), els.LocalScore(data, 3), run, mosaic, calibrated, comparison, found,
            family, shares,
            els.guided(machine, 2.0, 1), els.as_deepinv(machine),
            els.operators.downsample(2),
            autoencoder, autoencoder.field, latents, decoded, drawn_latents,
            with_words, spec, schedule, mixes, mixed, morphogenesis.PATTERNS["spots"], networks.TrainSettings(),
            analysis.Explanation((mosaic,), None, {}), comparison.nearest["ELS"],
            morphogenesis.scattered(1, (8, 8)), point, subject,
            anomalies.Anomalies(subject, (point,), {"IS": np.array([5, 4])}, np.array([5, 5]), {}),
            morphogenesis.Growth("spots", pattern[None, None], pattern[None, None], pattern[None, None]),
            morphogenesis.Recovery("spots", wound, *[pattern[None, None]] * 2, {"ELS": pattern[None, None]}),
            anomalies.rate(hits), anomalies.agreement(hits, hits), morphogenesis.measure(pattern),
            morphogenesis.copying(pattern, pattern, 3), morphogenesis.assess(pattern, pattern, wound, pattern, 3),
            drawn, els.texture(data.take(1), (8, 8), drawn),
            importlib.import_module("elsewhere.data.hands").draw_pose(np.random.default_rng(0)),
        ],
    }  # fmt: skip
    return kept | {
        "data": data, "machine": machine, "denoiser": els.IdealScore(data), "network": machine, "noise": noise,
        "x": noise, "sigma": 1.0, "schedule": schedule, "images": noise, "mask": mask, "run": run, "mosaic": mosaic,
        "mosaics": [mosaic], "training": data, "generated": data, "window": 3, "machines": {"ELS": machine},
        "comparisons": {"toys": comparison}, "count": 2, "shape": (1, 8, 8), "steps": 2, "name": "cosine",
        "prediction": noise, "target": noise, "start": 0, "stop": 2, "labels": [0], "engine": "exact", "index": 0,
        "out": folder / "out", "path": folder / "file.json", "source": folder / "images.npy", "image": pattern,
        "original": pattern, "before": pattern, "wound": wound, "size": (8, 8), "radius": 2.0, "height": 2, "width": 2,
        "system": morphogenesis.PATTERNS["spots"], "state": morphogenesis.scattered(1, (8, 8)), "wavelength": 4.0,
        "originals": pattern[None, None], "hits": hits, "subject": subject, "points": [point], "large": 5, "small": 3,
        "shrink": 0.5, "kind": "resnet", "channels": 1, "module": network.module, "spec": spec,
        "networks": {"IS": machine}, "weights":
        network.module.state_dict(), "step": 1, "other": "IS", "metric": "pearson_r", "limit": 2, "feed": 0.035,
        "kill": 0.065, "down": 0.5, "across": 0.5, "share": 0.5, "rng": np.random.default_rng(0), "way": "ELS",
        "denoisers": {"ELS": machine}, "shares": {"ELS": 1.0}, "unet": unet, "scheduler": diffusers.DDPMScheduler(),
        "y": noise, "operator": els.operators.mask(mask), "missing": mask, "kernel": torch.full((3, 3), 1 / 9),
        "factor": 2, "scale": 2.0, "pose": kept["instances"][-1], "sigmas": (2.0, 1.0), "windows": (5, 3),
        "makers": {"IS": els.IdealScore}, "settings": networks.TrainSettings(
            steps=1, batch=2, options={"width": 4, "blocks": 1}), "device": "cpu",
        "embedding": torch.tensor([0.6, 0.8]),
    }  # fmt: skip


OWN: dict[str, dict[str, Any]] = {
    "ImageSet": {"images": lambda v: v["data"].images, "labels": lambda v: v["data"].labels},
    "Distributed": {"bounds": lambda v: (0, 2, 6)},
    "distributed": {"shards": lambda v: 2},
    "ImageSet.save": {"path": lambda v: v["folder"] / "saved.npz"},
    "Run.save": {"path": lambda v: v["folder"] / "saved.npz"},
    "Texture.save": {"path": lambda v: v["folder"] / "saved.npz"},
    "Schedule": {"sigmas": lambda v: (2.0, 1.0, 0.0)},
    "PatchSchedule": {"settings": lambda v: (els.PatchSettings(5), els.PatchSettings(3))},
    "PatchScore": {"settings": lambda v: els.PatchSettings(3)},
    "linear": {"steps": 2},
    "attention_layers": {"network": lambda v: v["attentive"]},
    "attention_weights": {"network": lambda v: v["attentive"]},
    "within_window": {"network": lambda v: v["attentive"]},
    "attention_report": {"windows": [3], "count": 2, "schedule": lambda v: v["schedule"]},
    "AttentionReport.load": {"path": lambda v: v["folder"] / "attention"},
    "AttentionReport.network": {"name": "IS"},
    "NetworkAttention.rms": {"kind": "image"},
    "NetworkAttention.error": {"kind": "image"},
    "wrap": {"prediction": "flow"},
    "read_published": {"path": lambda v: v["folder"] / "published.pt"},
    "shipped_locality": {"network": "fashion-resnet"},
    "load_network": {"source": lambda v: v["folder"] / "network.safetensors"},
    "read_network": {"path": lambda v: v["folder"] / "network.safetensors"},
    "save_network": {"path": lambda v: v["folder"] / "saved.safetensors"},
    "LocalitySchedule.load": {"path": lambda v: v["folder"] / "locality.json"},
    "MixSchedule.load": {"path": lambda v: v["folder"] / "mix.json"},
    "to_unit": {"images": lambda v: v["data"].images},
    "grow": {"name": "spots", "count": 1},
    "heal": {"name": "spots", "wound": lambda v: torch.eye(64, dtype=torch.bool)},
    "agreement": {"machine": lambda v: v["hits"], "network": lambda v: v["hits"]},
    "finger_tips": {"image": lambda v: v["noise"][0]},
    "Anomalies.wrong": {"name": "IS"},
    "Comparison.median": {"machine": "ELS"},
    "Comparison.beats": {"machine": "ELS"},
    "Comparison.undefined": {"machine": "ELS"},
    "load_autoencoder": {"source": lambda v: v["folder"] / "autoencoder"},
    "Autoencoder.latent_shape": {"height": 8, "width": 8},
    "Autoencoder": {"module": lambda v: v["autoencoder"].module},
    "Decoded": {"machine": lambda v: v["latent_machine"]},
    "Decoded.__call__": {"x": lambda v: v["latents"]},
    "Decoded.check": {"x": lambda v: v["latents"]},
    "Decoded.decode_run": {"run": lambda v: v["latent_run"]},
    "DecodedRun.widget": {"machine": lambda v: v["decoded"]},
    "LatentSet": {"images": lambda v: v["latents"], "labels": lambda v: v["data"].labels},
    "LatentSet.save": {"path": lambda v: v["folder"] / "saved.png"},
    "DecodedRun.save": {"path": lambda v: v["folder"] / "saved.npz"},
    "draw_hands": {"count": 1},
    "draw_pose": {"fingers": 5},
    "fixed_point": {"max_iters": 2},
    "settle": {"most": 2},
    "train": {"restart": True},
    "evolve": {"steps": 1},
    "simulate": {"steps": 1},
    "audit": {"pixels": 1, "shift": 1},
    "transition": {"counts": (3,), "images": 1, "schedule": lambda v: v["schedule"]},
    "Transition": {"points": lambda v: next(one for one in v["instances"] if isinstance(one, els.Transition)).points},
    "Transition.half": {"name": "IS"},
    "Transition.of": {"name": "IS"},
    "Transition.load": {"path": lambda v: v["folder"] / "transition"},
    "explain_images": {"schedule": lambda v: v["schedule"]},
    "calibrate": {"schedule": lambda v: v["schedule"], "windows": [3]},
    "calibrate_family": {"schedule": lambda v: v["schedule"], "keys": ["same place"]},
    "describe_gains": {"found": lambda v: v["family"]},
    "FamilyCalibration": {"settings": lambda v: v["family"].settings, "sigmas": (2.0,), "wiener": (0.1,)},
    "FamilyCalibration.load": {"path": lambda v: v["folder"] / "best.json"},
    "shipped_family": {"network": "fashion-resnet"},
    "best_machine": {"network": "hands-resnet", "data": lambda v: v["data"]},
    "compare": {"schedule": lambda v: v["schedule"]},
    "sample": {"schedule": lambda v: v["schedule"]},
    "guided": {"label": 1},
    **{f"{name}.with_weights": {"weights": [1.0, 0.0, 2.0, 1.0, 1.0, 1.0]}
       for name in ("EquivariantLocalScore", "IdealScore", "LocalScore", "Mix")},
    "prompted": {"denoiser": lambda v: v["captioned"], "data": lambda v: v["captioned"].data, "prompt": "a red cat",
        "encoder": lambda v: WordMatcher()},
    "restore": {"noise": 0.5},
    "inpaint": {"schedule": lambda v: v["schedule"], "rounds": 1},
    "texture": {"image": lambda v: v["noise"][:1].clamp(-1, 1), "settings": lambda v: v["drawn"]},
    "fill": {"image": lambda v: v["noise"][:1].clamp(-1, 1), "settings": lambda v: v["drawn"], "rounds": 1,
        "mask": lambda v: torch.arange(64).view(8, 8) < 3},
    "load_picture": {"path": lambda v: v["folder"] / "picture.png"},
    "check_denoiser": {"denoiser": lambda v: lambda x, sigma, label=None: x * 0, "size": (8, 8), "skip": ("numpy",)},
    "save_calibration_plots": {"schedule": lambda v: v["calibrated"], "folder": lambda v: v["folder"]},
}  # fmt: skip
"""Where the value by name does not do, and settings that make a call fast."""


@dataclass(frozen=True)
class Subject:
    """One public callable, and arguments with which it works."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, Any]
    parameters: dict[str, Any]


def subjects() -> Iterator[Subject]:
    """Everything public that takes arguments."""
    done: set[Any] = set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None) or [
            n for n, thing in vars(module).items()
            if not n.startswith("_") and getattr(thing, "__module__", "") == module_name
        ]  # fmt: skip
        for name in names:
            thing = getattr(module, name)
            if callable(thing) and name not in LEFT_OUT and thing not in done:
                done.add(thing)
                yield from _subject(name, thing)
    for instance in values()["instances"]:
        for name, member in inspect.getmembers(type(instance), inspect.isroutine):
            public = not name.startswith("_") or name == "__call__"
            if public and name not in LEFT_OUT and member.__module__.startswith("elsewhere"):
                whole = f"{type(instance).__name__}.{name}"
                yield from _subject(whole, getattr(instance, name))


def _subject(name: str, call: Callable[..., Any]) -> Iterator[Subject]:
    owner = call.__init__ if isinstance(call, type) and not is_dataclass(call) else call
    parameters = _parameters(call, owner)
    if not parameters:
        return
    instances = {type(instance): instance for instance in values()["instances"]}
    if isinstance(call, type) and is_dataclass(call) and call in instances:
        arguments = {field.name: getattr(instances[call], field.name) for field in fields(call) if field.init}
    else:
        own, known = OWN.get(name, {}), values()
        own = {key: value(known) if callable(value) else value for key, value in own.items() if key in parameters}
        required = [key for key, (_hint, default) in parameters.items() if default is inspect.Parameter.empty]
        arguments = {key: own[key] if key in own else known[key] for key in required} | own
    yield Subject(name, call, arguments, {key: hint for key, (hint, _default) in parameters.items()})


def _parameters(call: Any, owner: Any) -> dict[str, tuple[str, Any]]:
    """Name -> annotation as it is written, and default. A class that passes settings on takes those of its bases."""
    found: dict[str, tuple[str, Any]] = {}
    bases = [vars(base)["__init__"] for base in call.__mro__ if "__init__" in vars(base) and base is not object] if (
        isinstance(call, type) and not is_dataclass(call) and not issubclass(call, torch.nn.Module)
    ) else [owner]  # fmt: skip
    for one in bases:
        parameters = inspect.signature(one).parameters
        for key, parameter in parameters.items():
            if key != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(key, (str(parameter.annotation), parameter.default))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


# ---------------------------------------------------------------------------------------------------- bad values


def _structured() -> np.ndarray:
    return np.zeros((2, 1, 8, 8), dtype=[("a", "f4"), ("b", "f4")])


class Faulty:
    """A thing that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.zeros(2, 1, 8, 8), 0.1, 0, torch.quint8)


POOL: dict[str, tuple[str, Callable[[], Any]]] = {
    "None": ("none", lambda: None),
    "True": ("flag", lambda: True),
    "complex": ("complex", lambda: 1 + 2j),
    "bytes": ("bytes", lambda: b"bytes"),
    "set": ("set", lambda: {1, 2}),
    "object": ("object", object),
    "faulty": ("object", Faulty),
    "class": ("class", lambda: els.IdealScore),
    "class int": ("class", lambda: int),
    "module": ("module", lambda: sys),
    "exception": ("object", lambda: ValueError("no value")),
    "iterator": ("iterator", lambda: iter([1, 2])),
    "no arguments": ("function", lambda: lambda: None),
    "answers None": ("function", lambda: lambda x, sigma, label=None: None),
    "answers another shape": ("function", lambda: lambda x, sigma, label=None: x[..., :1]),
    "answers NaN": ("function", lambda: lambda x, sigma, label=None: x * float("nan")),
    "dict": ("dict", lambda: {}),
    "dict of int": ("dict", lambda: {1: 2}),
    "dict of None": ("dict", lambda: {"a": None}),
    "empty list": ("list", lambda: []),
    "list of str": ("list", lambda: ["a", "b"]),
    "list of None": ("list", lambda: [None, None]),
    "ragged": ("list", lambda: [[1], [2, 3]]),
    "list of NaN": ("list", lambda: [float("nan"), 0.0]),
    "range": ("list", lambda: range(-3, 0)),
    "minus one": ("whole", lambda: -1),
    "zero": ("whole", lambda: 0),
    "2**70": ("whole", lambda: 2**70),
    "10**400": ("whole", lambda: 10**400),
    "10**5000": ("whole", lambda: 10**5000),
    "half": ("real", lambda: 2.5),
    "NaN": ("real", lambda: float("nan")),
    "infinity": ("real", lambda: float("inf")),
    "1e300": ("real", lambda: 1e300),
    "negative": ("real", lambda: -0.5),
    "empty text": ("text", lambda: ""),
    "nonsense": ("text", lambda: "nonsense"),
    "null character": ("text", lambda: "a\0b"),
    "cuda:99": ("text", lambda: "cuda:99"),
    "long text": ("text", lambda: "x" * 10_000),
    "device": ("device", lambda: torch.device("meta")),
    "dtype": ("dtype", lambda: torch.int32),
    "generator": ("object", torch.Generator),
    "sparse": ("tensor", lambda: torch.zeros(2, 1, 8, 8).to_sparse()),
    "meta": ("tensor", lambda: torch.zeros(2, 1, 8, 8, device="meta")),
    "float8": ("tensor", lambda: torch.zeros(2, 1, 8, 8).to(torch.float8_e4m3fn)),
    "quantized": ("tensor", _quantized),
    "complex tensor": ("tensor", lambda: torch.zeros(2, 1, 8, 8, dtype=torch.complex64)),
    "bool tensor": ("tensor", lambda: torch.zeros(2, 1, 8, 8, dtype=torch.bool)),
    "int tensor": ("tensor", lambda: torch.full((2, 1, 8, 8), -1)),
    "NaN tensor": ("tensor", lambda: torch.full((2, 1, 8, 8), float("nan"))),
    "empty tensor": ("tensor", lambda: torch.zeros(0, 1, 8, 8)),
    "scalar tensor": ("tensor", lambda: torch.tensor(-1.0)),
    "five axes": ("tensor", lambda: torch.zeros(1, 2, 1, 8, 8)),
    "two channels": ("tensor", lambda: torch.zeros(2, 2, 8, 8)),
    "huge tensor": ("tensor", lambda: torch.zeros(1, 1, 1, 1).expand(2, 1, 2**20, 2**20)),
    "object array": ("array", lambda: np.array([[None, "a"]], dtype=object)),
    "dates": ("array", lambda: np.zeros((2, 1, 8, 8), dtype="datetime64[s]")),
    "structured": ("array", _structured),
    "text array": ("array", lambda: np.array(["a", "b"])),
    "NaN array": ("array", lambda: np.full((2, 1, 8, 8), np.nan, np.float32)),
    "long double": ("array", lambda: np.zeros((2, 1, 8, 8), np.longdouble)),
    "empty array": ("array", lambda: np.zeros((0, 1, 8, 8), np.float32)),
    "flat array": ("array", lambda: np.zeros(3, np.float32)),
    "int array": ("array", lambda: np.full((2, 1, 8, 8), 300)),
    "schedule": ("Schedule", lambda: schedules.cosine(3)),
    "locality": ("LocalitySchedule", lambda: els.LocalitySchedule((1.0,), (3,))),
    "image set": ("ImageSet", lambda: clothes(2, 5)),
    "a machine": ("denoiser", lambda: els.IdealScore(clothes(2, 5))),
    "a run": ("Run", lambda: els.Run(torch.zeros(1, 1, 8, 8), (1.0, 0.0))),
}
"""Values by name: the kind, and how to make one."""

KINDS = (
    (r"\bNone\b", {"none"}),
    (r"\bbool\b", {"flag"}),
    (r"\bint\b", {"whole"}),
    (r"\bfloat\b", {"whole", "real"}),
    (r"\bstr\b|Literal|Borders|Engine|WindowedName|\bPath\b|PathLike", {"text"}),
    (r"Tensor|Data\b|Label|ndarray|NDArray|Bools|Integers|Array", set()),
    (r"\bTensor\b|\bData\b|\bLabel\b|^Array$", {"tensor"}),
    (r"ndarray|NDArray|\bData\b|\bLabel\b|Bools|Integers|^Array$", {"array"}),
    (r"\bLabel\b", {"whole", "none", "list"}),
    (r"\bWindow\b", {"whole", "LocalitySchedule"}),
    (r"\bData\b|ImageSet|TrainingImages", {"ImageSet"}),
    (r"torch\.device", {"device", "text"}),
    (r"torch\.dtype", {"dtype"}),
    (r"Sequence|Collection|tuple\[|list\[", {"list"}),
    (r"Collection", {"set"}),
    (r"Iterable", {"list", "iterator", "set"}),
    (r"Mapping|dict\[", {"dict"}),
    (r"DenoiserLike|Callable|WindowedMachine", {"function", "denoiser"}),
    (r"(?<!Locality)Schedule\b", {"Schedule"}),
    (r"LocalitySchedule", {"LocalitySchedule"}),
    (r"\bRun\b", {"Run"}),
    (r"\bRequest\b", set()),
)
"""Which kinds of values an annotation allows, by what is written in it."""


def kinds(annotation: str) -> set[str]:
    """Kinds of values that may be right for an annotation; of the items of a container nothing is known."""
    outer = re.sub(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]", lambda m: "[]", annotation)
    if "Literal" in annotation:
        outer += " str"
    found: set[str] = set()
    for pattern, allowed in KINDS:
        if re.search(pattern, outer):
            found |= allowed
    return found


RECORDS = (
    "Agreement|Anomalies|Audit|Comparison|Copying|DecodedRun|Explanation|Field|Growth|Healing|Mosaic|Nearest|Pattern|Pose|Rate|"
    "Recovery|Run|Texture"
)
"""What the library makes: the kinds of its fields are checked, not what was found."""

LEGAL: tuple[tuple[str, str, str, str], ...] = (
    (".*", "schedule", "schedule", "a schedule"),
    (".*", "label", "zero", "a class"),
    (".*", "seed", "zero", "a seed"),
    ("guided", "negative", "zero", "a class"),
    ("guided", "scale", "zero|half", "a scale"),
    ("prompted", "temperature", "half", "a temperature"),
    ("prompted", "guidance", "zero|half", "a scale"),
    ("prompted", "data", "image set", "images with captions"),
    (".*with_weights", "weights", "none", "once each"),
    ("guided", "away", "answers.*|a machine", "judged when it is called"),
    ("guided|as_deepinv", "denoiser", "answers.*|a machine", "judged when it is called"),
    ("restore", "noise", "half", "a noise level"),
    ("Operator.__call__", "images", "two channels", "operators take any number of channels"),
    ("audit", "shift|pixels", "zero", "none of them"),
    ("transition", "networks", "dict", "none"),
    (".*", "about|settings|details|options|training", "dict.*", "anything may be put on record"),
    (".*", "name|limb|data|network|machine|fingerprint|command", ".*text|nonsense|null character|cuda:99", "words"),
    (".*", "path|folder|out|cache", "nonsense|cuda:99", "a file may be called so"),
    (".*", "sigma", "half", "a noise level"),
    ("fixed_point|settle", "tolerance", "zero|half|1e300", "a difference"),
    ("check_denoiser", "tolerance", "zero|half|1e300", "a difference"),
    ("check_denoiser", "denoiser", "answers.*|a machine", "raises BrokenProperty, as it should"),
    ("check_denoiser", "num_classes", "zero", "no classes"),
    ("check_denoiser|EquivariantLocalScore.prepare", "skip|labels", "empty list|list of None", "none, or all together"),
    (".*Score.*", "window", "locality", "windows for each noise level"),
    (".*Score|train", "data", "image set", "images"),
    (".*Score", "data", "two channels", "any number of channels"),
    ("LatentSet", "left_out", "dict", "nothing was left out"),
    ("LatentSet", "images", "two channels", "right latents; the labels do not match them"),
    ("(ImageSet|LatentSet)", "classes", "empty list|list of str", "no names, or two for two classes"),
    ("(ImageSet|LatentSet)", "captions", "list of str", "two captions for two images"),
    ("(ImageSet|LatentSet).rows", "index", "range|minus one", "numbers, or the last one, as in a list"),
    ("inpaint", "mask", "bool tensor", "nothing is missing"),
    ("karras", "sigma_min|sigma_max|rho", "half", "a noise level"),
    ("GrayScott.growth_rate", ".*", "minus one|zero|half|1e300|negative", "a wave number"),
    ("TextureSettings", "finish", "zero", "none"),
    ("TextureSettings|PatchSettings", "fold", "half", "a width"),
    ("TrainSettings.rate", "step", "zero", "the first step"),
    (".*", "index", "zero", "the first"),
    ("count_.*", "images", "two channels", "channels are averaged"),
    ("Point", "denoiser", "answers.*|a machine", "asked later"),
    ("Point", "shrink", "zero|half|infinity|1e300", "a noise level"),
    ("Point", "machine", ".*text|nonsense|null character|cuda:99", "a title"),
    ("Subject", "normal", "zero", "no limbs"),
    ("Subject", "count", "class.*|no arguments|answers.*|locality|a machine", "called later"),
    ("two_windows", "shrink", "zero|half|infinity|1e300", "a noise level"),
    ("to_uint8", "images", "empty tensor|scalar tensor|five axes|two channels", "any shape"),
    ("GrayScott", "feed|kill", "half|zero", "a rate"),
    ("disc", "radius", "zero|half|1e300", "nothing or all of it"),
    ("evolve|simulate", "steps", "zero", "no step"),
    ("growth_locality", "wavelength", "half", "a wavelength"),
    ("NetworkSpec|TrainSettings", "kind", ".*text|nonsense|null character|cuda:99", "`build` knows the kinds"),
    ("NetworkSpec", "num_classes|text_width", "zero", "no classes, no words"),
    ("NetworkSpec", "text_model", "empty text", "no words"),
    ("TrainSettings", "text_model", ".*text|nonsense|null character|cuda:99", "`train` knows the encoders"),
    ("TrainSettings", "warmup|ema|label_dropout", "zero", "none of it"),
    ("wrap", "time", "class.*|no arguments|answers.*|locality|a machine", "called later"),
    ("wrap|as_unet|.*Network", "num_classes", "zero", "no classes"),
    ("load_network", "source", "answers.*|a machine", "returned as it is"),
    ("as_unet|recipe_of", "denoiser|machine", "a machine", "any machine"),
    ("machine_from", "data", "image set", "images"),
    ("wrap", "sigma_data", "half", "a standard deviation"),
    ("State.images", "low|high", "minus one|zero|half|negative", "a concentration"),
)
"""Values that look bad and are right: callable, parameter and value as patterns, and why."""


@dataclass(frozen=True)
class Case:
    """One bad call."""

    subject: Subject
    parameter: str
    value: str

    def __str__(self) -> str:
        return f"{self.subject.name}({self.parameter}={self.value})"


def cases() -> Iterator[Case]:
    """All bad calls."""
    for subject in subjects():
        for parameter, annotation in subject.parameters.items():
            allowed = kinds(annotation)
            for value, (kind, _) in POOL.items():
                record = re.fullmatch(RECORDS, subject.name) and kind in allowed
                right = kind in allowed and kind in ("none", "flag")
                if not record and not right and not _legal(subject.name, parameter, value):
                    yield Case(subject, parameter, value)


def _legal(name: str, parameter: str, value: str) -> bool:
    return any(
        re.fullmatch(a, name) and re.fullmatch(b, parameter) and re.fullmatch(c, value) for a, b, c, _why in LEGAL
    )


def chosen(count: int) -> list[Case]:
    """So many of all bad calls: some of every parameter, the same ones each time."""
    turns: dict[tuple[str, str], list[Case]] = {}
    for case in cases():
        turns.setdefault((case.subject.name, case.parameter), []).append(case)
    for some in turns.values():
        some.sort(key=lambda case: zlib.crc32(str(case).encode()))
    depth = max(map(len, turns.values()))
    ordered = [some[turn] for turn in range(depth) for some in turns.values() if turn < len(some)]
    return ordered[:count]


# -------------------------------------------------------------------------------------------------------- verdict


class TooLong(BaseException):
    """A call took more than SECONDS."""


def fault(case: Case) -> str | None:
    """What is wrong with how a bad call ends; None where the right error comes soon."""
    arguments = {**case.subject.arguments, case.parameter: POOL[case.value][1]()}
    try:
        with _limit():
            result = case.subject.call(**arguments)
            if inspect.isgenerator(result):
                next(result)
    except TooLong:
        return f"took more than {SECONDS:g} s"
    except PROPER as error:
        text, value = str(error), arguments[case.parameter]
        named = case.subject.parameters if case.value in MISFITS else [case.parameter]
        words = rf"(?<![A-Za-z])({'|'.join(named)})(?![A-Za-z])"
        file = isinstance(value, str) and repr(value)[1:40] in text
        if not re.search(words, text) and not file:
            return f"does not name {case.parameter}: {type(error).__name__}: {text[:200]}"
        if INTERNAL.search(text):
            return f"speaks of internals: {type(error).__name__}: {text[:200]}"
        return None
    except BaseException as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    return "was accepted"


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def little_memory(spare: int = 4 * 2**30) -> Iterator[None]:
    """A block that cannot take much more memory than the process has."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def main() -> None:
    torch.set_num_threads(1)
    total, faults = 0, 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), little_memory():
        for case in cases():
            if len(sys.argv) > 1 and not re.search(sys.argv[1], str(case)):
                continue
            total += 1
            found = fault(case)
            if found:
                faults += 1
                print(f"{case}: {found}", flush=True)
    print(f"{faults} faults in {total} bad calls")


if __name__ == "__main__":
    main()
