"""The plain network of an arch, made of kernels' modules and nothing else.

Symbols as in the module `space` beside this one. What runs is exactly `space.kernels(arch)`: a
removed block is not there, a narrower one has smaller weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.profiler.kernels import (
    Activation,
    Add,
    Bypass,
    ClampedLinear,
    ConvNorm,
    DepthwiseConvNorm,
    GlobalPool,
    Linear,
    PointwiseConvNorm,
    Resize,
    StandardConvNorm,
    make_squeeze_excite,
)
from netadapt.search.families.initialization import initialize
from netadapt.search.families.inverted_residual.activations import STANDALONE, fused
from netadapt.search.families.inverted_residual.arch import BlockArch, InvertedResidualArch

if TYPE_CHECKING:
    from netadapt.search.families.inverted_residual.space import InvertedResidualSpace


def build_network(
    space: InvertedResidualSpace, arch: InvertedResidualArch, generator: torch.Generator | None
) -> Network:
    """The network of an arch of the space, initialised from `generator` (None: torch's own).

    Input `(B, in_channels, H, W)`, output `(B, classes)`.
    """
    with torch.device("meta"):  # draws nothing
        network = Network(space, arch)
    network.to_empty(device="cpu")
    initialize(network, generator)
    return network


class Block(nn.Module):
    """Block `index` of the space: `(B, C, H, W)` to `(B, max(min(C, T), M), H/s, W/s)`."""

    def __init__(
        self, space: InvertedResidualSpace, index: int, in_channels: int, arch: BlockArch
    ) -> None:
        super().__init__()
        k = arch.kernel_size
        assert k is not None
        spec = space.blocks[index]
        activation = spec.activation_of(arch)
        clamp, standalone = fused(activation), _standalone(activation)
        channels = arch.expansion or in_channels
        dense = spec.kind != "inverted_residual"
        self.expand: ConvNorm | None = None
        self.expand_activation: Activation | None = None
        if arch.expansion:
            self.expand = (
                StandardConvNorm(in_channels, channels, k, spec.stride, activation=clamp)
                if dense
                else PointwiseConvNorm(in_channels, channels, activation=clamp)
            )
            self.expand_activation = standalone()
        self.depthwise: ConvNorm | None = None
        self.depthwise_activation: Activation | None = None
        if not dense:
            self.depthwise = DepthwiseConvNorm(channels, k, spec.stride, activation=clamp)
            self.depthwise_activation = standalone()
        squeeze = space.squeeze_excite
        self.squeeze_excite = (
            make_squeeze_excite(
                channels, squeeze.channels(channels, in_channels), squeeze.activation, squeeze.gate
            )
            if spec.se_of(arch)
            else None
        )
        self.project: ConvNorm
        self.project_activation: Activation | None = None
        if spec.kind == "residual":
            self.project = StandardConvNorm(channels, arch.width, k)
        elif arch.expansion or not dense:
            self.project = PointwiseConvNorm(channels, arch.width)
        else:
            self.project = StandardConvNorm(
                in_channels, arch.width, k, spec.stride, activation=clamp
            )
            self.project_activation = standalone()
        self.join: Add | Bypass | None = None
        if space.joined(index, in_channels, arch.width):
            out_channels = space.out_channels(index, in_channels, arch.width)
            self.join = Add() if in_channels == arch.width else Bypass(out_channels)
        self.drop_path = space.drop_path_of(index)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in (
            self.expand,
            self.expand_activation,
            self.depthwise,
            self.depthwise_activation,
            self.squeeze_excite,
            self.project,
            self.project_activation,
        ):
            if layer is not None:
                y = layer(y)
        if self.join is None:
            return y
        passing = passing_by(y, self.drop_path) if self.training else None
        return self.join(x, y if passing is None else y * passing)


def passing_by(x: Tensor, share: float) -> Tensor | None:
    """Stochastic depth: for each image 0, or what keeps the mean; `(B, 1, 1, 1)`, None for none."""
    if not share:
        return None
    return x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - share).div_(1 - share)


class Network(nn.Module):
    """See `build_network`, which is how to make one. `block<i>` are the blocks that are left.

    In a space with several resolutions images are brought to the arch's first.
    """

    def __init__(self, space: InvertedResidualSpace, arch: InvertedResidualArch) -> None:
        super().__init__()
        stem, head, hidden = space.stem, space.head, space.hidden
        self.resize = Resize(space.input_shape_of(arch)[2:]) if space.resolutions else None
        self.stem = StandardConvNorm(
            space.in_channels,
            arch.stem,
            stem.kernel_size,
            stem.stride,
            activation=fused(stem.activation),
        )
        self.stem_activation = _standalone(stem.activation)()
        self.blocks = nn.Module()
        channels = arch.stem
        for index, block in enumerate(arch.blocks):
            if not block.removed:
                self.blocks.add_module(f"block{index}", Block(space, index, channels, block))
            channels = space.out_channels(index, channels, block.width)
        self.head: ConvNorm | None = None
        self.head_activation: Activation | None = None
        if head is not None:
            self.head = PointwiseConvNorm(channels, arch.head, activation=fused(head.activation))
            self.head_activation = _standalone(head.activation)()
            channels = arch.head
        self.pool = GlobalPool()
        self.hidden: Linear | None = None
        self.hidden_activation: Activation | None = None
        if hidden is not None:
            clamp = fused(hidden.activation)
            self.hidden = (
                Linear(channels, arch.hidden)
                if clamp == "none"
                else ClampedLinear(channels, arch.hidden, clamp)
            )
            self.hidden_activation = _standalone(hidden.activation)()
            channels = arch.hidden
        self.dropout = nn.Dropout(space.dropout)
        self.classifier = Linear(channels, space.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = _through(x, self.resize, self.stem, self.stem_activation, *self.blocks.children())
        x = self.pool(_through(x, self.head, self.head_activation))
        x = _through(x, self.hidden, self.hidden_activation)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


def _through(x: Tensor, *layers: nn.Module | None) -> Tensor:
    for layer in layers:
        if layer is not None:
            x = layer(x)
    return x


def _standalone(activation: str) -> Callable[[], Activation | None]:
    """Makes the module of an activation that is not fused; None of any other."""
    return lambda: Activation(activation) if activation in STANDALONE else None
