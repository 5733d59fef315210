"""Machines differentiated with respect to x: the posterior covariance, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self, cast

import torch
from torch import Tensor

from elsewhere.checks import check_dense
from elsewhere.engine import Engine, Layout, Planner, Step
from elsewhere.engine.derivative import DifferentiableJob, Part, pull_back
from elsewhere.gradients import no_forward_mode


class Averaging(Protocol):
    """What is differentiated: the parts of a softmax machine that its gradient needs."""

    _planner: Planner

    def average(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Any: ...

    def with_engine(self, engine: Engine) -> Self: ...

    def _centred(self, x: Tensor) -> Tensor: ...

    def _groups(
        self, x: Tensor, sigma: Tensor, label: Tensor | None
    ) -> Iterator[tuple[Tensor, Layout, float, int | None]]: ...


class Differentiable(torch.autograd.Function):
    """D(x, sigma, label) of a machine, for autograd: the gradient is that of the exact engine, whatever the engine."""

    @staticmethod
    def forward(x: Tensor, machine: Averaging, sigma: Tensor, label: Tensor | None) -> Tensor:
        x0: Tensor = machine.average(x.detach(), sigma, label).x0
        return x0

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.machine, sigma, label = inputs
        ctx.save_for_backward(x, sigma, label)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, sigma, label = ctx.saved_tensors
        found = _Gradient.apply(gradients[0], x, ctx.machine, sigma, label)  # type: ignore[no-untyped-call]
        return found, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise ValueError(no_forward_mode(repr(ctx.machine)))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, machine: Averaging, *others: Any) -> Any:
        raise ValueError(
            f"{machine!r} cannot be mapped by torch.func.vmap, as torch.func.hessian does: give it batches"
        )


class _Gradient(torch.autograd.Function):
    """The backward pass, which cannot be differentiated in its turn."""

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, machine: Averaging, sigma: Tensor, label: Tensor | None) -> Tensor:
        check_dense("the gradient", gradient)
        return _gradient(gradient, x.detach(), machine, sigma, label)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.machine = inputs[2]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], gradient: Tensor, *others: Any) -> tuple[Tensor, int]:
        """Several gradients of one answer, as torch.func.jacrev asks for them."""
        assert in_dims[0] is not None, "second derivatives are refused in backward, not here"
        each = (_Gradient.apply(one, *others) for one in gradient.unbind(in_dims[0]))  # type: ignore[no-untyped-call]
        return torch.stack(list(each)), 0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        raise ValueError(
            f"second derivatives were asked for (create_graph=True), {ctx.machine!r} has first derivatives only: "
            "detach the first gradient"
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise ValueError(no_forward_mode(repr(ctx.machine)))


def _gradient(gradient: Tensor, x: Tensor, machine: Averaging, sigma: Tensor, label: Tensor | None) -> Tensor:
    """The gradient with respect to x (B, C, H, W) from the one with respect to D(x), in memory as bounded as D's."""
    planner = machine.with_engine("exact")._planner
    # In float64, since differences of keys are divided by sigma^2; then every job has tiles to be read.
    centred = machine._centred(x.double())
    gradient = gradient.to(centred)
    found = torch.zeros_like(centred)
    for index, layout, level, chosen in machine._groups(centred, sigma, label):
        # A row of a Jacobian asks for one image.
        asking = index.new_tensor([image for image in index.tolist() if gradient[image].any()])
        for some in torch.split(asking, planner.images_at_once(layout, centred[0])) if len(asking) else ():
            part = centred[some].requires_grad_()
            wanted = gradient[some]
            if layout.response is not None:
                if layout.response.matrix is not None:
                    raise ValueError("masked patches have no gradient: use square ones, or detach x")
                # Every pixel is a mean of what is pasted on it.
                wanted = wanted / planner.coverage(layout, part).view(part.shape[2:])
            # Autograd goes back through whatever the planner does to cut queries out of x.
            with torch.enable_grad():
                for steps in planner.plan(layout, part, level, chosen):
                    parts = [Part(*each) for step in steps for each in _parts(step, wanted)]
                    pulled = pull_back(parts, centred.device)
                    tensors = [each.job.queries for each in parts]
                    sums = [each.queries for each in pulled]
                    for each, of_part in zip(parts, pulled, strict=True):
                        logs = each.job.image_logs
                        if logs is not None and logs.requires_grad and of_part.image_logs is not None:
                            tensors.append(logs)
                            # Divided by sigma^2 below, as the others are.
                            sums.append(of_part.image_logs * level**2)
                    torch.autograd.backward(tensors, sums, retain_graph=True, inputs=[part])
            if part.grad is not None:
                found[some] = part.grad / level**2
    return found.to(x)


def _parts(step: Step, gradient: Tensor) -> list[tuple[DifferentiableJob, Tensor]]:
    job = cast(DifferentiableJob, step.job)
    return job.parts(step.gradient(gradient))
