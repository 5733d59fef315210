"""A trained network as a denoiser, and the file it lives in."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from elsewhere.denoiser import Denoiser
from elsewhere.files import atomic_path
from elsewhere.networks.resnet import ResNet
from elsewhere.networks.unet import UNet


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to rebuild a network and to say what it was trained on.

    Attributes:
        kind: "resnet" or "unet".
        channels, size: images it was trained on, C and (H, W).
        num_classes: classes it was trained with; 0 for none.
        options: further arguments of `ResNet` or `UNet`.
        data: name of the training set.
        fingerprint: `ImageSet.fingerprint()` of the training set.
        training: settings and progress of the training, for the record.
    """

    kind: str
    channels: int
    size: tuple[int, int]
    num_classes: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    fingerprint: str = ""
    training: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network with fresh weights.

        Raises:
            ValueError: unknown kind or options.
            ImportError: a UNet without diffusers installed.
        """
        try:
            if self.kind == "resnet":
                return ResNet(self.channels, num_classes=self.num_classes, **self.options)
            if self.kind == "unet":
                return UNet(self.channels, max(self.size), num_classes=self.num_classes, **self.options)
        except TypeError as error:
            raise ValueError(f"bad options for a {self.kind}: {error}") from error
        raise ValueError(f"unknown kind of network {self.kind!r}: expected resnet or unet")


class TrainedNetwork(Denoiser):
    """A network F trained to predict v = a n - s x0 (Salimans & Ho 2022), read as D(x, sigma).

    With a = cos(pi t/2), s = sin(pi t/2), sigma = s/a:  D(x, sigma) = a x_vp - s F(x_vp, t),  x_vp = a x.
    `label=None` asks a network with classes for all of them together.
    """

    def __init__(self, module: nn.Module, spec: NetworkSpec) -> None:
        self.module = module.eval().requires_grad_(False)
        self.spec = spec
        self.channels = spec.channels
        self.num_classes = spec.num_classes
        # Convolutions take any size; a UNet halves the image, so it keeps to its own.
        self.size = spec.size if spec.kind == "unet" else None

    def __repr__(self) -> str:
        return f"TrainedNetwork({self.spec.kind}, data={self.spec.data!r})"

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        parameter = next(self.module.parameters())
        time = (torch.atan(sigma) * (2 / math.pi)).to(parameter.device)
        a, s = (f(time * (math.pi / 2))[:, None, None, None].to(parameter.dtype) for f in (torch.cos, torch.sin))
        if self.num_classes:
            unknown = torch.full((len(x),), self.num_classes)
            label = (unknown if label is None else label).to(parameter.device)
        with torch.no_grad():
            x_vp = a * x.to(parameter)
            x0 = a * x_vp - s * self.module(x_vp, time.to(parameter.dtype), label)
        return x0


def save_network(path: str | Path, module: nn.Module, spec: NetworkSpec) -> None:
    """Write weights and spec to one safetensors file, whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    with atomic_path(path) as beside:
        save_file(tensors, beside, {"elsewhere.network": json.dumps(asdict(spec))})


def read_network(path: str | Path, device: str | torch.device = "cpu") -> TrainedNetwork:
    """Read a file written by `save_network`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, or not a network of this project.
        ImportError: a UNet without diffusers installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no network file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("elsewhere.network")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if text is None:
        raise ValueError(f"{path} has no network description: expected a file written by `elsewhere train`")
    try:
        fields = json.loads(text)
        spec = NetworkSpec(**{**fields, "size": tuple(fields["size"])})
        module = spec.build()
        module.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} does not describe a network of this version: {error}") from error
    return TrainedNetwork(module.to(device), spec)
