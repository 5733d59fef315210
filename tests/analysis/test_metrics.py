import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.analysis import cosine_similarity, mse, pearson_r, r_squared

METRICS = [pearson_r, r_squared, mse, cosine_similarity]


def pair(batch=5, channels=3, side=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(batch, channels, side, side, generator=generator)
    return 0.7 * target + 0.4 * torch.randn(target.shape, generator=generator) + 0.2, target


def flat(images):
    return images.double().numpy().reshape(len(images), -1)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(2, 7), st.integers(0, 99))
def test_metrics_agree_with_plain_numpy(batch, channels, side, seed):
    prediction, target = pair(batch, channels, side, seed)
    p, t = flat(prediction), flat(target)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(p, t, strict=True)]
    # Everything is float64 from here on: only the order of the sums differs.
    np.testing.assert_allclose(pearson_r(prediction, target).numpy(), r, atol=1e-12)
    np.testing.assert_allclose(
        r_squared(prediction, target).numpy(), 1 - ((t - p) ** 2).sum(1) / (t.var(1) * t.shape[1]), atol=1e-12
    )
    np.testing.assert_allclose(mse(prediction, target).numpy(), ((t - p) ** 2).mean(1), atol=1e-12)
    cosines = (p * t).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(t, axis=1)
    np.testing.assert_allclose(cosine_similarity(prediction, target).numpy(), cosines, atol=1e-12)


def test_r_ignores_brightness_and_contrast_and_r_squared_does_not():
    _, target = pair()
    changed = 0.5 * target + 0.3
    torch.testing.assert_close(pearson_r(changed, target), torch.ones(5, dtype=torch.float64))
    assert (r_squared(changed, target) < 0.9).all()
    torch.testing.assert_close(r_squared(target, target), torch.ones(5, dtype=torch.float64))


def test_r_squared_is_negative_where_the_mean_would_do_better():
    _, target = pair()
    assert (r_squared(-target, target) < 0).all()


# The float64 mean of 75 times 0.1 is not 0.1 to the last digit.
@pytest.mark.parametrize("value", [0.0, 0.1, -1.0])
def test_numbers_of_constant_images_are_undefined(value):
    target = pair(side=5)[1].double()
    constant = torch.full_like(target, value)
    for metric, prediction, true in (
        (pearson_r, constant, target),
        (pearson_r, target, constant),
        (pearson_r, constant, constant),
        (r_squared, target, constant),
        (r_squared, constant, constant),
    ):
        with pytest.warns(UserWarning, match=r"undefined \(NaN\) for 5 of 5 images: .* is constant") as told:
            assert metric(prediction, true).isnan().all()
        assert len(told) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_that_are_constant_but_for_rounding_are_constant(dtype):
    target = pair()[1].to(dtype)
    unit = torch.finfo(dtype).eps / 2  # the last digit of numbers of 1/2 to 1
    noisy = 0.7 + unit * torch.tensor([-1.0, 0.0, 1.0], dtype=dtype).repeat(5, 1, 1, 1)
    for metric, prediction, true in (
        (pearson_r, noisy, target[..., :1, :3]),
        (pearson_r, target[..., :1, :3], noisy),
        (r_squared, target[..., :1, :3], noisy),
    ):
        with pytest.warns(UserWarning, match="undefined"):
            assert metric(prediction[:, :1], true[:, :1]).isnan().all()
    faint = 1e-3 * target[..., :3].double()
    assert pearson_r(faint, 2 * faint).min() > 0.999


def test_only_the_undefined_images_have_no_number():
    prediction, target = pair()
    prediction[2] = 0.5
    with pytest.warns(UserWarning, match="for 1 of 5 images"):
        found = pearson_r(prediction, target)
    assert found.isnan().tolist() == [False, False, True, False, False]


def test_a_zero_vector_has_no_direction():
    _, target = pair()
    with pytest.warns(UserWarning, match="all zero"):
        assert cosine_similarity(torch.zeros_like(target), target).isnan().all()


@pytest.mark.parametrize("metric", METRICS)
def test_one_float64_number_an_image_whatever_the_dtype(metric):
    prediction, target = pair()
    values = metric(prediction.half(), target.half())
    assert values.shape == (5,)
    assert values.dtype == torch.float64
    torch.testing.assert_close(values[2:3], metric(prediction.half()[2:3], target.half()[2:3]))


@pytest.mark.parametrize("metric", METRICS)
def test_bad_images_are_refused(metric):
    prediction, target = pair()
    with pytest.raises(ValueError, match="the same shape"):
        metric(prediction[:2], target)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        metric(prediction[0], target[0])
    with pytest.raises(ValueError, match="NaN"):
        metric(prediction.log(), target)
    with pytest.raises(TypeError, match="floating point"):
        metric(prediction.int(), target)
