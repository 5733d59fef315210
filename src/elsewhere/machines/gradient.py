"""Machines differentiated with respect to x: the posterior covariance, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from elsewhere.engine import SamePlace, SharedKeys
from elsewhere.engine.derivative import pull_back

if TYPE_CHECKING:
    from elsewhere.machines.base import Question, SoftmaxMachine


class Differentiable(torch.autograd.Function):
    """D(x, sigma, label) of a machine, for autograd: the gradient is that of the exact engine, whatever the engine."""

    @staticmethod
    def forward(x: Tensor, machine: SoftmaxMachine, sigma: Tensor, label: Tensor | None) -> Tensor:
        return machine.average(x.detach(), sigma, label)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.machine, sigma, label = inputs
        ctx.save_for_backward(x, sigma, label)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, sigma, label = ctx.saved_tensors
        return _Gradient.apply(gradients[0], x, ctx.machine, sigma, label), None, None, None


class _Gradient(torch.autograd.Function):
    """The backward pass, which cannot be differentiated in its turn."""

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, machine: SoftmaxMachine, sigma: Tensor, label: Tensor | None) -> Tensor:
        return _gradient(gradient.detach(), x.detach(), machine, sigma, label)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.machine = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        raise ValueError(
            f"second derivatives were asked for (create_graph=True), {ctx.machine!r} has first derivatives only: "
            "detach the first gradient"
        )


def _gradient(gradient: Tensor, x: Tensor, machine: SoftmaxMachine, sigma: Tensor, label: Tensor | None) -> Tensor:
    """The gradient with respect to x (B, C, H, W) from the one with respect to D(x), in memory as bounded as D's."""
    exact = machine.with_engine("exact")
    # In float64, since differences of keys are divided by sigma^2; then every job has tiles to be read.
    centred = exact._centred(x.double())
    gradient = gradient.to(centred)
    found = torch.zeros_like(centred)
    for index, window, chosen in exact._parts(sigma, label):
        # A row of a Jacobian asks for one image.
        asking = [image for image in index.tolist() if gradient[image].any()]
        for some in index.new_tensor(asking).split(exact._images_at_once(centred[0], window)) if asking else ():
            part = centred[some].requires_grad_()
            # Autograd goes back through whatever a machine does to cut queries out of x.
            with torch.enable_grad():
                for questions in exact._questions(part, sigma[some], window, chosen, traced=False):
                    for question in questions:
                        _add_gradient(question, gradient[some], part)
            if part.grad is not None:
                found[some] = part.grad / sigma[some, None, None, None].square()
    return found.to(x)


def _add_gradient(question: Question, gradient: Tensor, x: Tensor) -> None:
    """Add sigma^2 times the gradient with respect to x that one question is the cause of to `x.grad`."""
    assert isinstance(question.job, SharedKeys | SamePlace)
    rows = gradient.flatten(2)
    rows = rows.flatten(1) if question.pixels is None else rows[:, :, question.pixels].mT.flatten(0, 1)
    if rows.any():
        queries, sums = pull_back(question.job, rows)
        torch.autograd.backward([queries], [sums], retain_graph=True, inputs=[x])


def check_differentiated(x: Tensor, sigma: Tensor, owner: object) -> None:
    """Refuse derivatives that a denoiser does not have: of sigma, and in forward mode.

    Raises:
        ValueError: sigma requires gradients, or x or sigma carries a tangent.
    """
    if sigma.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"sigma requires gradients, {owner!r} is differentiable in x only: pass sigma.detach()")
    if any(unpack_dual(given).tangent is not None for given in (x, sigma)):
        raise ValueError(
            f"forward-mode derivatives were asked for, {owner!r} has gradients only (reverse mode): "
            "use backward(), torch.autograd.grad or torch.func.vjp"
        )
