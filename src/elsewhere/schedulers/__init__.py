"""What the schedulers of diffusers say: noise levels, and how a network is asked for x0hat."""

from elsewhere.schedulers.levels import preconditioning_of, sampling_levels
from elsewhere.schedulers.preconditioning import (
    PURE_NOISE,
    Coefficients,
    FlowTimes,
    FunctionTimes,
    LogTimes,
    Preconditioning,
    Prediction,
    Scale,
    TableTimes,
    Times,
)
from elsewhere.schedulers.settings import READ, SCHEDULERS, check_settings

__all__ = [
    "PURE_NOISE",
    "READ",
    "SCHEDULERS",
    "Coefficients",
    "FlowTimes",
    "FunctionTimes",
    "LogTimes",
    "Preconditioning",
    "Prediction",
    "Scale",
    "TableTimes",
    "Times",
    "check_settings",
    "preconditioning_of",
    "sampling_levels",
]
