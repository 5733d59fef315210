"""A trained network as a denoiser, and the file it lives in."""

from __future__ import annotations

import copy
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from elsewhere.checks import check_dense, check_fields, check_sides, check_whole, checked, seen
from elsewhere.denoiser import FLOATS
from elsewhere.files import json_object
from elsewhere.layout import plain, torch_defaults
from elsewhere.limits import MOST_CLASSES, require_memory
from elsewhere.networks.base import NetworkDenoiser
from elsewhere.networks.dit import DiT
from elsewhere.networks.resnet import ResNet
from elsewhere.networks.unet import UNet
from elsewhere.networks.words import MOST_NUMBERS
from elsewhere.phrases import count, listed
from elsewhere.tensor_files import check_finite, one_line, read_tensors, write_tensors

DESCRIPTION = "elsewhere.network"
DEPTHS = {"resnet": "blocks", "unet": "layers", "dit": "layers"}
KINDS: dict[str, type[ResNet] | type[UNet] | type[DiT]] = {"resnet": ResNet, "unet": UNet, "dit": DiT}
FLOAT_ARRAYS = (np.float16, np.float32, np.float64)
MOST_CHANNELS = 1024
"""More than the latents of any autoencoder have."""
GIVEN_BY_DATA = ("channels", "size", "num_classes", "text_width")


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to rebuild a network and to say what it was trained on.

    Attributes:
        kind: "resnet", "unet" or "dit".
        channels, size: images it was trained on, C and (H, W).
        num_classes: classes it was trained with; 0 for none.
        options: further arguments of `ResNet`, `UNet` or `DiT`.
        data: name of the training set.
        fingerprint: `ImageSet.fingerprint()` of the training set.
        training: settings and progress of the training, for the record.
        text_model: sentence encoder whose embeddings of the captions it was trained with; "" for none.
        text_width: numbers of such an embedding; 0 for none.

    Raises:
        TypeError, ValueError: fields of another type, sizes and numbers that no network has; a text model without a
            width, or a width without a model.
    """

    kind: str
    channels: int
    size: tuple[int, int]
    num_classes: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    fingerprint: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    text_model: str = ""
    text_width: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("channels", self.channels, 1, MOST_CHANNELS)
        check_sides("size", self.size)
        check_whole("num_classes", self.num_classes, 0, limit=MOST_CLASSES)
        check_whole("text_width", self.text_width, 0, limit=MOST_NUMBERS)
        if bool(self.text_model) != bool(self.text_width):
            raise ValueError(
                f"text_model and text_width go together, got {self.text_model!r} and {self.text_width}: give the "
                "encoder and the numbers of its embeddings, or neither"
            )

    @checked
    def build(self, *, shapes_only: bool = False) -> nn.Module:
        """The network with fresh weights, drawn from torch's global generator.

        Args:
            shapes_only: whether the weights are to have shapes only, on torch's device "meta", and take no memory.

        Raises:
            ValueError: unknown kind, unknown options, or values that the network does not take.
            ImportError: a UNet without diffusers installed.
        """
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of network {self.kind!r}: expected {listed(list(KINDS), 'or')}")
        known = [name for name in inspect.signature(KINDS[self.kind]).parameters if name not in GIVEN_BY_DATA]
        for name in self.options:
            if name not in known:
                raise ValueError(f"a {self.kind} has no option {name!r}: expected {', '.join(known)}")
        try:
            with torch_defaults(), torch.device("meta" if shapes_only else "cpu"):
                given = {"num_classes": self.num_classes, "text_width": self.text_width, **self.options}
                if self.kind == "resnet":
                    return ResNet(self.channels, **given)
                return (UNet if self.kind == "unet" else DiT)(self.channels, self.size, **given)
        except TypeError as error:
            raise ValueError(f"bad options for a {self.kind}: {error}") from error

    @checked
    def rebuild(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The network with copies of given weights, float32 on the CPU.

        What the spec asks for is compared with the weights before memory is taken for it.

        Raises:
            ValueError, ImportError: as `build`.
            ValueError: weights of another network.
        """
        depth = self.options.get(DEPTHS.get(self.kind, ""), 0)
        if isinstance(depth, int) and depth > len(weights):
            raise ValueError(f"{depth} {DEPTHS[self.kind]} need more weights than the {len(weights)} that are there")
        module = self.build(shapes_only=True)
        check_fit({name: tuple(value.shape) for name, value in module.state_dict().items()}, weights)
        copies = {
            name: value.detach().to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)
            for name, value in weights.items()
        }
        module.load_state_dict(copies, assign=True)
        return module


def check_fit(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> None:
    """Make sure that weights have the expected names and shapes and are floating point.

    Raises:
        ValueError: they do not; the first difference is named.
    """
    for name in sorted(shapes.keys() | weights.keys()):
        if name not in weights:
            raise ValueError(f"the weight {name} is missing")
        if name not in shapes:
            raise ValueError(f"unexpected weight {name}")
        found = weights[name]
        if tuple(found.shape) != shapes[name] or not found.is_floating_point():
            raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}, expected floats {shapes[name]}")


class TrainedNetwork(NetworkDenoiser):
    """A network F trained to predict v = a n - s x0 (Salimans & Ho 2022), read as D(x, sigma).

    With a = cos(pi t/2), s = sin(pi t/2), sigma = s/a:  D(x, sigma) = a x_vp - s F(x_vp, t),  x_vp = a x.
    `label=None` asks a network with classes for all of them together. A network that was trained with captions answers
    as without words, until `with_text` binds it to a sentence embedding.

    Args:
        module: F(x_vp, t, label), with words F(x_vp, t, label, text); set to evaluation, without gradients.
        spec: what it is.
    """

    _text: Tensor | None = None

    @checked
    def __init__(self, module: nn.Module, spec: NetworkSpec) -> None:
        self.module = module.eval().requires_grad_(False)
        self.spec = spec
        self.channels = spec.channels
        self.num_classes = spec.num_classes
        # Trained with a label on every image, the embedding of "no class" is still what it was drawn as.
        self.has_null_class = not (spec.num_classes and spec.training.get("label_dropout") == 0)
        # Convolutions take any size; a UNet halves the image and a DiT numbers its patches: they keep to their own.
        self.size = None if spec.kind == "resnet" else spec.size

    def __repr__(self) -> str:
        words = "" if self._text is None else ", with text"
        return f"TrainedNetwork({self.spec.kind}, data={self.spec.data!r}{words})"

    @property
    def text_model(self) -> str:
        """Sentence encoder whose embeddings `with_text` takes; "" where the network takes no words."""
        return self.spec.text_model

    @checked
    def with_text(self, embedding: Tensor | np.ndarray | None) -> Self:
        """The same network (the weights are shared), bound to words.

        Args:
            embedding: of unit length, as `elsewhere.text.load_encoder(network.text_model).encode` makes it: (width,)
                for all images, or (B, width), one for each image of a batch. A row of zeros, and None, mean no words.

        Returns:
            A denoiser D(x, sigma).

        Raises:
            TypeError: not an array of floats.
            ValueError: a network without words, an embedding of another width, NaN, or rows of another length.

        Example:
            >>> import elsewhere as els
            >>> spec = els.networks.NetworkSpec("resnet", 1, (8, 8), text_model="my-encoder", text_width=2)
            >>> network = els.networks.TrainedNetwork(spec.build(), spec)
            >>> network.with_text(torch.tensor([0.6, 0.8]))
            TrainedNetwork(resnet, data='', with text)
        """
        other = copy.copy(self)
        other._text = None if embedding is None else check_embedding(embedding, self.spec)
        return other

    def _part(self, piece: slice, batch: int) -> Self:
        if self._text is None or self._text.ndim == 1:
            return self
        if len(self._text) != batch:
            raise ValueError(f"x has {count(batch, 'image')}, the text of {self!r} has {len(self._text)}: give as many")
        other = copy.copy(self)
        other._text = self._text[piece]
        return other

    def _predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        time = torch.atan(sigma) * (2 / math.pi)
        a, s = (f(time * (math.pi / 2))[:, None, None, None].to(x.dtype) for f in (torch.cos, torch.sin))
        if self.num_classes and label is None:
            label = torch.full((len(x),), self.num_classes, device=x.device, dtype=torch.int64)
        dtype = next(self.module.parameters()).dtype
        x_vp = a * x
        words = {} if self._text is None else {"text": self._text.to(x.device, dtype).expand(len(x), -1)}
        v: Tensor = self.module(x_vp.to(dtype), time.to(dtype), label, **words)
        return a * x_vp - s * v.to(x.dtype)


def check_embedding(embedding: Tensor | np.ndarray, spec: NetworkSpec) -> Tensor:
    """Sentence embeddings for a network, float32 (width,) or (B, width); raises what `with_text` raises."""
    if not spec.text_width:
        raise ValueError(f"a network trained on {spec.data!r} without captions takes no words: leave embedding out")
    check_dense("embedding", embedding)
    if isinstance(embedding, np.ndarray) and embedding.dtype.newbyteorder("=") not in FLOAT_ARRAYS:
        raise TypeError(f"embedding must hold floats of 16 to 64 bits, got {seen(embedding)}")
    found = plain(embedding).detach()
    if found.dtype not in FLOATS:
        raise TypeError(f"embedding must hold floats of 16 to 64 bits, got {seen(embedding)}")
    if found.ndim not in (1, 2) or found.shape[-1] != spec.text_width or not len(found):
        raise ValueError(
            f"embedding must be ({spec.text_width},) or (B, {spec.text_width}), as {spec.text_model} makes it, got "
            f"{tuple(found.shape)}"
        )
    found = found.to(torch.float32, copy=True)
    length = torch.linalg.vector_norm(found, dim=-1)
    if not bool(((length == 0) | ((length - 1).abs() < 0.01)).all()):  # 0.01: embeddings may come in half precision
        raise ValueError(
            f"embedding must have length 1, or 0 for no words, got {length.min():.3g} to {length.max():.3g}: divide it "
            "by its length"
        )
    return found


@checked
def save_network(path: str | Path, module: nn.Module, spec: NetworkSpec) -> None:
    """Write weights and spec to one safetensors file with a checksum, whole or not at all.

    Raises:
        TypeError, ValueError: arguments of another kind.
        OSError: the file cannot be written.
    """
    write_tensors(Path(path), module.state_dict(), {DESCRIPTION: json.dumps(asdict(spec))})


@checked
def read_network(path: str | Path, device: str | torch.device = "cpu") -> TrainedNetwork:
    """Read a file written by `save_network`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, damaged, or not a network of this project.
        ImportError: a UNet without diffusers installed.
    """
    path = Path(path)
    return network_of(path, *read_tensors(path), device)


def network_of(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], device: str | torch.device
) -> TrainedNetwork:
    """The network in the contents of a file; raises what `read_network` raises."""
    if DESCRIPTION not in metadata:
        raise ValueError(f"{path} has no network description: expected a file written by `elsewhere train`")
    return restore(path, metadata[DESCRIPTION], tensors, device)


def restore(path: Path, text: str, weights: Mapping[str, Tensor], device: str | torch.device) -> TrainedNetwork:
    """The network of a spec in JSON and its weights; `path` is for messages.

    Raises:
        ValueError: the two do not describe a network of this version, or the weights are not finite.
        ImportError: a UNet without diffusers installed.
    """
    check_finite(path, weights)
    try:
        fields = json_object(text)
        spec = NetworkSpec(**{**fields, "size": tuple(fields["size"])})
        module = spec.rebuild(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path} does not describe a network of this version: {one_line(error)}") from error
    return TrainedNetwork(module.to(device), spec)


def check_training_room(spec: NetworkSpec, batch: int) -> None:
    """Refuse to train what can never fit into the memory of the machine, before any is asked for.

    Counted are weights, gradients, two moments and averaged weights, and one output of every convolution of a block
    for every image of the batch: training takes more than that.

    Raises:
        MemoryError: it does not fit.
        ValueError, ImportError: as `NetworkSpec.build`.
    """
    weights = sum(parameter.numel() for parameter in spec.build(shapes_only=True).parameters())
    width, depth = spec.options.get("width", 1), spec.options.get(DEPTHS[spec.kind], 1)
    needed = 4 * (5 * weights + 2 * depth * width * batch * math.prod(spec.size))
    what = f"training a network of {weights:.3g} weights on {batch} images a step"
    require_memory(needed, what, "take a smaller network, batch or size")
