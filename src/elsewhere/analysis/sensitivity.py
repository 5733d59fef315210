"""What a network's answer for each pixel depends on: the flexible patches of PSPC."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_number, checked
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.progress import track
from elsewhere.schedules import check_level


@checked
def sensitivity_masks(
    network: DenoiserLike, x: Tensor, sigma: float, share: float, label: Label = None, *, progress: bool = False
) -> Tensor:
    """The smallest set of pixels of x that holds a share of the magnitude of the gradient, for each pixel of D(x).

    As Niedoba et al. (2024, arXiv 2411.19339) choose flexible patches: gradients of a pixel's answer, the sum over its
    channels, with respect to x; magnitudes summed over the channels of x and averaged over the images.

    Args:
        network: D(x, sigma, label=None), differentiable in x.
        x: noisy images (B, C, H, W); the published code averages over thousands, eight give the shape.
        sigma: noise level.
        share: above 0 to 1; published: 1 at the highest seven of EDM's 18 levels, then .7, .7, .5, four times .4, and
            .3.
        label: passed to the network.
        progress: show a progress bar with the time left.

    Returns:
        bool (H, W, H, W), `masks` of `els.PatchComposite`; every pixel is in its own patch.

    Raises:
        TypeError, ValueError: arguments out of range, or a network that is not differentiable in x.

    Example:
        >>> import elsewhere as els
        >>> network = els.load_network("fashion-resnet")
        >>> x = els.make_noise(1, (1, 28, 28))
        >>> masks = els.analysis.sensitivity_masks(network, x, sigma=0.5, share=0.5)
        >>> masks.shape, bool(masks[14, 14, 14, 14]), bool(masks[14, 14, 0, 0])
        (torch.Size([28, 28, 28, 28]), True, False)
    """
    check_level(sigma)
    share = check_number("share", share, 0, 1)
    if not share:
        raise ValueError("share must be above 0, got 0: a patch has a pixel")
    images, labels = check_request({"network": network}, x, label, "x")
    images = images.detach().clone().requires_grad_()
    ask: Any = network
    with torch.enable_grad():
        answer = ask(images, sigma) if labels is None else ask(images, sigma, labels)
        if not answer.requires_grad:
            raise ValueError(
                "network is not differentiable in x: give one whose answer requires a gradient where x does"
            )
        sums = answer.sum((0, 1)).flatten()
    height, width = images.shape[2:]
    masks = torch.zeros(height * width, height * width, dtype=torch.bool, device=images.device)
    for pixel in track(range(height * width), height * width, "sensitivity", progress):
        (gradient,) = torch.autograd.grad(sums[pixel], images, retain_graph=True)
        magnitude = gradient.double().abs().sum(1).mean(0).flatten()
        ordered, order = magnitude.sort(descending=True, stable=True)
        held = ordered.cumsum(0)
        # The first pixels that together hold the share.
        count = int((held < share * held[-1] * (1 - 1e-12)).sum()) + 1
        masks[pixel, order[:count]] = True
        masks[pixel, pixel] = True
    return masks.view(height, width, height, width)
