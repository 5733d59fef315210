"""The mosaic of a decoded machine: from the sources of latents to those of pixels, through the decoder.

A machine on latents says which training latents made each latent. A decoder mixes neighbouring latents into a pixel.
Its sensitivity says how much each of them counts: S_qp is the root mean square change of pixel q, over its channels
and those of the latent, when latent p changes a little, at x0hat. With shares A_qp = S_qp / sum_p S_qp, a source of
latent p with weight w counts A_qp w in pixel q. It is shown at the pixel of its training picture that lies to its
latent as q lies to p, so that latents which copy the same picture at the same offset are one source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaics_of_mixes import sum_equal
from elsewhere.data import LatentSet
from elsewhere.engine import PixelStore
from elsewhere.latents import Decoded

STEP = 0.05
"""Change of a latent by which a sensitivity is measured, in root mean squares of the training latents."""
MOST_DECODED = 4096
"""Images that are decoded for each image that is explained, at most: latents of 8 x 8 x 4 need 256."""

Explain = Callable[..., MosaicResult]


def decoded_mosaic(
    known: Decoded, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None, explain: Explain
) -> MosaicResult:
    """The mosaic of a decoded machine in pixels, for checked arguments.

    Args:
        known: whose machine has weights, and whose latents know their pictures.
        x, sigma, label, top: see `explain`; x are latents.
        explain: makes the mosaic of the machine, in latents.

    Raises:
        ValueError: latents without pictures, or so many that decoding them one by one would take too long.
    """
    data = known.data
    if not isinstance(data, LatentSet) or data.pictures is None:
        raise ValueError(f"{known!r} has latents without their pictures: make them with els.encode(data, autoencoder)")
    if x[0].numel() > MOST_DECODED:
        raise ValueError(
            f"x has {x[0].numel()} latents an image, each of which is decoded: expected at most {MOST_DECODED}; "
            "explain the machine itself, whose positions are those of latents"
        )
    latents = explain(known.machine, x, sigma, label, top)
    spread = float(data.images.double().square().mean().sqrt())
    found = [
        _of_image(known, latents, index, sensitivity(known, latents.x0[index], STEP * spread), top)
        for index in range(len(x))
    ]
    depth = max(ids.shape[-1] for ids, *_ in found)
    pad = torch.nn.functional.pad
    ids, positions, weights, counts, unread, error = (torch.stack(some) for some in zip(
        *((pad(i, (0, depth - i.shape[-1]), value=-1), pad(p, (0, 0, 0, depth - p.shape[-2]), value=-1),
           pad(w, (0, depth - w.shape[-1])), pad(c, (0, depth - c.shape[-1])), u, e) for i, p, w, c, u, e in found),
        strict=True,
    ))  # fmt: skip
    roots = torch.tensor(latents.sigmas, dtype=x.dtype, device="cpu").square().add(1).sqrt()[:, None, None, None]
    factor = known.autoencoder.factor
    return replace(
        latents,
        image_ids=ids,
        positions=positions,
        weights=weights,
        counts=counts,
        # Of unit variance, as in `DecodedRun.states`.
        x=known.decode(latents.x.cpu() / roots),
        x0=known.decode(latents.x0.cpu()),
        windows=tuple(window * factor + 1 - window * factor % 2 for window in latents.windows),
        store=PixelStore.of(data.pictures.images),
        unread=unread,
        error=error,
        # Entropies are of the weights of latents: `explain` of the machine has them.
        nats=None,
        met=None,
    )


def sensitivity(known: Decoded, x0: Tensor, step: float) -> Tensor:
    """How much each latent changes each pixel, at an image of latents.

    Args:
        known: has the decoder.
        x0: latents (C, h, w).
        step: by which each number is changed.

    Returns:
        Root mean square over channels of the change of a pixel for a unit of change, float64 (H W, h w).
    """
    channels, height, width = x0.shape
    steps = step * torch.eye(x0.numel(), dtype=x0.dtype, device=x0.device).view(-1, *x0.shape)
    change = (known.decode(x0 + steps) - known.decode(x0[None])).double().cpu() / step
    squares = change.square().mean(1).flatten(1).view(channels, height * width, -1).mean(0)
    return squares.sqrt().T


def _of_image(
    known: Decoded, latents: MosaicResult, index: int, effect: Tensor, top: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ids, positions, weights and counts of the sources of every pixel of an image, what is unread, and the error."""
    factor = known.autoencoder.factor
    _, height, width, depth = latents.image_ids.shape
    rows, columns = height * factor, width * factor
    total = effect.sum(1, keepdim=True)
    # A pixel that no latent changes has the sources of the latent above it.
    above = _above(height, width, factor)
    shares = torch.where(total > 0, effect / total.clamp(min=1e-30), torch.nn.functional.one_hot(above, height * width))
    ids = latents.image_ids[index].view(-1, depth).cpu()
    places = latents.positions[index].view(-1, depth, 2).cpu()
    weights = latents.weights[index].view(-1, depth).cpu()
    counts = latents.counts[index].view(-1, depth).cpu()
    pixel = torch.cartesian_prod(torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu"))
    latent = torch.cartesian_prod(torch.arange(height, device="cpu"), torch.arange(width, device="cpu"))
    # The pixel of the training picture that lies to the source as this pixel lies to the latent: (H W, h w, depth, 2).
    offset = pixel[:, None] - factor * latent[None]
    there = factor * places[None] + offset[:, :, None]
    size = torch.tensor(latents.store.image_size, dtype=torch.int64, device="cpu") * factor
    there = there.clamp(min=torch.zeros(2, dtype=torch.int64, device="cpu"), max=size - 1)
    every = (len(pixel), -1)
    found = sum_equal(
        ids.expand(len(pixel), -1, -1).reshape(every),
        there.reshape(len(pixel), -1, 2),
        (shares[:, :, None] * weights).reshape(every),
        counts.expand(len(pixel), -1, -1).reshape(every),
        (int(size[0]), int(size[1])),
        top,
    )
    of_pixels = [one.view(rows, columns, *one.shape[1:]) for one in found]
    unread = (shares @ latents.unread[index].flatten().double().cpu()).view(rows, columns)
    error = (effect @ latents.error[index].flatten().double().cpu()).view(rows, columns)
    return of_pixels[0], of_pixels[1], of_pixels[2], of_pixels[3], unread, error


def _above(height: int, width: int, factor: int) -> Tensor:
    """The latent that covers each pixel, int64 (H W,)."""
    grid = torch.arange(height * width, device="cpu").view(height, width)
    return grid.repeat_interleave(factor, 0).repeat_interleave(factor, 1).flatten()
