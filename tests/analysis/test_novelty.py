import numpy as np
import pytest
import torch
from analysis_toys import few_images

from elsewhere.analysis import nearest_training_images


def test_nearest_image_agrees_with_brute_force():
    data = few_images(13, channels=3)
    images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    near = nearest_training_images(images, data)
    all_keys = data.scaled(torch.float64).numpy()
    rms = np.sqrt(((images.double().numpy()[:, None] - all_keys[None]) ** 2).mean((2, 3, 4)))
    assert near.indices.tolist() == rms.argmin(1).tolist()
    np.testing.assert_allclose(near.distances.numpy(), rms.min(1), rtol=1e-6)  # float32 pixels
    torch.testing.assert_close(near.images, data.scaled()[near.indices])


def test_a_copy_is_an_image_within_one_grey_level():
    data = few_images()
    scaled, grey = data.scaled(), 2 / 255
    images = torch.stack([scaled[3], scaled[3] + 0.9 * grey, scaled[3] + 1.1 * grey])
    near = nearest_training_images(images, data)
    assert near.indices.tolist() == [3, 3, 3]
    assert near.copies.tolist() == [True, True, False]
    assert float(near.distances[0]) == 0


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"few, \(1, 9, 9\), got \(1, 8, 9\)"):
        nearest_training_images(torch.zeros(1, 1, 8, 9), few_images())
