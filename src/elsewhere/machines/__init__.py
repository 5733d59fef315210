"""The closed formulas: one idea a file, each a setting of one softmax average."""

from elsewhere.machines.equivariant_local import EquivariantLocalScore
from elsewhere.machines.ideal import IdealScore
from elsewhere.machines.local import LocalScore
from elsewhere.machines.locality import LocalitySchedule

__all__ = ["EquivariantLocalScore", "IdealScore", "LocalScore", "LocalitySchedule"]
