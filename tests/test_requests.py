import pytest
import torch

import elsewhere as els
from elsewhere import IdealScore, ImageSet
from elsewhere.denoiser import check_prediction, check_request


def test_labels_become_one_a_seed():
    blur = IdealScore(ImageSet(torch.zeros(3, 1, 5, 5, dtype=torch.uint8), torch.arange(3)))
    noise, labels = check_request({"blur": blur}, torch.zeros(4, 1, 5, 5), 2)
    assert noise.shape == (4, 1, 5, 5)
    assert labels.tolist() == [2, 2, 2, 2]
    assert check_request({"blur": blur}, torch.zeros(4, 1, 5, 5), None)[1] is None


def test_a_denoiser_without_classes_of_its_own_takes_any_label():
    _, labels = check_request({"mine": lambda x, sigma, label=None: x}, torch.zeros(2, 1, 5, 5), [7, 8])
    assert labels.tolist() == [7, 8]


def test_predictions_of_the_wrong_shape_or_with_nan_name_the_denoiser():
    like = torch.zeros(2, 1, 5, 5)
    with pytest.raises(ValueError, match=r"blur returned shape \(2, 1, 4, 5\)"):
        check_prediction("blur", torch.zeros(2, 1, 4, 5), like)
    with pytest.raises(ValueError, match="output of blur has NaN"):
        check_prediction("blur", like / 0, like)


@pytest.mark.parametrize("answer", [lambda x: None, lambda x: x[..., :1], lambda x: x * float("nan")])
@pytest.mark.parametrize("call", ["sample", "fixed_point", "score", "inpaint"])
def test_a_denoiser_whose_answer_is_no_image_is_named(call, answer):
    images = torch.zeros(1, 1, 5, 5)
    settings = {"score": [1.0], "inpaint": [torch.ones(5, 5, dtype=torch.bool)]}.get(call, [])
    with pytest.raises((TypeError, ValueError), match="denoiser"):
        getattr(els, call)(lambda x, sigma, label=None: answer(x), images, *settings)


def test_the_score_is_finite_or_an_error():
    x = torch.ones(1, 1, 5, 5)
    assert els.score(lambda x, sigma, label=None: 0 * x, x, 1e8).abs().max() <= 1e-16
    with pytest.raises(ValueError, match="sigma must be between"):
        els.score(lambda x, sigma, label=None: 0 * x, x, 1e-30)
