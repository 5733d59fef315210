"""Trained denoisers: a small residual network, diffusers' UNet, training, and adapters."""

from elsewhere.networks.diffusers_folder import DiffusersNetwork
from elsewhere.networks.loading import SHIPPED, load_network
from elsewhere.networks.train_settings import TrainSettings
from elsewhere.networks.trained import NetworkSpec, TrainedNetwork, read_network, save_network
from elsewhere.networks.training import train

__all__ = [
    "SHIPPED",
    "DiffusersNetwork",
    "NetworkSpec",
    "TrainSettings",
    "TrainedNetwork",
    "load_network",
    "read_network",
    "save_network",
    "train",
]
