"""Squeeze-excite: pool, two 1x1 convolutions, hard sigmoid, scale; one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels.base import Kernel, Shape


class SqueezeExcite(nn.Module):
    """`x * hard_sigmoid(expand(relu(reduce(mean(x)))))`, input and output `(B, C, H, W)`."""

    def __init__(self, channels: int, squeeze_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * functional.hardsigmoid(gate)


@dataclass(frozen=True)
class SqueezeExciteKernel(Kernel):
    """Squeeze-excite on `(1, C, H, W)` with `squeeze_channels` hidden channels."""

    type_name: ClassVar[str] = "squeeze_excite"
    module_type: ClassVar[type[nn.Module]] = SqueezeExcite

    channels: int
    squeeze_channels: int
    height: int
    width: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.channels, self.height, self.width),)

    @property
    def output_shape(self) -> Shape:
        return (1, self.channels, self.height, self.width)

    @property
    def macs(self) -> int:
        return 2 * self.channels * self.squeeze_channels

    @property
    def params(self) -> int:
        return 2 * self.channels * self.squeeze_channels + self.channels + self.squeeze_channels

    def module(self) -> nn.Module:
        return SqueezeExcite(self.channels, self.squeeze_channels).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, SqueezeExcite)
        (_, channels, height, width) = inputs[0]
        return cls(channels, module.reduce.out_channels, height, width)
