"""What is compared with a network, from a list of names."""

from __future__ import annotations

import pytest

from elsewhere.contenders import split_contenders
from elsewhere.machines import table


def test_networks_stand_beside_machines_in_a_list() -> None:
    assert split_contenders("ELS, network:fashion-unet,is") == (["els", "is"], ["fashion-unet"])
    assert split_contenders("network:runs/A") == ([], ["runs/A"])
    assert split_contenders("all") == ([*table.NAMES], [])
    for text in ("network:", "network:a,network:a", "els,els", "all,is", "", "networks:a"):
        with pytest.raises(ValueError, match="--machines must"):
            split_contenders(text)
