"""Analysis of drawn images: comparison with trained networks, calibration, explanation, and audit for copies."""

from elsewhere.analysis.attention import AttentionReport, attention_report
from elsewhere.analysis.auditing import Audit, audit
from elsewhere.analysis.calibration import calibrate, save_calibration_plots
from elsewhere.analysis.coherence import coherence_length, regions
from elsewhere.analysis.comparison import Comparison, compare
from elsewhere.analysis.explaining import Mosaic, explain, explain_run
from elsewhere.analysis.explanation import Explanation, explain_images
from elsewhere.analysis.family_calibration import calibrate_family, describe_gains
from elsewhere.analysis.metrics import cosine_similarity, mse, pearson_r, r_squared
from elsewhere.analysis.mosaic_files import save_json, save_parquet
from elsewhere.analysis.novelty import Nearest, nearest_training_images
from elsewhere.analysis.report import write_report
from elsewhere.analysis.run_widget import run_widget
from elsewhere.analysis.sensitivity import sensitivity_masks
from elsewhere.analysis.transitions import Transition, transition

__all__ = [
    "AttentionReport",
    "Audit",
    "Comparison",
    "Explanation",
    "Mosaic",
    "Nearest",
    "Transition",
    "attention_report",
    "audit",
    "calibrate",
    "calibrate_family",
    "coherence_length",
    "compare",
    "cosine_similarity",
    "describe_gains",
    "explain",
    "explain_images",
    "explain_run",
    "mse",
    "nearest_training_images",
    "pearson_r",
    "r_squared",
    "regions",
    "run_widget",
    "save_calibration_plots",
    "save_json",
    "save_parquet",
    "sensitivity_masks",
    "transition",
    "write_report",
]
