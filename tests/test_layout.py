"""Images and masks give the same answer however they lie in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.engine import planner
from elsewhere.layout import plain
from tests import public_calls as calls

SLOW = ("ELS fast", "network")
NAMES = ("IS", "LS", "LS tapered", "ELS", "ELS wrap", *SLOW)
Values = Any


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Callable[..., Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "SEARCH_PLACES", 400)
        patch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
        yield calls.machines(tmp_path_factory.mktemp("cache"))


def tensors(values: Tensor) -> Iterator[Tensor]:
    """Tensors laid out in every order of the axes, with gaps, with a repeated image, as a negated view."""
    axes = range(values.ndim)
    for order in permutations(axes):
        back = [order.index(axis) for axis in axes]
        yield values.permute(order).contiguous().permute(back)
    yield values.repeat_interleave(2, -1)[..., ::2]
    yield values[:1].expand(values.shape)
    yield values[..., :1].expand(values.shape)
    if values.is_floating_point():
        yield torch.complex(torch.zeros_like(values), -values).conj().imag


def arrays(values: Tensor) -> Iterator[np.ndarray]:
    """NumPy arrays turned round along every axis, read-only, big-endian, in Fortran's order, repeated, unaligned."""
    array = values.numpy()
    for axis in range(array.ndim):
        yield np.flip(np.flip(array, axis).copy(), axis)
    locked = array.copy()
    locked.flags.writeable = False
    yield locked
    yield np.flip(array.astype(array.dtype.newbyteorder(">")))
    yield np.asfortranarray(array)
    yield np.broadcast_to(array[:1], array.shape)
    bytes_between = np.zeros(array.size * array.itemsize + 1, np.uint8)
    unaligned = bytes_between[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    yield unaligned


def few(values: Tensor) -> Iterator[Values]:
    """Of each kind one: for calls that take long."""
    yield values.transpose(-1, -2).contiguous().transpose(-1, -2)
    yield values[:1].expand(values.shape)
    big = np.flip(values.numpy().astype(values.numpy().dtype.newbyteorder(">")), -1)
    big.flags.writeable = False
    yield big


def tidy(values: Values) -> Values:
    """A contiguous copy of the same type."""
    if isinstance(values, Tensor):
        return values.resolve_neg().clone(memory_format=torch.contiguous_format)
    return np.array(values, values.dtype.newbyteorder("="), order="C")


def same(one: Values, other: Values) -> bool:
    """Whether two arrays have the same numbers in the same order: not a bit may differ."""
    read = (values.resolve_neg() if isinstance(values, Tensor) else values for values in (one, other))
    return np.array_equal(*map(np.asarray, read))


def hold(call: Callable[..., calls.Found], *given: Values) -> calls.Found:
    """Call with arguments as they lie and with contiguous copies, and find nothing different."""
    copies = [tidy(values) for values in given]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, right = call(*given), call(*copies)
    for one, other in zip(found, right, strict=True):
        assert type(one) is type(other)
        assert same(one, other)
    for values, copy in zip(given, copies, strict=True):
        assert same(values, copy), "an argument was written to"
    return found


@pytest.mark.parametrize("name", NAMES)
def test_denoisers_answer_alike_however_x_lies(machines: dict[str, Callable[..., Any]], name: str) -> None:
    x = calls.numbers(2, calls.SHAPE, 2)
    for values in few(x) if name in SLOW else (*tensors(x), *arrays(x)):
        found = hold(lambda x: calls.denoise(machines[name], x), values)
        assert found[0].dtype == values.dtype
        assert plain(found[0]).stride() == x.stride()
        assert np.asarray(found[0]).flags.c_contiguous


@pytest.mark.parametrize("name", NAMES)
def test_predict_answers_alike_however_x_lies(machines: dict[str, Callable[..., Any]], name: str) -> None:
    machine: Any = machines[name]
    sigma = torch.full((2,), 0.5, dtype=torch.float64)
    for x in list(tensors(calls.numbers(2, calls.SHAPE, 2)))[:: 12 if name in SLOW else 1]:
        hold(lambda x: [machine.predict(x, sigma, None)], x)


def test_noise_levels_and_labels_may_lie_as_they_like(machines: dict[str, Callable[..., Any]]) -> None:
    x = calls.numbers(2, calls.SHAPE, 2)
    sigma, label = np.array([0.5, 2.0], ">f8")[::-1], np.array([1, 0], ">i4")[::-1]
    for array in (sigma, label):
        array.flags.writeable = False
    hold(lambda sigma, label: [machines["ELS"](x, sigma, label)], sigma, label)


def test_labels_of_any_integer_type_are_the_same_labels(machines: dict[str, Callable[..., Any]]) -> None:
    x, machine = calls.numbers(2, calls.SHAPE, 2), machines["LS"]
    right = machine(x, 1.0, [1, 0])
    for dtype in ("int8", "uint8", "uint16", "uint32", "uint64", ">u2"):
        assert same(machine(x, 1.0, np.array([1, 0], dtype)), right)
    with pytest.raises(ValueError, match=r"label must be in 0\.\.1, got 2"):
        machine(x, 1.0, np.array([1, 2], np.uint16))


class Stubborn(Tensor):
    """A subclass that, like those of some libraries, wraps what every function of torch returns."""


def test_subclasses_of_tensors_and_arrays_are_read_as_what_they_hold(machines: dict[str, Callable[..., Any]]) -> None:
    x = calls.numbers(2, calls.SHAPE, 2)
    for machine in machines.values():
        assert same(machine(x.as_subclass(Stubborn), 1.0), machine(x, 1.0))
    held = x.numpy().view(type("Named", (np.ndarray,), {}))
    assert same(machines["LS"](held, 1.0), machines["LS"](x, 1.0))


def test_masked_arrays_are_refused_wherever_arrays_are_taken(machines: dict[str, Callable[..., Any]]) -> None:
    x, machine, pixels = calls.numbers(2, calls.SHAPE, 2), machines["LS"], calls.training().images.numpy()
    hidden = np.ma.masked_array(x.numpy(), x.numpy() > 0)
    refused: dict[str, Callable[[], object]] = {
        "x": lambda: machine(hidden, 1.0),
        "sigma": lambda: machine(x, np.ma.masked_array([1.0, 2.0], [0, 1])),
        "label": lambda: machine(x, 1.0, np.ma.masked_array([0, 1], [0, 1])),
        "noise": lambda: els.sample(machine, hidden),
        "mask": lambda: els.inpaint(machine, x, np.ma.masked_array(x[0, 0].numpy() > 0, x[0, 0].numpy() > 0)),
        "images": lambda: els.ImageSet(np.ma.masked_array(pixels, pixels > 9)),
        "labels": lambda: els.ImageSet(pixels, np.ma.masked_array(np.zeros(20, int), np.arange(20) > 3)),
        "data": lambda: els.IdealScore(hidden),
        "source": lambda: els.load_images(np.ma.masked_array(pixels, pixels > 9)),
    }
    for name, call in refused.items():
        with pytest.raises(TypeError, match=rf"^{name} must not be a masked array, .*filled"):
            call()


@pytest.mark.parametrize(
    "call", [calls.drawn, calls.scored, calls.restored, calls.compared, calls.calibrated, calls.explained]
)
def test_what_draws_and_explains_is_alike_however_noise_lies(
    machines: dict[str, Callable[..., Any]], call: Callable[..., calls.Found]
) -> None:
    for values in few(calls.numbers(2, calls.SHAPE, 2)):
        hold(lambda x: call(machines["LS"], x), values)


def test_inpainting_is_alike_however_images_and_mask_lie(machines: dict[str, Callable[..., Any]]) -> None:
    x = calls.numbers(2, calls.SHAPE, 2)
    masks = (x[:, :1] > 0, x[0, 0] > 0)
    for images in few(x):
        for mask in masks:
            for laid_out in few(mask):
                hold(lambda x, mask: calls.inpainted(machines["IS"], x, mask), images, laid_out)


def test_audit_and_metrics_are_alike_however_images_lie() -> None:
    x, y = (calls.numbers(3, calls.SHAPE, seed) for seed in (2, 3))
    for one, other in zip(few(x), few(y), strict=True):
        hold(calls.measured, one, other)
    for images in list(few(x))[::2]:
        hold(calls.audited, images)


def test_training_images_may_lie_as_they_like() -> None:
    floats, x = calls.numbers(20, calls.SHAPE, 4), calls.numbers(2, calls.SHAPE, 2)
    for values in (*tensors(floats), *arrays(floats)):
        hold(lambda data: calls.learnt(data, x), values)
    data = calls.training()
    assert data.labels is not None
    for pixels in tensors(data.images):
        hold(calls.stored, pixels, data.labels.repeat_interleave(2)[::2])


def test_limbs_are_counted_alike_however_pictures_lie() -> None:
    from elsewhere.data.hands import draw_hands

    for images in few(draw_hands(2, seed=1).scaled()):
        hold(calls.counted, images)


def test_patterns_are_measured_alike_however_they_lie() -> None:
    waves = torch.arange(32, dtype=torch.float32)
    image = torch.sin(waves[:, None] * 0.8) * torch.cos(waves * 0.4)
    other = calls.numbers(1, (32, 32), 6)[0]
    image, other = (some.T.contiguous().T for some in (image, other))
    hold(calls.patterned, image, other, other > 0)
    hold(calls.patterned, image, other[:, ::2].repeat_interleave(2, 1)[:, :32], (other > 0)[:, :1].expand(32, 32))


@pytest.mark.parametrize("call", [calls.drawn, calls.scored, calls.compared, calls.calibrated])
def test_denoisers_of_users_may_answer_in_any_layout(
    machines: dict[str, Callable[..., Any]], call: Callable[..., calls.Found]
) -> None:
    x = calls.numbers(2, calls.SHAPE, 2)

    class Users:
        """The local machine, whose answers have columns before rows, or are views of one buffer that is used again."""

        def __init__(self, lay_out: Callable[[Tensor], Tensor], machine: Any = machines["LS"]) -> None:
            self.lay_out, self.machine = lay_out, machine
            self.num_classes, self.data = 0, machine.data

        def __call__(self, x: Tensor, sigma: float, label: Any = None) -> Tensor:
            return self.lay_out(self.machine(x, sigma))

        def with_window(self, window: int) -> Users:
            return Users(self.lay_out, self.machine.with_window(window))

    buffer = torch.empty(x.shape)
    transposed = Users(lambda x0: x0.mT.contiguous().mT)
    again = Users(buffer.copy_)
    right = call(Users(lambda x0: x0), x)
    for denoiser in (transposed, again):
        for one, other in zip(call(denoiser, x), right, strict=True):
            assert same(one, other)
