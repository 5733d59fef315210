"""Where a filling meets what is there: the difference at the edge is spread into the filling, and fades."""

from __future__ import annotations

import torch
from torch import Tensor

FADE = 0.98
"""Of the difference, at each step of a pixel's mean over its neighbours: it fades over about 1 / sqrt(4 (1 - FADE)) =
3.5 pixels, so that the middle of a filling keeps its own colours."""
ROUNDS = 60
"""Steps, after which 0.98^60 = 0.3 of what is farther away would be left to spread."""


def close_seams(drawn: Tensor, held: Tensor, missing: Tensor) -> Tensor:
    """A prediction, moved where it is drawn so that it continues what is there (cf. Perez et al. 2003).

    The denoiser predicts all pixels, also those that are held. Their difference at the edge of what is missing is the
    seam. It is continued into the filling by a membrane: every missing pixel has the mean of its four neighbours, times
    `FADE`.

    Args:
        drawn: a prediction of the whole image, (B, C, H, W).
        held: what is there, (1, C, H, W).
        missing: bool (H, W), where the image is drawn.

    Returns:
        (B, C, H, W), where nothing is missing as `held`, else within [-1, 1] if `drawn` is.

    Example:
        >>> missing = torch.tensor([[False, True, True, False]])
        >>> close_seams(torch.zeros(1, 1, 1, 4), torch.full((1, 1, 1, 4), 0.5), missing)[0, 0, 0, 1] > 0.2
        tensor(True)
    """
    off = (held - drawn).masked_fill(missing, 0.0)
    for _ in range(ROUNDS):
        padded = torch.nn.functional.pad(off, (1, 1, 1, 1), mode="replicate")
        across, down = padded[:, :, 1:-1], padded[..., 1:-1]
        mean = (across[..., :-2] + across[..., 2:] + down[:, :, :-2] + down[:, :, 2:]) / 4
        off = torch.where(missing, FADE * mean, off)
    return torch.where(missing, (drawn + off).clamp(-1, 1), held)
