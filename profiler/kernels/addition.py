"""What joins a block's input and output: the residual addition and the channel-level bypass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels.base import Kernel, Shape

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node


class Add(nn.Module):
    """`x + y`, both `(B, C, H, W)`."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Bypass(nn.Module):
    """Join a block's input `x` (C channels) with the M filters `y` that are left of it.

    NetAdaptV2's channel-level bypass connection on a residual block (assumption: the published
    formula is not at hand): output channel i is `x_i + y_i` where both are there, the one that is
    there otherwise; `out_channels = max(min(C, T), M)` with T the super-network's filter count.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._fit(x) + self._fit(y)

    def _fit(self, x: Tensor) -> Tensor:
        missing = self.out_channels - x.shape[1]
        if missing > 0:
            return functional.pad(x, (0, 0, 0, 0, 0, missing))
        return x[:, : self.out_channels] if missing < 0 else x


@dataclass(frozen=True)
class AddKernel(Kernel):
    """Residual addition of two `(1, C, H, W)`."""

    type_name: ClassVar[str] = "add"
    module_type: ClassVar[type[nn.Module]] = Add

    channels: int
    height: int
    width: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape, self.output_shape)

    @property
    def output_shape(self) -> Shape:
        return (1, self.channels, self.height, self.width)

    @property
    def carries_layout_cost(self) -> bool:
        return False

    def module(self) -> nn.Module:
        return Add().eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        (_, channels, height, width) = inputs[0]
        return cls(channels, height, width)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        dims = nodes[0].output[1].dims
        if nodes[0].op != "Add" or len(dims) != 4:
            return ()
        (_, height, width, channels) = dims
        return [cls(channels, height, width)]


@dataclass(frozen=True)
class BypassKernel(Kernel):
    """Channel-level bypass: `(1, in_channels, H, W)` and `(1, filters, H, W)` joined.

    `out_channels` is `max(min(C, T), M)`.
    """

    type_name: ClassVar[str] = "bypass"
    module_type: ClassVar[type[nn.Module]] = Bypass

    in_channels: int
    filters: int
    out_channels: int
    height: int
    width: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (
            (1, self.in_channels, self.height, self.width),
            (1, self.filters, self.height, self.width),
        )

    @property
    def output_shape(self) -> Shape:
        return (1, self.out_channels, self.height, self.width)

    @property
    def carries_layout_cost(self) -> bool:
        return False

    def module(self) -> nn.Module:
        return Bypass(self.out_channels).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, Bypass)
        (_, in_channels, height, width), (_, filters, _, _) = inputs
        return cls(in_channels, filters, module.out_channels, height, width)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        fitted = {}
        for node in nodes[:3]:
            if node.op == "Add":
                break
            if node.op not in ("StaticConstantPad", "StaticSlice") or len(node.inputs) != 1:
                return ()
            fitted[node.values[-1]] = node.inputs[0][1].dims
        else:
            return ()
        dims = node.output[1].dims
        if not fitted or len(node.inputs) != 2 or len(dims) != 4:
            return ()
        # Channels of the two joined tensors as they were before they were fitted to each other
        in_channels, filters = (
            fitted.get(value, own.dims)[-1]
            for value, (_, own) in zip(node.values, node.inputs, strict=False)
        )
        (_, height, width, out_channels) = dims
        return [cls(in_channels, filters, out_channels, height, width)]
