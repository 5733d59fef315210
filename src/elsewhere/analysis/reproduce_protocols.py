"""Published comparisons of analytic machines with networks, as data: protocol, settings, and printed numbers.

Numbers that no text states are not here: tables that exist only as pictures, and curves of figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from elsewhere.machines.locality import LocalitySchedule
from elsewhere.schedules import Schedule, cosine, karras, leading

Numbers = Mapping[str, float]
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Sampling:
    """A deterministic reverse process as it was run.

    Attributes:
        schedule: noise levels.
        start: what noise n becomes. "VP": the state a x of a variance-preserving process is n, so x = sqrt(1 + sigma^2)
            n; "VE": x = sigma n.
        clip: whether every prediction is clipped to [-1, 1] before the step, as diffusers' DDIM does by default.
    """

    schedule: Schedule
    start: Literal["VP", "VE"] = "VP"
    clip: bool = False

    @property
    def scale(self) -> float:
        """What the noise is multiplied by."""
        first = self.schedule.sigmas[0]
        return math.sqrt(1 + first**2) if self.start == "VP" else first


@dataclass(frozen=True)
class Method:
    """A machine of a published table.

    Attributes:
        name: as it is called there.
        machine: its name in the table of machines; empty for one that this package does not have.
        settings: arguments of its class.
        why: for a machine that is not there: what it would need.
    """

    name: str
    machine: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Case:
    """A network on a set of images: some rows of a published table.

    Attributes:
        key: what --network calls it, "fashion-mnist/resnet"; before the slash the set, as --data calls it.
        network: in words.
        size: side of the published images in pixels.
        conditional: whether network and machines were asked for one class at a time.
        borders: of machines that have them.
        windows: published windows, or None.
        settings: further arguments of a machine for this set: name in the table -> arguments.
        published: name of a method -> metric -> number.
    """

    key: str
    network: str
    size: int
    conditional: bool = False
    borders: Literal["aware", "wrap"] = "aware"
    windows: LocalitySchedule | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[str, Numbers] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The set, as --data calls it."""
        return self.key.partition("/")[0]


@dataclass(frozen=True)
class Protocol:
    """A published comparison.

    Attributes:
        name: what users type.
        paper: authors, year, title, and where to find it.
        source: where the numbers here were read.
        network_run, machine_run: how each was sampled.
        seeds: how many noises.
        statistic: over them.
        metrics: names of metrics (`reproduce_run.METRICS`), in the order of the table.
        clamp: whether final images are clipped to [-1, 1] before they are compared.
        methods, cases: rows of the table.
        notes: what a reader has to know.
    """

    name: str
    paper: str
    source: str
    network_run: Sampling
    machine_run: Sampling
    seeds: int
    statistic: Literal["median", "mean"]
    metrics: tuple[str, ...]
    clamp: bool
    methods: tuple[Method, ...]
    cases: tuple[Case, ...]
    notes: tuple[str, ...] = ()


COSINE = cosine(20)
KAMB_LEVELS = Schedule(COSINE.sigmas[1:], "cosine(20) without its first level")
"""The published sampler of the machines begins at t = 19/20; the network's at t = 1."""


def _windows(*sides: int) -> LocalitySchedule:
    """Published sides: the one with index i is for t = i/20 (the sampler does not use the first)."""
    return LocalitySchedule(KAMB_LEVELS.sigmas[:-1], sides[:0:-1], {"origin": "Kamb & Ganguli (2025)"})


def _r(els: float, ls: float, ideal: float) -> dict[str, dict[str, float]]:
    return {"ELS": {"pearson_r": els}, "LS": {"pearson_r": ls}, "IS": {"pearson_r": ideal}}


RESNET = "ResNet, six 3x3 layers of width 256, zero padding"
UNET = "UNet, zero padding"

KAMB = Protocol(
    "kamb",
    "Kamb & Ganguli (2025), An analytic theory of creativity in convolutional diffusion models, arXiv 2412.20292",
    "the paper's table and the windows published with its code",
    Sampling(COSINE),
    Sampling(KAMB_LEVELS),
    100,
    "median",
    ("pearson_r",),
    False,
    (Method("ELS", "els"), Method("LS", "ls"), Method("IS", "is")),
    (
        Case("mnist/unet", UNET, 32, published=_r(0.84, 0.83, 0.69),
             windows=_windows(3, 3, 3, 5, 5, 7, 7, 7, 9, 9, 9, 11, 13, 15, 17, 21, 23, 23, 25, 27)),
        Case("mnist/resnet", RESNET, 32, published=_r(0.94, 0.84, 0.62),
             windows=_windows(3, 3, 5, 5, 5, 7, 7, 7, 9, 9, 11, 11, 11, 11, 13, 15, 15, 15, 15, 15)),
        Case("mnist/resnet-circular", RESNET.replace("zero", "circular"), 32, borders="wrap",
             published=_r(0.73, 0.33, 0.14),
             windows=_windows(3, 3, 5, 5, 5, 7, 7, 9, 9, 9, 11, 11, 11, 11, 9, 9, 7, 7, 3, 3)),
        Case("fashion-mnist/unet", UNET, 32, True, published=_r(0.91, 0.91, 0.80),
             windows=_windows(3, 3, 5, 5, 7, 7, 7, 9, 11, 11, 11, 13, 15, 15, 21, 23, 25, 25, 25, 25)),
        Case("fashion-mnist/resnet", RESNET, 32, True, published=_r(0.90, 0.88, 0.74),
             windows=_windows(3, 3, 5, 5, 7, 7, 9, 9, 9, 11, 11, 11, 13, 13, 13, 15, 15, 15, 17, 17)),
        Case("cifar-10/unet", UNET, 32, True, published=_r(0.82, 0.80, 0.39),
             windows=_windows(3, 3, 3, 3, 5, 5, 5, 5, 7, 7, 7, 7, 9, 9, 11, 13, 13, 15, 17, 25)),
        Case("cifar-10/resnet", RESNET, 32, True, published=_r(0.90, 0.86, 0.43),
             windows=_windows(3, 3, 3, 3, 5, 5, 5, 7, 7, 7, 7, 9, 9, 11, 11, 13, 15, 17, 17, 17)),
        Case("cifar-10/unet-attention", "UNet with self-attention", 32, True, published=_r(0.75, 0.74, 0.47)),
        Case("celeba/unet", UNET, 32, published=_r(0.75, 0.81, 0.51),
             windows=_windows(3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 7, 7, 9, 9, 9, 13, 19, 27)),
        Case("celeba/resnet", RESNET, 32, published=_r(0.92, 0.88, 0.48),
             windows=_windows(3, 3, 3, 5, 5, 5, 5, 5, 7, 7, 9, 9, 9, 11, 11, 11, 13, 15, 19, 19)),
    ),
    (
        'The published "r^2" is Pearson r of the mean-removed images.',
        "The published images were resized to 32 x 32 (stretched, bilinear); ours have the size of the network.",
    ),
)  # fmt: skip

THRESHOLDS = {"mnist": 0.005, "fashion-mnist": 0.005, "cifar-10": 0.05, "celeba-hq": 0.02, "afhq": 0.02}
"""tau of the PCA mask, the share of the largest entry below which one counts nothing."""


def _ten_step_cases(
    sides: Mapping[str, int],
    settings: Mapping[str, Mapping[str, Mapping[str, Any]]],
    published: Mapping[str, Mapping[str, Numbers]],
) -> tuple[Case, ...]:
    """One case for each set: name -> side; name -> machine -> settings; name -> method -> metric -> number."""
    borrowed = {case.key: case.windows for case in KAMB.cases}
    return tuple(
        Case(
            f"{name}/unet", "DDPM UNet without self-attention", side, windows=borrowed.get(f"{name}/unet"),
            settings={"pca": {"threshold": THRESHOLDS[name], "published": True}, **settings.get(name, {})},
            published=published.get(name, NOTHING),
        )
        for name, side in sides.items()
    )  # fmt: skip


LEADING = leading(10)
STUDIO = Protocol(
    "studio",
    "Analytic Diffusion Studio; Lukoianov et al. (2025), Locality in image diffusion models emerges from data "
    "statistics, arXiv 2509.09672",
    "protocol: the published code and its configuration; its table of results was found as a picture only",
    Sampling(LEADING, clip=True),
    Sampling(LEADING, clip=True),
    8,
    "mean",
    ("r_squared_unbiased", "mse"),
    True,
    (
        Method("pca_locality", "pca"),
        Method("optimal", "is"),
        Method("wiener", "wiener"),
        Method("scfdm", "smoothed", {"copies": 10}),
        Method("nearest_dataset", "nearest", {"scaled": True}),
        Method("ls", "ls"),
        Method("els", "els"),
    ),
    _ten_step_cases(
        {"mnist": 28, "fashion-mnist": 28, "cifar-10": 32, "celeba-hq": 64, "afhq": 64},
        {"mnist": {"smoothed": {"noise": 1.0}}},
        {},
    ),
    (
        "The result is the last prediction, at sigma .01, clipped.",
        "R^2 divides the squared error by the unbiased variance (divisor d - 1), which raises it by (1 - R^2) / d.",
        "Windows of ls and els are those published by Kamb & Ganguli for the set, or else for CIFAR-10.",
    ),
)

GOLDDIFF = Protocol(
    "golddiff",
    "Shang et al. (2026), Fast and scalable analytical diffusion, arXiv 2602.16498",
    "protocol: the published code and its configuration; the one number: the abstract. Its table was found as a "
    "picture only",
    Sampling(LEADING, clip=True),
    Sampling(LEADING, clip=True),
    128,
    "mean",
    ("mse_01", "r_squared_unbiased", "speedup"),
    True,
    (
        Method("GoldDiff", "golden"),
        Method("PCA", "pca"),
        Method("Kamb", "els"),
        Method("Wiener", "wiener"),
        Method("Optimal", "is"),
    ),
    _ten_step_cases(
        {"cifar-10": 32, "celeba-hq": 64, "afhq": 64},
        {"cifar-10": {"golden": {"threshold": 0.03}}, "afhq": {"golden": {"smallest": 1 / 15, "largest": 1 / 7.5}}},
        {"afhq": {"GoldDiff": {"speedup": 71.0}}},
    ),
    (
        "MSE is of images clipped and scaled to [0, 1]: a quarter of that in [-1, 1].",
        "speedup: seconds of PCA over seconds of the machine, from the same noises.",
    ),
)

EDM_LEVELS = karras(18)
WHOLE = 33
"""Side that stands for the whole image of 32 pixels: windows are odd."""
PSPC_SIDES = LocalitySchedule(EDM_LEVELS.sigmas[:-1], (*[WHOLE] * 7, 23, 15, 11, 7, 5, *[3] * 6))
SSCD = {
    "Optimal": {"sscd": 0.35}, "CFDM": {"sscd": 0.23}, "Gaussian": {"sscd": 0.33},
    "PSPC-Flex": {"sscd": 0.55}, "PSPC-Square": {"sscd": 0.46},
}  # fmt: skip
"""Figure 9, against DDPM++; the paper's means over four networks are .34, .23, .34 and .55 (Flex)."""

PSPC = Protocol(
    "pspc",
    "Niedoba et al. (2025), Towards a mechanistic explanation of diffusion model generalization, arXiv 2411.19339",
    "figure 9 and its caption; the errors of x0hat are curves in figure 7, without numbers",
    Sampling(EDM_LEVELS, "VE"),
    Sampling(EDM_LEVELS, "VE"),
    1000,
    "mean",
    ("sscd", "pearson_r", "mse"),
    False,
    (
        Method("PSPC-Flex", "", why="the published sensitivity maps of DDPM++, which choose its patches"),
        Method("PSPC-Square", "composite"),
        Method("Optimal", "is"),
        Method("CFDM", "smoothed"),
        Method("Gaussian", "wiener", {"unbiased": False}),
    ),
    (
        Case("cifar-10/ddpm++", "DDPM++ of EDM", 32, windows=PSPC_SIDES, published={**SSCD}),
        Case("ffhq/ddpm++", "DDPM++ of EDM", 64),
        Case("afhqv2/ddpm++", "DDPM++ of EDM", 64),
    ),
    ("Euler steps on EDM's 18 levels. Published composites double the images by mirroring them left to right.",),
)

NDA = Protocol(
    "nda",
    "Zhao et al. (2026), Nonparametric data attribution for diffusion models, arXiv 2510.14269",
    "protocol: the published code; its table of results was found in no text",
    Sampling(leading(1000)),
    Sampling(leading(1000)),
    1000,
    "mean",
    ("lds",),
    False,
    (
        Method(
            "NDA", "", why="64 networks trained on halves of the set, three seeds each, whose losses it is to predict"
        ),
    ),
    (
        Case("cifar-2/ddpm", "DDPM UNet on 5,000 images", 32),
        Case("cifar-10/ddpm", "DDPM UNet", 32),
        Case("celeba/ddpm", "DDPM UNet on 5,000 images", 64),
    ),
    (
        "Attribution, not sampling: border-aware ELS weights of an image noised once (time 100 to 500 of 1,000), the "
        "100 largest of each pixel, summed for each training image; patches of 7 on full and half scale, mixed evenly.",
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in (KAMB, STUDIO, GOLDDIFF, PSPC, NDA)}
