"""Errors for derivatives that are not implemented, where autograd would silently return none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual


def check_constant(given: object, argument: str, owner: object) -> None:
    """Refuse what is to be differentiated with respect to an argument that `owner` takes as constant.

    Args:
        given: the argument; anything but a tensor is constant.
        argument: what errors call it.
        owner: what takes it, shown in messages.

    Raises:
        ValueError: a tensor that requires gradients while they are recorded, or that carries a tangent.
    """
    if not isinstance(given, Tensor):
        return
    if given.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{argument} requires gradients, but {owner} cannot be differentiated with respect to it: "
            f"pass {argument}.detach()"
        )
    if unpack_dual(given).tangent is not None:  # type: ignore[no-untyped-call]
        raise ValueError(f"{argument} carries a tangent: {no_forward_mode(owner)}")


def no_forward_mode(owner: object) -> str:
    """The message for derivatives in forward mode."""
    return (
        f"{owner} has no derivatives in forward mode: use reverse mode (backward(), torch.autograd.grad, "
        "torch.func.vjp, torch.func.jacrev)"
    )
