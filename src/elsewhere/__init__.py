"""Analytic diffusion."""

from elsewhere import schedules
from elsewhere.data import ImageSet, load_images
from elsewhere.sampling import Run, make_noise, sample

__all__ = ["ImageSet", "Run", "load_images", "make_noise", "sample", "schedules"]
