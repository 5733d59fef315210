"""Trained denoisers: a small residual network, diffusers' UNet, training, and adapters."""

from elsewhere.networks.trained import NetworkSpec, TrainedNetwork, read_network, save_network
from elsewhere.networks.training import TrainSettings, train

__all__ = ["NetworkSpec", "TrainSettings", "TrainedNetwork", "read_network", "save_network", "train"]
