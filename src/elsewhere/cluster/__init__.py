"""Machines whose training images are split among processes, on one computer or on many."""

from elsewhere.cluster.split_machine import Distributed, distributed

__all__ = ["Distributed", "distributed"]
