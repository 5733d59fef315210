"""The laboratory of extra limbs: counting them, and measuring when machines and networks draw too many."""

from elsewhere.anomalies.counting import count_fingers, count_legs, count_sleeves, finger_tips
from elsewhere.anomalies.laboratory import Anomalies, Point, measure, two_windows
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
