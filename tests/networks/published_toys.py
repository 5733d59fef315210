"""Files in the formats of the authors of published networks, of tiny networks with random weights."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.networks.toys import random_weights


@contextmanager
def foreign(*names: str) -> Iterator[dict[str, Any]]:
    """Classes and functions "module.name" of modules that exist only while a file is written."""
    made: dict[str, Any] = {}
    modules = {name.rpartition(".")[0]: types.ModuleType(name.rpartition(".")[0]) for name in names}
    parents = {name.partition(".")[0] for name in modules if "." in name}
    modules |= {name: types.ModuleType(name) for name in parents - modules.keys()}
    for whole in names:
        module, _, name = whole.rpartition(".")
        if name[0].isupper():
            made[name] = type(name, (nn.Module,), {"__module__": module})
        else:

            def function(*_: Any) -> None:
                raise AssertionError("code of a file was run")

            function.__module__, function.__qualname__, function.__name__ = module, name, name
            made[name] = function
        setattr(modules[module], name, made[name])
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def conv(inner: int, outer: int, side: int, padding: str) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, side, padding="same", padding_mode=padding)


KAMB = (
    "models.DDIM",
    "models.MinimalResNet",
    "models.MinimalUNet",
    "models.EmbeddingModule",
    "models.UBlock",
    "utils.noise_schedules.cosine_noise_schedule",
    "utils.noise_schedules.linear_noise_schedule",
)


def _embedding(kinds: dict[str, Any], width: int, classes: int) -> nn.Module:
    embedding = kinds["EmbeddingModule"]()
    embedding.fdim, embedding.conditional = width, bool(classes)
    if classes:
        embedding.class_embeddings = nn.Embedding(classes, width)
    return embedding


def kamb_resnet(kinds: dict[str, Any], width: int, layers: int, padding: str, classes: int, norm: bool) -> nn.Module:
    """The layers of a MinimalResNet under their names."""
    net = kinds["MinimalResNet"]()
    net.channels, net.num_layers, net.mode = 1, layers, padding
    net.embedding = _embedding(kinds, width, classes)
    net.up_projection = conv(1, width, 3, padding)
    net.embs = nn.ModuleList(
        nn.Sequential(nn.Linear(width, width), nn.GroupNorm(8, width), nn.ReLU()) for _ in range(layers + 1)
    )
    between = (lambda: [nn.GroupNorm(8, width)]) if norm else (lambda: [])
    net.convs = nn.ModuleList(
        nn.Sequential(conv(width, width, 3, padding), *between(), nn.ReLU()) for _ in range(layers)
    )
    last = conv(width, 1, 3, padding)
    net.down_projection = nn.Sequential(*between(), last) if norm else last
    return net


def kamb_unet(kinds: dict[str, Any], widths: list[int], padding: str, classes: int, embedding: int = 16) -> nn.Module:
    """The layers of a MinimalUNet under their names."""

    def block(inner: int, outer: int) -> nn.Module:
        made = kinds["UBlock"]()
        made.emb = nn.Sequential(nn.ReLU(), nn.Linear(embedding, inner))
        made.model = nn.Sequential(conv(inner, outer, 3, padding), nn.ReLU(), conv(outer, outer, 3, padding), nn.ReLU())
        return made

    net = kinds["MinimalUNet"]()
    net.fsizes, net.attention = widths, False
    net.embedding = _embedding(kinds, embedding, classes)
    net.feature_blocks = nn.ModuleList(block(a, b) for a, b in zip([1, *widths[:-2]], widths[:-1], strict=True))
    net.bottleneck = block(widths[-2], widths[-1])
    net.output_blocks, net.upsamples = nn.ModuleList(), nn.ModuleList()
    for level in range(len(widths) - 1, 0, -1):
        net.upsamples.append(nn.ConvTranspose2d(widths[level], widths[level - 1], 2, 2))
        net.output_blocks.append(block(2 * widths[level - 1], widths[level - 1]))
    net.last_emb = nn.Sequential(nn.ReLU(), nn.Linear(embedding, widths[0]))
    net.output_conv = conv(widths[0], 1, 3, padding)
    net.pool = nn.MaxPool2d(2, 2)
    return net


def write_kamb(
    path: Path, make: Any, *arguments: Any, schedule: str = "cosine_noise_schedule", wrapped: bool = True, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Write a whole network as `torch.save(model, path)` does; its weights, without those names' prefix."""
    with foreign(*KAMB) as kinds:
        net = random_weights(make(kinds, *arguments), seed)
        weights = {name: value.clone() for name, value in net.state_dict().items()}
        model = net
        if wrapped:
            model = kinds["DDIM"]()
            model.in_channels, model.default_imsize, model.backbone = 1, 8, net
            model.noise_schedule = kinds[schedule]
        torch.save(model, path)
    return weights


EDM = "torch_utils.persistence._reconstruct_persistent_obj"


def write_edm(
    path: Path,
    weights: dict[str, torch.Tensor],
    made: str,
    settings: dict[str, Any],
    outer: str = "EDMPrecond",
    **attributes: Any,
) -> None:
    """Write a network snapshot of EDM: modules that pickle themselves as their class's name, source and state."""
    with foreign(EDM) as functions:
        rebuild = functions["_reconstruct_persistent_obj"]

        class Persistent(nn.Module):
            kind = "Layer"

            def __reduce__(self) -> Any:
                code = "raise AssertionError('code of a file was run')"
                meta = {"type": "class", "version": 6, "module_src": code, "class_name": self.kind, "state": vars(self)}
                return rebuild, (meta,), None

        def tree(values: dict[str, torch.Tensor], top: bool = True) -> nn.Module:
            module: Any = Persistent()
            heads = dict.fromkeys(name.partition(".")[0] for name in values)
            for head in heads:
                inside = {n.partition(".")[2]: v for n, v in values.items() if n.partition(".")[0] == head}
                if "" not in inside:
                    child = tree(inside, False)
                    if head in ("enc", "dec"):  # a class of torch, whose name is in the file
                        child = nn.ModuleDict(dict(child.named_children()))
                    setattr(module, head, child)
                elif head in ("resample_filter", "freqs"):
                    module.register_buffer(head, inside[""])
                else:
                    module.register_parameter(head, nn.Parameter(inside[""]))
            return module

        inner = tree(weights)
        inner.kind, inner._init_args, inner._init_kwargs = made, (), settings  # type: ignore[assignment]
        net: Any = Persistent()
        net.kind, net.model, net.img_resolution = outer, inner, settings["img_resolution"]
        for name, value in attributes.items():
            setattr(net, name, value)
        with path.open("wb") as file:
            pickle.dump({"ema": net.eval().requires_grad_(False), "loss_fn": None, "dataset_kwargs": {}}, file)
