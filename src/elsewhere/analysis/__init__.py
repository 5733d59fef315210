"""Holding machines against trained networks: calibration, comparison, nearest training images, reports."""

from elsewhere.analysis.audit import Audit, audit
from elsewhere.analysis.calibration import calibrate, save_calibration_plots
from elsewhere.analysis.comparison import Comparison, compare
from elsewhere.analysis.metrics import cosine_similarity, mse, pearson_r, r_squared
from elsewhere.analysis.novelty import Nearest, nearest_training_images
from elsewhere.analysis.report import write_report

__all__ = [
    "Audit",
    "Comparison",
    "Nearest",
    "audit",
    "calibrate",
    "compare",
    "cosine_similarity",
    "mse",
    "nearest_training_images",
    "pearson_r",
    "r_squared",
    "save_calibration_plots",
    "write_report",
]
