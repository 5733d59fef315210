"""Self-attention inside a network: its weights, and the network with attention held to a window.

Read are the self-attention layers of diffusers (its class `Attention`, in UNets and transformers), whatever the network
around them. Softmax, mask and weights are those of diffusers' plain `AttnProcessor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from elsewhere.checks import check_whole, checked, seen
from elsewhere.denoiser import Label, ask, check_request
from elsewhere.networks.base import NetworkDenoiser
from elsewhere.optional import require

Grid = tuple[int, int]
See = Callable[[str, Grid, Tensor], None]
"""Takes the name of a layer, the rows and columns of its places, and weights (b, heads, queries, keys)."""
Network = TypeVar("Network", bound=NetworkDenoiser)


@checked
def attention_layers(network: NetworkDenoiser) -> tuple[str, ...]:
    """Names of the self-attention layers of a network that can be read, in the order of its modules.

    Raises:
        TypeError: no network.

    Example:
        >>> from elsewhere import load_network
        >>> attention_layers(load_network("fashion-resnet"))
        ()
    """
    return tuple(name for name, _ in _layers(network.module))


@checked
def attention_weights(network: NetworkDenoiser, x: Tensor, sigma: float, label: Label = None) -> dict[str, Tensor]:
    """The softmax weights of every self-attention layer while a network answers D(x, sigma).

    Args:
        network: with self-attention of diffusers.
        x: noisy images (B, C, H, W).
        sigma: noise level.
        label: class of every image or (B,), or None.

    Returns:
        Layer -> weights (B, heads, N, N), N = rows x columns of the layer's places in row-major order; the last axis
        sums to 1.

    Raises:
        TypeError, ValueError: arguments that the network does not take, a network without self-attention that can be
            read, or places that do not divide the image.

    Example:
        >>> import elsewhere as els
        >>> options = {"widths": (8, 8), "normalise": True, "attention": (1,)}
        >>> spec = els.networks.NetworkSpec("unet", 1, (8, 8), options=options)
        >>> network = els.networks.TrainedNetwork(spec.build(), spec)
        >>> weights = attention_weights(network, els.make_noise(2, (1, 8, 8)), 1.0)
        >>> weights["inner.down_blocks.1.attentions.0"].shape
        torch.Size([2, 1, 16, 16])
    """
    parts: dict[str, list[Tensor]] = {}
    watched = watch(network, lambda name, _, weights: parts.setdefault(name, []).append(weights))
    images, labels = check_request({"network": watched}, x, label, "x")
    ask(watched, images, sigma, labels, "network")
    return {name: torch.cat(found) for name, found in parts.items()}


@checked
def within_window(network: Network, window: int) -> Network:
    """The network with every self-attention held to a window: no place looks at places farther away.

    A place of a layer stands for a block of pixels, and its position is the middle of that block. Query and key see
    each other if their positions differ by at most (window - 1) / 2 pixels in row and in column, so a window of
    2 max(H, W) - 1 pixels changes nothing, and one of 1 pixel leaves every place to itself. The softmax is taken over
    the keys that are left. Convolutions and normalisation stay as they are.

    Args:
        network: with self-attention of diffusers.
        window: odd side in pixels, 1 or more.

    Returns:
        A copy; the network itself is left as it is.

    Raises:
        TypeError: an argument of another kind.
        ValueError: an even window, or a network without self-attention that can be read.
    """
    return _instrumented(network, check_side(window), None)


def watch(network: Network, see: See) -> Network:
    """A copy of a network that shows its attention weights at every call, one layer after the other.

    A batch goes through in pieces (see `NetworkDenoiser`), so a layer is shown once for every piece.

    Raises:
        ValueError: a network without self-attention that can be read.
    """
    return _instrumented(network, None, see)


def check_side(window: int) -> int:
    """An odd side of a window in pixels.

    Raises:
        TypeError: no integer.
        ValueError: even, or below 1.
    """
    check_whole("window", window, 1)
    if window % 2 == 0:
        raise ValueError(f"window must be odd, got {window}: give {window - 1} or {window + 1}")
    return window


def grid_of(height: int, width: int, places: int) -> Grid:
    """Rows and columns of the places of a layer: blocks of p x p pixels that tile the image.

    Raises:
        ValueError: no such p.
    """
    for block in range(1, max(height, width) + 1):
        rows, columns = height // block, width // block
        if rows * columns == places and rows * block == height and columns * block == width:
            return rows, columns
    raise ValueError(f"a layer of attention has {places} places, which are no square blocks of {height}x{width} pixels")


def positions(height: int, width: int, grid: Grid) -> Tensor:
    """Row and column in pixels of the middle of every place, float32 (N, 2)."""
    rows, columns = ((torch.arange(n, dtype=torch.float32, device="cpu") + 0.5) * side / n - 0.5
                     for side, n in zip((height, width), grid, strict=True))  # fmt: skip
    return torch.cartesian_prod(rows, columns)


def inside(height: int, width: int, grid: Grid, window: int) -> Tensor:
    """Which keys lie in the window of which query, bool (N, N)."""
    place = positions(height, width, grid)
    return (place[:, None] - place[None]).abs().amax(-1) <= (window - 1) / 2


def _layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        # By what it can do: diffusers need not be installed to see that a network has none of these.
        if hasattr(part, "get_attention_scores") and not getattr(part, "is_cross_attention", False):
            yield name, part


def _instrumented(network: Network, window: int | None, see: See | None) -> Network:
    if not attention_layers(network):
        raise ValueError(
            f"{seen(network)} has no self-attention that can be read: expected a network with layers of "
            "diffusers' class Attention"
        )
    processors: Any = require(
        "diffusers.models.attention_processor", extra="networks", purpose="attention", names=("AttnProcessor",)
    )
    copied = network.to(network.device)
    sides = _Sides()
    copied.module.register_forward_pre_hook(sides, with_kwargs=True)
    for name, layer in _layers(copied.module):
        if layer.norm_q is not None or layer.norm_k is not None:
            raise ValueError(f"{name} normalises queries and keys, which this reading does not know")
        layer.set_processor(processors.AttnProcessor())
        layer.get_attention_scores = _Scores(name, layer, sides, window, see)
    return copied


class _Sides:
    """Notes the sides of the images that a module is called with."""

    height = width = 0

    def __call__(self, _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = (*arguments, *named.values())
        self.height, self.width = next(x.shape[-2:] for x in given if isinstance(x, Tensor) and x.ndim == 4)


class _Scores:
    """In the place of a layer's `get_attention_scores`: masks what is outside the window, and shows the weights."""

    def __init__(self, name: str, layer: Any, sides: _Sides, window: int | None, see: See | None) -> None:
        self.name, self.heads, self.inner = name, int(layer.heads), layer.get_attention_scores
        self.sides, self.window, self.see = sides, window, see

    def __call__(self, query: Tensor, key: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        height, width = self.sides.height, self.sides.width
        grid = grid_of(height, width, query.shape[1])
        if self.window is not None:
            allowed = inside(height, width, grid, self.window).to(query.device)
            mask = torch.zeros_like(allowed, dtype=query.dtype).masked_fill(~allowed, -torch.inf)
            attention_mask = mask if attention_mask is None else attention_mask + mask
        weights: Tensor = self.inner(query, key, attention_mask)
        if self.see is not None:
            self.see(self.name, grid, weights.view(-1, self.heads, *weights.shape[1:]))
        return weights
