"""The plain network of an arch, made of kernels' modules and nothing else.

Symbols as in `netadapt.search.space`. What runs is exactly `space.kernels(arch)`: a removed block
is not there, a narrower one has smaller weights. Names begin with letters, as the XNNPACK backend
wants.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netadapt.profiler.kernels import (
    Activation,
    Add,
    Bypass,
    DepthwiseConvNorm,
    GlobalPool,
    Linear,
    PointwiseConvNorm,
    SqueezeExcite,
    StandardConvNorm,
)
from netadapt.search.space import STEM_KERNEL_SIZE, Arch, BlockArch, Space, squeeze_channels


def build_network(space: Space, arch: Arch, *, generator: torch.Generator | None = None) -> Network:
    """The network of `arch`, initialised from `generator` (None: torch's own).

    Input `(B, in_channels, resolution, resolution)`, output `(B, classes)`. Raises `ArchError` for
    an arch that is not in the space.
    """
    network = empty_network(space, arch)
    initialize(network, generator)
    return network


def empty_network(space: Space, arch: Arch) -> Network:
    """As `build_network`, its weights and buffers not set: for who sets all of them."""
    space.validate(arch)
    with torch.device("meta"):
        network = Network(space, arch)
    return network.to_empty(device="cpu")


class Block(nn.Module):
    """Inverted residual block: `(B, C, H, W)` to `(B, max(min(C, T), M), H/s, W/s)`."""

    def __init__(self, space: Space, index: int, in_channels: int, arch: BlockArch) -> None:
        super().__init__()
        assert arch.kernel_size is not None
        spec = space.blocks[index]
        fused = spec.fused_activation
        channels = arch.expansion or in_channels
        self.expand = (
            PointwiseConvNorm(in_channels, channels, activation=fused) if arch.expansion else None
        )
        self.expand_activation = (
            Activation(spec.activation) if arch.expansion and fused == "none" else None
        )
        self.depthwise = DepthwiseConvNorm(
            channels, arch.kernel_size, spec.stride, activation=fused
        )
        self.depthwise_activation = Activation(spec.activation) if fused == "none" else None
        self.squeeze_excite = (
            SqueezeExcite(channels, squeeze_channels(channels)) if spec.se else None
        )
        self.project = PointwiseConvNorm(channels, arch.width)
        self.join: Add | Bypass | None = None
        if space.joined(index, in_channels, arch.width):
            out_channels = space.out_channels(index, in_channels, arch.width)
            self.join = Add() if in_channels == arch.width else Bypass(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in (
            self.expand,
            self.expand_activation,
            self.depthwise,
            self.depthwise_activation,
            self.squeeze_excite,
            self.project,
        ):
            if layer is not None:
                y = layer(y)
        return y if self.join is None else self.join(x, y)


class Network(nn.Module):
    """See `build_network`, which is how to make one. `block<i>` are the blocks that are left."""

    def __init__(self, space: Space, arch: Arch) -> None:
        super().__init__()
        self.stem = StandardConvNorm(
            space.in_channels, arch.stem, STEM_KERNEL_SIZE, space.stem.stride
        )
        self.stem_activation = Activation("hardswish")
        self.blocks = nn.Module()
        channels = arch.stem
        for index, block in enumerate(arch.blocks):
            if not block.removed:
                self.blocks.add_module(f"block{index}", Block(space, index, channels, block))
            channels = space.out_channels(index, channels, block.width)
        self.head = PointwiseConvNorm(channels, arch.head)
        self.head_activation = Activation("hardswish")
        self.pool = GlobalPool()
        self.hidden = Linear(arch.head, arch.hidden)
        self.hidden_activation = Activation("hardswish")
        self.dropout = nn.Dropout(space.dropout)
        self.classifier = Linear(arch.hidden, space.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_activation(self.stem(x))
        for block in self.blocks.children():
            x = block(x)
        x = self.pool(self.head_activation(self.head(x)))
        x = self.hidden_activation(self.hidden(x))
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


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
