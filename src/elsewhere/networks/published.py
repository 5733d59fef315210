"""Published networks: whole modules in files of Kamb & Ganguli (.pt) and EDM (.pkl), read without their code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elsewhere.checks import check_device, check_path, checked
from elsewhere.layout import torch_defaults
from elsewhere.networks.edm_unet import EDMUNet
from elsewhere.networks.inert_pickles import Record, child_of, kind_of, read_inert, state_of, weights_of
from elsewhere.networks.kamb import KambResNet, KambUNet
from elsewhere.networks.preconditioned import WrappedNetwork
from elsewhere.networks.resnet import Padding
from elsewhere.networks.trained import check_fit
from elsewhere.schedulers import FunctionTimes, LogTimes, Preconditioning
from elsewhere.tensor_files import check_finite, one_line

PUBLISHED = (".pt", ".pkl")
EXPECTED = (
    "expected a whole network of Kamb & Ganguli (DDIM, MinimalResNet, MinimalUNet) or of EDM (EDMPrecond, VPPrecond)"
)
LEAST_KAMB = math.tan(math.pi / 2 / 1.008 / 1000)
"""Time 1/1000, the first after 0 of the training."""
GREATEST_KAMB = math.tan(math.pi / 2 / 1.008)
"""Time 1."""


class PublishedNetwork(WrappedNetwork):
    """A network from a published file: see `read_published`.

    Attributes:
        module: a `KambResNet`, `KambUNet` or `EDMUNet` with the weights of the file.
        padding: "zeros" or "circular", of its convolutions.
    """

    @property
    def padding(self) -> Padding:
        """Padding of the convolutions: "circular" if any has it, else "zeros"."""
        modes = {layer.padding_mode for layer in self.module.modules() if isinstance(layer, nn.Conv2d)}
        return "circular" if "circular" in modes else "zeros"


@checked
def read_published(path: str | Path, device: str | torch.device = "cpu") -> PublishedNetwork:
    """Read a file with a whole network that its authors saved, without running any of the code in it.

    Such files are pickles, which can run code when Python or torch.load opens them. Here only tensors, numbers and
    names are read; the network is built anew, from this library's own layers, and every weight must fit. Read are

    - .pt files that `torch.save(model, ...)` of Kamb & Ganguli's repository "convolutional_diffusion" wrote: a DDIM
      around a MinimalResNet or a MinimalUNet, or one of these alone, with any width, depth, padding, kernel, group
      normalisation and classes. They predict noise, and the noise level belongs to the cosine schedule of the paper,
      s^2(t) = 1 - cos^2(pi/2 t/1.008). Images were scaled to [-1, 1].
    - .pkl files of EDM (github.com/NVlabs/edm): EDMPrecond around DDPM++, NCSN++ (SongUNet) or ADM (DhariwalUNet), and
      the DDPM++ baselines (VPPrecond). A network with classes needs a label, unless it was trained with
      `label_dropout`. Weights are computed in float32. The input for augmentation, off outside of training, is left
      out.

    Not read: networks with attention of Kamb & Ganguli, batch normalisation, noise schedules other than the cosine one,
    EDM's VEPrecond, iDDPMPrecond and `skip` architectures, files of weights alone, and torch files of before 2020.

    Args:
        path: of the file, at most 16 GiB.
        device: where to put the weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file or network, a damaged file, or weights that do not fit.

    Example:
        >>> net = read_published("backbone_MNIST_ResNet_zeros.pt")  # doctest: +SKIP
        >>> x0 = net(torch.randn(1, 1, 32, 32), 1.0)  # doctest: +SKIP
    """
    path = check_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"no network file {path}")
    place = check_device("device", device)
    content = read_inert(path)
    try:
        # Snapshots of EDM are a dictionary with other things beside the network.
        thing = content["ema"] if isinstance(content, dict) and isinstance(content.get("ema"), Record) else content
        with torch_defaults():
            network = _network(thing, path.stem)
        check_finite(path, network.module.state_dict())
    # What a record holds can be anything.
    except (ArithmeticError, AttributeError, KeyError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no network that can be read: {one_line(error)}") from error
    network.module.to(place)
    return network


def _network(thing: Any, name: str) -> PublishedNetwork:
    kind = kind_of(thing)
    if kind == "DDIM":
        schedule = state_of(thing).get("noise_schedule")
        # The function itself, which is a name in the file.
        origin = getattr(schedule, "origin", "none")
        if origin.rpartition(".")[2] != "cosine_noise_schedule":
            raise ValueError(f"its noise schedule is {origin[:80]}: expected cosine_noise_schedule")
        thing = child_of(thing, "backbone")
        kind = kind_of(thing)
    makers = {"MinimalResNet": _kamb_resnet, "MinimalUNet": _kamb_unet}
    if kind in makers:
        module = _filled(makers[kind](thing, weights_of(thing)), weights_of(thing))
        times = FunctionTimes(_kamb_time, LEAST_KAMB, GREATEST_KAMB)
        embedding = module.embedding.class_embeddings  # type: ignore[union-attr]
        return PublishedNetwork(
            module,
            Preconditioning("vp", "epsilon", times),
            name=name,
            channels=_channels(module),
            num_classes=0 if embedding is None else embedding.num_embeddings,  # type: ignore[union-attr,arg-type]
        )
    if kind in ("EDMPrecond", "VPPrecond"):
        return _edm(thing, kind, name)
    if isinstance(thing, dict) and thing and all(isinstance(value, Tensor) for value in thing.values()):
        raise ValueError(
            f"it holds weights alone (a state_dict): put them into their module, then els.wrap; {EXPECTED}"
        )
    if kind == "int":  # the number with which those files begin
        raise ValueError(f"it is a file of torch.save of before 2020: save it again with a newer torch; {EXPECTED}")
    raise ValueError(
        f"it holds {'an object of the class ' if isinstance(thing, Record) else 'a '}{kind[:80]}; {EXPECTED}"
    )


def _filled(module: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The module, made on the device "meta", with these weights in float32."""
    check_fit({name: tuple(value.shape) for name, value in module.state_dict().items()}, weights)
    # Copies: tensors of a file may share their memory.
    copies = {name: value.to(torch.float32, copy=True).contiguous() for name, value in weights.items()}
    module.load_state_dict(copies, assign=True)
    return module


def _channels(module: nn.Module) -> int:
    first = next(value for name, value in module.state_dict().items() if value.ndim == 4)
    return int(first.shape[1])


def _kamb_time(sigma: Tensor) -> Tensor:
    """t of s^2(t) = 1 - cos^2(pi/2 t/1.008), sigma = tan(pi/2 t/1.008)."""
    return torch.atan(sigma) * (2 / math.pi * 1.008)


def _padding(convolution: Any) -> Any:
    mode = state_of(convolution).get("padding_mode")
    if mode not in ("zeros", "circular"):
        raise ValueError(f"its padding is {str(mode)[:40]}: expected zeros or circular")
    return mode


def _count(weights: dict[str, Tensor], prefix: str) -> int:
    """How many layers a list has."""
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def _kamb_resnet(thing: Any, weights: dict[str, Tensor]) -> nn.Module:
    enter = weights["up_projection.weight"]
    classes = weights.get("embedding.class_embeddings.weight")
    normalise = "down_projection.1.weight" in weights
    leave = weights["down_projection.1.weight" if normalise else "down_projection.weight"]
    layers = _count(weights, "convs.")
    with torch.device("meta"):
        return KambResNet(
            int(enter.shape[1]),
            int(enter.shape[0]),
            layers,
            _padding(child_of(thing, "up_projection")),
            0 if classes is None else len(classes),
            int(enter.shape[-1]),
            int(leave.shape[-1]),
            normalise,
            _count(weights, "embs.") > layers,
        )


def _kamb_unet(thing: Any, weights: dict[str, Tensor]) -> nn.Module:
    levels = _count(weights, "feature_blocks.")
    widths = [int(weights[f"feature_blocks.{level}.model.0.weight"].shape[0]) for level in range(levels)]
    widths.append(int(weights["bottleneck.model.0.weight"].shape[0]))
    enter = weights["feature_blocks.0.model.0.weight"]
    classes = weights.get("embedding.class_embeddings.weight")
    with torch.device("meta"):
        return KambUNet(
            int(enter.shape[1]),
            widths,
            _padding(child_of(thing, "feature_blocks.0.model.0")),
            0 if classes is None else len(classes),
            int(weights["last_emb.1.weight"].shape[1]),
            int(enter.shape[-1]),
            int(weights["output_conv.weight"].shape[-1]),
            "feature_blocks.0.model.1.weight" in weights,
            "last_normalizer.weight" in weights,
        )


EDM_DEFAULTS: dict[str, dict[str, Any]] = {
    "SongUNet": {
        "model_channels": 128,
        "channel_mult": [1, 2, 2, 2],
        "channel_mult_emb": 4,
        "num_blocks": 4,
        "attn_resolutions": [16],
        "embedding_type": "positional",
        "channel_mult_noise": 1,
        "encoder_type": "standard",
        "decoder_type": "standard",
        "resample_filter": [1, 1],
    },
    "DhariwalUNet": {
        "model_channels": 192,
        "channel_mult": [1, 2, 3, 4],
        "channel_mult_emb": 4,
        "num_blocks": 3,
        "attn_resolutions": [32, 16, 8],
    },
}
"""Settings of EDM's networks where the file does not give them."""

KNOWN = {
    "img_resolution", "in_channels", "out_channels", "label_dim", "augment_dim", "dropout", "label_dropout",
}  # fmt: skip
"""Further settings, which a file always gives or which do not change the answers."""


def _edm(thing: Any, kind: str, name: str) -> PublishedNetwork:
    outer, inner = state_of(thing), child_of(thing, "model")
    made = kind_of(inner)
    if made not in EDM_DEFAULTS:
        raise ValueError(f"its network is a {made[:80]}: expected {' or '.join(EDM_DEFAULTS)}")
    given = dict(state_of(inner)["_init_kwargs"])
    unknown = [str(key) for key in given if key not in KNOWN and key not in EDM_DEFAULTS[made]]
    if unknown:
        raise ValueError(f"the unknown setting {unknown[0][:60]} of its {made}")
    chosen = {**EDM_DEFAULTS[made], **given}
    channels, classes = int(chosen["in_channels"]), int(chosen.get("label_dim", 0))
    if chosen["out_channels"] != channels:
        raise ValueError(f"its network turns {channels} channels into {chosen['out_channels']}")
    encoder, decoder = chosen.get("encoder_type", "standard"), chosen.get("decoder_type", "standard")
    if encoder not in ("standard", "residual") or decoder != "standard":
        raise ValueError(f"its network has a {encoder} encoder and a {decoder} decoder: 'skip' is not read")
    weights = {key: value for key, value in weights_of(inner).items() if not key.startswith("map_augment.")}
    sizes = (*chosen["channel_mult"], chosen["num_blocks"], *chosen["attn_resolutions"], chosen["model_channels"])
    # A block has more than one weight, so that no more of them are made than there are weights.
    layers = chosen["num_blocks"] * len(chosen["channel_mult"])
    if any(type(size) is not int or size < 1 for size in sizes) or layers > len(weights):
        raise ValueError("its settings and its weights are not of one network")
    with torch.device("meta"):
        module = EDMUNet(
            "song" if made == "SongUNet" else "adm",
            int(chosen["img_resolution"]),
            channels,
            classes,
            chosen["model_channels"],
            chosen["channel_mult"],
            int(chosen["channel_mult_emb"]),
            chosen["num_blocks"],
            chosen["attn_resolutions"],
            chosen.get("embedding_type") == "fourier",
            int(chosen.get("channel_mult_noise", 1)),
            encoder == "residual",
            len(chosen.get("resample_filter", [1, 1])),
        )
    side = int(chosen["img_resolution"])
    network = PublishedNetwork(
        _filled(module, weights),
        _edm_preconditioning(kind, outer),
        name=name,
        channels=channels,
        size=(side, side),
        num_classes=classes,
    )
    network.unconditional = bool(chosen.get("label_dropout"))
    return network


def _edm_preconditioning(kind: str, state: dict[str, Any]) -> Preconditioning:
    if kind == "EDMPrecond":
        return Preconditioning("edm", "epsilon", LogTimes(), float(state["sigma_data"]))
    # The linear schedule of Song et al. (2021) in continuous time.
    slope, start, count = float(state["beta_d"]), float(state["beta_min"]), int(state["M"])

    def time(sigma: Tensor) -> Tensor:
        return (count - 1) * ((start**2 + 2 * slope * (1 + sigma**2).log()).sqrt() - start) / slope

    ends = [math.sqrt(math.expm1(0.5 * slope * t**2 + start * t)) for t in (float(state["epsilon_t"]), 1.0)]
    return Preconditioning("vp", "epsilon", FunctionTimes(time, *ends))
