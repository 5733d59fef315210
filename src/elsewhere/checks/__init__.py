"""Checks of arguments. Every error names the argument, the value seen and what was expected.

`checked` compares the arguments of a function with its annotations before the function runs (annotations.py); the
`check_...` functions check single objects (objects.py) and ranges (ranges.py). words.py shows values in messages.
"""

from elsewhere.checks.annotations import LARGEST_INTEGER, check_fields, check_type, checked
from elsewhere.checks.objects import check_dense, check_device, check_path, check_room, devices
from elsewhere.checks.ranges import (
    MOST_IMAGES,
    check_choice,
    check_levels,
    check_memory,
    check_number,
    check_seed,
    check_sides,
    check_whole,
)
from elsewhere.checks.words import remedy_for, seen, seen_text

__all__ = [
    "LARGEST_INTEGER",
    "MOST_IMAGES",
    "check_choice",
    "check_dense",
    "check_device",
    "check_fields",
    "check_levels",
    "check_memory",
    "check_number",
    "check_path",
    "check_room",
    "check_seed",
    "check_sides",
    "check_type",
    "check_whole",
    "checked",
    "devices",
    "remedy_for",
    "seen",
    "seen_text",
]
