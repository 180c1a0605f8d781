"""Activations that the runtime runs by themselves instead of fusing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels.base import Kernel, Shape

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node

FUNCTIONS = {
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    # The runtime has none: it runs a sigmoid and a multiplication, which are one kernel here.
    "silu": functional.silu,
}


class Activation(nn.Module):
    """An element-wise function by name, e.g. "hardswish"; any shape."""

    def __init__(self, function: str) -> None:
        super().__init__()
        if function not in FUNCTIONS:
            raise ValueError(
                f"a stand-alone activation is one of {sorted(FUNCTIONS)}, got {function!r}; "
                "ReLU and ReLU6 are fused into the layer before"
            )
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = FUNCTIONS[self.function](x)
        return y


@dataclass(frozen=True)
class ActivationKernel(Kernel):
    """`function` applied to `(1, C, H, W)`; `(1, C)` counts as `(1, C, 1, 1)`."""

    type_name: ClassVar[str] = "activation"
    module_type: ClassVar[type[nn.Module]] = Activation

    function: str
    channels: int
    height: int
    width: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape,)

    @property
    def output_shape(self) -> Shape:
        return (1, self.channels, self.height, self.width)

    @property
    def carries_layout_cost(self) -> bool:
        return False

    def module(self) -> nn.Module:
        return Activation(self.function).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, Activation)
        (_, channels, *size) = inputs[0]
        height, width = size or (1, 1)
        return cls(module.function, channels, height, width)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        # The scalars of a hard sigmoid make the backend compute it in NCHW
        functions = {"Hardswish": "hardswish", "Sigmoid": "silu", "StaticTranspose": "hardsigmoid"}
        function = functions.get(nodes[0].op)
        (batch, *size, channels) = nodes[0].inputs[0][1].dims or (0, 0)
        if function is None or batch != 1 or len(size) not in (0, 2):
            return ()
        height, width = size or (1, 1)
        return [cls(function, channels, height, width)]
