"""Fully connected layers, with or without a clamp that the runtime fuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor, nn

from netadapt.profiler.kernels.base import Kernel, Shape
from netadapt.profiler.kernels.convolution import CLAMPS, fused_activation

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node


class Linear(nn.Module):
    """`(B, in_features)` to `(B, out_features)`, with bias."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y


class ClampedLinear(Linear):
    """`Linear` with "relu" or "relu6" behind it."""

    def __init__(self, in_features: int, out_features: int, activation: str) -> None:
        super().__init__(in_features, out_features)
        if activation not in CLAMPS:
            raise ValueError(
                f"a linear layer fuses one of {sorted(CLAMPS)}, got {activation!r}; "
                "put an Activation module behind a Linear"
            )
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return CLAMPS[self.activation](self.linear(x))


@dataclass(frozen=True)
class LinearKernel(Kernel):
    """`(1, in_features)` to `(1, out_features)`."""

    type_name: ClassVar[str] = "linear"
    module_type: ClassVar[type[nn.Module]] = Linear

    in_features: int
    out_features: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.in_features),)

    @property
    def output_shape(self) -> Shape:
        return (1, self.out_features)

    @property
    def macs(self) -> int:
        return self.in_features * self.out_features

    @property
    def params(self) -> int:
        return self.out_features * (self.in_features + 1)

    @property
    def carries_layout_cost(self) -> bool:
        return False

    def module(self) -> nn.Module:
        return Linear(self.in_features, self.out_features).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, Linear)
        return cls(module.linear.in_features, module.linear.out_features)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        dims = nodes[0].inputs[0][1].dims
        if nodes[0].op != "FullyConnected" or len(dims) != 2:
            return ()
        return cls._variants(dims[-1], nodes[0])

    @classmethod
    def _variants(cls, in_features: int, node: Node) -> Sequence[LinearKernel]:
        return [cls(in_features, node.output[1].dims[-1])]


@dataclass(frozen=True)
class ClampedLinearKernel(LinearKernel):
    """`(1, in_features)` to `(1, out_features)` with a fused `activation`.

    A type beside `LinearKernel`, so that the keys of that one stay as tables have them.
    """

    type_name: ClassVar[str] = "clamped_linear"
    module_type: ClassVar[type[nn.Module]] = ClampedLinear

    activation: str

    def module(self) -> nn.Module:
        return ClampedLinear(self.in_features, self.out_features, self.activation).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, ClampedLinear)
        linear = module.linear
        return cls(linear.in_features, linear.out_features, module.activation)

    @classmethod
    def _variants(cls, in_features: int, node: Node) -> Sequence[LinearKernel]:
        activation = fused_activation(node)
        if activation not in CLAMPS:
            return ()
        return [cls(in_features, node.output[1].dims[-1], activation)]
