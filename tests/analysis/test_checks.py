import pytest
import torch
from analysis_toys import Blur

from elsewhere.analysis.checks import check_pixel, check_prediction, check_request, check_schedule, describe
from elsewhere.schedules import cosine, karras


def test_labels_become_one_a_seed():
    blur = Blur()
    blur.num_classes = 3
    noise, labels = check_request({"blur": blur}, torch.zeros(4, 1, 5, 5), 2)
    assert noise.shape == (4, 1, 5, 5)
    assert labels.tolist() == [2, 2, 2, 2]
    assert check_request({"blur": blur}, torch.zeros(4, 1, 5, 5), None)[1] is None


def test_a_denoiser_without_classes_of_its_own_takes_any_label():
    _, labels = check_request({"mine": lambda x, sigma, label=None: x}, torch.zeros(2, 1, 5, 5), [7, 8])
    assert labels.tolist() == [7, 8]


def test_schedule_defaults_to_the_published_one():
    assert check_schedule(None) == cosine(20)
    assert check_schedule(karras(5)) == karras(5)
    with pytest.raises(TypeError, match=r"schedule must be a Schedule.*list"):
        check_schedule([3.0, 0.0])


def test_predictions_of_the_wrong_shape_or_with_nan_name_the_denoiser():
    like = torch.zeros(2, 1, 5, 5)
    with pytest.raises(ValueError, match=r"blur returned shape \(2, 1, 4, 5\)"):
        check_prediction("blur", torch.zeros(2, 1, 4, 5), like)
    with pytest.raises(ValueError, match="output of blur has NaN"):
        check_prediction("blur", like / 0, like)


def test_a_pixel_lies_in_the_image():
    check_pixel((0, 8), 4, 9)
    for pixel in ((4, 0), (0, 9), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="a row and a column of 4x9 pixels, counted from 0"):
            check_pixel(pixel, 4, 9)


def test_descriptions_are_the_same_in_every_run():
    assert describe(describe) == "<function describe>"
    assert describe(Blur(5)) == "Blur(5)"
