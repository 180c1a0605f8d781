"""Global average pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor, nn

from netadapt.profiler.kernels.base import Kernel, Shape

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node


class GlobalPool(nn.Module):
    """Mean over height and width: `(B, C, H, W)` to `(B, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        # The runtime knows the mean only with its dimensions kept.
        return x.mean((2, 3), keepdim=True).flatten(1)


@dataclass(frozen=True)
class GlobalPoolKernel(Kernel):
    """Global average pooling: `(1, C, H, W)` to `(1, C)`."""

    type_name: ClassVar[str] = "global_pool"
    module_type: ClassVar[type[nn.Module]] = GlobalPool

    channels: int
    height: int
    width: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.channels, self.height, self.width),)

    @property
    def output_shape(self) -> Shape:
        return (1, self.channels)

    def module(self) -> nn.Module:
        return GlobalPool().eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        (_, channels, height, width) = inputs[0]
        return cls(channels, height, width)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        if nodes[0].op != "GlobalAvgPooling2d" or len(nodes[0].inputs[0][1].dims) != 4:
            return ()
        (_, height, width, channels) = nodes[0].inputs[0][1].dims
        return [cls(channels, height, width)]
