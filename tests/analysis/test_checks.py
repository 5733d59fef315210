import pytest
from analysis_toys import Blur

from elsewhere.analysis.checks import check_pixel, describe


def test_a_pixel_lies_in_the_image():
    check_pixel((0, 8), 4, 9)
    for pixel in ((4, 0), (0, 9), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="row,column inside the 4x9 image, counted from 0"):
            check_pixel(pixel, 4, 9)


def test_descriptions_are_the_same_in_every_run():
    assert describe(describe) == "<function describe>"
    assert describe(Blur(5)) == "Blur(5)"
