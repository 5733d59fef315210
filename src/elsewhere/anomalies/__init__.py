"""Extra limbs: count them in images, and measure how often machines and networks draw a wrong number."""

from elsewhere.anomalies.counting import count_fingers, count_legs, count_sleeves, finger_tips
from elsewhere.anomalies.laboratory import measure
from elsewhere.anomalies.points import Point, two_windows
from elsewhere.anomalies.result import Anomalies
from elsewhere.anomalies.statistics import Agreement, Rate, agreement, rate
from elsewhere.anomalies.subjects import SUBJECTS, Subject

__all__ = [
    "SUBJECTS",
    "Agreement",
    "Anomalies",
    "Point",
    "Rate",
    "Subject",
    "agreement",
    "count_fingers",
    "count_legs",
    "count_sleeves",
    "finger_tips",
    "measure",
    "rate",
    "two_windows",
]
