"""Analytic diffusion: what an image diffusion network draws, in closed form."""

from elsewhere import schedules
from elsewhere.data import ImageSet, load_images
from elsewhere.machines import EquivariantLocalScore, IdealScore, LocalitySchedule, LocalScore
from elsewhere.sampling import Run, make_noise, sample

__all__ = [
    "EquivariantLocalScore",
    "IdealScore",
    "ImageSet",
    "LocalScore",
    "LocalitySchedule",
    "Run",
    "load_images",
    "make_noise",
    "sample",
    "schedules",
]
