"""The plain network of an arch, made of kernels' modules and nothing else.

Symbols as in the module `space` beside this one. What runs is exactly `space.kernels(arch)`: a
removed layer or skip is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.profiler.kernels import (
    Add,
    Bypass,
    DepthwiseConvNorm,
    PointwiseConvNorm,
    StandardConvNorm,
    Upsample,
)
from netadapt.search.families.encoder_decoder.arch import (
    DecoderArch,
    EncoderArch,
    EncoderDecoderArch,
)
from netadapt.search.families.encoder_decoder.space import (
    DECODER_ACTIVATION,
    ENCODER_ACTIVATION,
)
from netadapt.search.families.initialization import initialize

if TYPE_CHECKING:
    from netadapt.search.families.encoder_decoder.space import EncoderDecoderSpace


def build_network(
    space: EncoderDecoderSpace, arch: EncoderDecoderArch, generator: torch.Generator | None
) -> EncoderDecoder:
    """The network of an arch of the space, initialised from `generator` (None: torch's own).

    Input `(B, in_channels, H, W)`, output `(B, classes, H, W)`.
    """
    with torch.device("meta"):  # draws nothing
        network = EncoderDecoder(space, arch)
    network.to_empty(device="cpu")
    initialize(network, generator)
    return network


class EncoderBlock(nn.Module):
    """`(B, C, H, W)` to `(B, max(min(C, T), M), H/s, W/s)`."""

    def __init__(
        self, space: EncoderDecoderSpace, index: int, channels: int, layer: EncoderArch
    ) -> None:
        super().__init__()
        assert layer.kernel_size is not None
        self.depthwise = DepthwiseConvNorm(
            channels,
            layer.kernel_size,
            space.encoder[index].stride,
            activation=ENCODER_ACTIVATION,
        )
        self.pointwise = PointwiseConvNorm(channels, layer.width, activation=ENCODER_ACTIVATION)
        self.join: Add | Bypass | None = None
        if space.bypassed(index):
            out = space.out_channels(index, channels, layer.width)
            self.join = Add() if channels == layer.width else Bypass(out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y if self.join is None else self.join(x, y)


class DecoderBlock(nn.Module):
    """`(B, C, H, W)` to `(B, M, 2H, 2W)`, with the skip `(B, M, 2H, 2W)` where there is one."""

    def __init__(self, channels: int, layer: DecoderArch) -> None:
        super().__init__()
        self.depthwise = DepthwiseConvNorm(
            channels, layer.kernel_size, activation=DECODER_ACTIVATION
        )
        self.pointwise = PointwiseConvNorm(channels, layer.width, activation=DECODER_ACTIVATION)
        self.upsample = Upsample(layer.upsampling)
        self.join = Add() if layer.skip else None

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        y: Tensor = self.upsample(self.pointwise(self.depthwise(x)))
        return y if self.join is None else self.join(skip, y)


class EncoderDecoder(nn.Module):
    """See `build_network`. `encoder.layer<i>` are the layers that are left."""

    def __init__(self, space: EncoderDecoderSpace, arch: EncoderDecoderArch) -> None:
        super().__init__()
        stem, channels = space.stem, space.channels_before(arch)
        self.stem = StandardConvNorm(
            space.in_channels,
            arch.stem,
            stem.kernel_size,
            stem.stride,
            activation=ENCODER_ACTIVATION,
        )
        self.encoder = nn.ModuleDict(
            {
                f"layer{i}": EncoderBlock(space, i, channels[i], layer)
                for i, layer in enumerate(arch.encoder)
                if not layer.removed
            }
        )
        widths = [channels[-1], *(layer.width for layer in arch.decoder)]
        self.decoder = nn.ModuleDict(
            {f"layer{i}": DecoderBlock(widths[i], layer) for i, layer in enumerate(arch.decoder)}
        )
        self.output = PointwiseConvNorm(
            widths[-1], space.classes, activation=space.output_activation
        )
        self._kept = {
            f"layer{source}": f"layer{target}"
            for source, target in space.sources.items()
            if arch.decoder[target].skip
        }

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips: dict[str, Tensor] = {}
        for name, layer in self.encoder.items():
            x = layer(x)
            if name in self._kept:
                skips[self._kept[name]] = x
        for name, layer in self.decoder.items():
            x = layer(x, skips[name]) if name in skips else layer(x)
        y: Tensor = self.output(x)
        return y
