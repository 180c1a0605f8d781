"""The weights that networks of all families start from."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """He-normal filters (fan-out), linear layers uniform within 1/sqrt(fan-in) (assumptions)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
