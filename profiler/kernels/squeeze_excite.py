"""Squeeze-excite: pool, two 1x1 convolutions, a gate, scale; one kernel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels.base import Kernel, Shape

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node

INNER: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "silu": functional.silu}
"""Activations between the two convolutions."""
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "hardsigmoid": functional.hardsigmoid,
    "sigmoid": torch.sigmoid,
}
USUAL = ("relu", "hardsigmoid")
"""MobileNetV3's activation and gate, a kernel type of their own."""


class SqueezeExcite(nn.Module):
    """`x * hard_sigmoid(expand(relu(reduce(mean(x)))))`, input and output `(B, C, H, W)`."""

    activation, gate = USUAL

    def __init__(self, channels: int, squeeze_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = INNER[self.activation](self.reduce(x.mean((2, 3), keepdim=True)))
        return x * GATES[self.gate](self.expand(inner))


class GeneralSqueezeExcite(SqueezeExcite):
    """The same with another activation than relu, or another gate than the hard sigmoid."""

    def __init__(self, channels: int, squeeze_channels: int, activation: str, gate: str) -> None:
        super().__init__(channels, squeeze_channels)
        self.activation, self.gate = activation, gate


def make_squeeze_excite(
    channels: int, squeeze_channels: int, activation: str, gate: str
) -> SqueezeExcite:
    """The module of these; see `squeeze_excite_kernel`."""
    if (activation, gate) == USUAL:
        return SqueezeExcite(channels, squeeze_channels)
    return GeneralSqueezeExcite(channels, squeeze_channels, activation, gate)


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

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        if nodes[0].op != "GlobalAvgPooling2d" or not nodes[1:2] or "Conv2d" not in nodes[1].op:
            return ()
        (_, height, width, channels) = nodes[0].inputs[0][1].dims
        squeezed = nodes[1].output[1].dims[-1]
        return cls._variants(channels, squeezed, height, width)

    @classmethod
    def _variants(
        cls, channels: int, squeezed: int, height: int, width: int
    ) -> Sequence[SqueezeExciteKernel]:
        return [cls(channels, squeezed, height, width)]


@dataclass(frozen=True)
class GeneralSqueezeExciteKernel(SqueezeExciteKernel):
    """Squeeze-excite with another activation or gate than `SqueezeExciteKernel`'s.

    A type beside it, so that the keys of that one stay as tables have them.
    """

    type_name: ClassVar[str] = "general_squeeze_excite"
    module_type: ClassVar[type[nn.Module]] = GeneralSqueezeExcite

    activation: str
    gate: str

    def __post_init__(self) -> None:
        super().__post_init__()
        pair = (self.activation, self.gate)
        if self.activation not in INNER or self.gate not in GATES or pair == USUAL:
            raise ValueError(
                f"this type has an activation of {sorted(INNER)} and a gate of {sorted(GATES)} "
                f"other than {USUAL}, got {pair}; squeeze_excite_kernel() chooses the type"
            )

    def module(self) -> nn.Module:
        return GeneralSqueezeExcite(
            self.channels, self.squeeze_channels, self.activation, self.gate
        ).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, GeneralSqueezeExcite)
        (_, channels, height, width) = inputs[0]
        squeeze_channels = module.reduce.out_channels
        return cls(channels, squeeze_channels, height, width, module.activation, module.gate)

    @classmethod
    def _variants(
        cls, channels: int, squeezed: int, height: int, width: int
    ) -> Sequence[SqueezeExciteKernel]:
        pairs = [pair for pair in itertools.product(INNER, GATES) if pair != USUAL]
        return [cls(channels, squeezed, height, width, *pair) for pair in pairs]


def squeeze_excite_kernel(
    channels: int, squeeze_channels: int, height: int, width: int, activation: str, gate: str
) -> SqueezeExciteKernel:
    """The one kernel of these."""
    if (activation, gate) == USUAL:
        return SqueezeExciteKernel(channels, squeeze_channels, height, width)
    return GeneralSqueezeExciteKernel(channels, squeeze_channels, height, width, activation, gate)
