"""Trained denoisers: a small residual network, diffusers' UNet, training, and adapters."""

from elsewhere.networks.attention import attention_layers, attention_weights, within_window
from elsewhere.networks.diffusers_folder import DiffusersNetwork
from elsewhere.networks.loading import SHIPPED, load_network
from elsewhere.networks.preconditioned import WrappedNetwork, wrap
from elsewhere.networks.published import PublishedNetwork, read_published
from elsewhere.networks.train_settings import TrainSettings
from elsewhere.networks.trained import NetworkSpec, TrainedNetwork, read_network, save_network
from elsewhere.networks.training import train

__all__ = [
    "SHIPPED",
    "DiffusersNetwork",
    "NetworkSpec",
    "PublishedNetwork",
    "TrainSettings",
    "TrainedNetwork",
    "WrappedNetwork",
    "attention_layers",
    "attention_weights",
    "load_network",
    "read_network",
    "read_published",
    "save_network",
    "train",
    "within_window",
    "wrap",
]
