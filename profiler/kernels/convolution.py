"""Convolution kernels: standard, pointwise (1x1) and depthwise, with folded norm and clamp.

The runtime folds batch normalisation into the weights and fuses ReLU and ReLU6 (clamps) into the
convolution; h-swish and SiLU stay kernels of their own (`netadapt.profiler.kernels.activation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels.base import Kernel, Shape

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node

CLAMPS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "relu6": functional.relu6}
"""Activations that the runtime fuses into the layer before them."""
FUSED_ACTIVATIONS = ("none", *CLAMPS)


class ConvNorm(nn.Module):
    """`conv -> norm -> activation` with "same" padding; input `(B, C, H, W)`.

    Parameters
    ----------
    activation: "none", "relu" or "relu6", what the runtime fuses.
    norm: whether a batch norm follows; without one the convolution has a bias (the folded form).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: str = "none",
        norm: bool = True,
    ) -> None:
        super().__init__()
        if activation not in FUSED_ACTIVATIONS:
            raise ValueError(
                f"a convolution fuses one of {FUSED_ACTIVATIONS}, got {activation!r}; "
                "put an Activation module behind it"
            )
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=not norm,
        )
        # eps and momentum are those of the published MobileNetV3.
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01) if norm else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation == "none" else CLAMPS[self.activation](x)

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Put the normalisation's statistics into weight and bias; eval outputs stay the same."""
        if self.norm is None:
            return
        self.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
        self.norm = None


class StandardConvNorm(ConvNorm):
    """A dense convolution of any size (1x1 has its own class)."""


class PointwiseConvNorm(ConvNorm):
    """A 1x1 convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        activation: str = "none",
        norm: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, activation=activation, norm=norm)


class DepthwiseConvNorm(ConvNorm):
    """A depthwise convolution: one filter a channel."""

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        activation: str = "none",
        norm: bool = True,
    ) -> None:
        super().__init__(
            channels,
            channels,
            kernel_size,
            stride,
            groups=channels,
            activation=activation,
            norm=norm,
        )


def strided(size: int, stride: int) -> int:
    """Output size of a "same"-padded odd convolution."""
    return (size - 1) // stride + 1


_BOUNDS = {None: "none", (0.0, float("inf")): "relu", (0.0, 6.0): "relu6"}


def fused_activation(node: Node) -> str | None:
    """The activation that the backend fused into a node; None for bounds that are none of ours."""
    bounds = node.clamp and (float(node.clamp[0]), float(node.clamp[1]))
    return _BOUNDS.get(bounds)


@dataclass(frozen=True)
class StandardConvKernel(Kernel):
    """Dense kxk convolution, k > 1: `(1, in_channels, H, W)` to `(1, out_channels, H/s, W/s)`."""

    type_name: ClassVar[str] = "standard_conv"
    module_type: ClassVar[type[nn.Module]] = StandardConvNorm

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    height: int
    width: int
    activation: str = "none"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.in_channels, self.height, self.width),)

    @property
    def output_shape(self) -> Shape:
        h, w = strided(self.height, self.stride), strided(self.width, self.stride)
        return (1, self.out_channels, h, w)

    @property
    def macs(self) -> int:
        return self.output_elements * self.in_channels * self.kernel_size**2

    @property
    def params(self) -> int:
        return self.out_channels * (self.in_channels * self.kernel_size**2 + 2)

    def module(self) -> nn.Module:
        return StandardConvNorm(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            activation=self.activation,
            norm=False,
        ).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, ConvNorm)
        (_, channels, height, width) = inputs[0]
        conv = module.conv
        return cls(
            channels,
            conv.out_channels,
            conv.kernel_size[0],
            conv.stride[0],
            height,
            width,
            module.activation,
        )

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        node = nodes[0]
        activation = fused_activation(node)
        # Of one input channel, too, which the backend's depthwise convolution runs
        if not node.op.endswith("Conv2d") or activation is None:
            return ()
        (_, height, width, channels), (*_, filters) = node.inputs[0][1].dims, node.output[1].dims
        size, stride = node.number("kernel_height"), node.number("subsampling_height")
        if size == 1:
            return ()
        return [cls(channels, filters, size, stride, height, width, activation)]


@dataclass(frozen=True)
class PointwiseConvKernel(Kernel):
    """1x1 convolution: `(1, in_channels, H, W)` to `(1, out_channels, H, W)`."""

    type_name: ClassVar[str] = "pointwise_conv"
    module_type: ClassVar[type[nn.Module]] = PointwiseConvNorm

    in_channels: int
    out_channels: int
    height: int
    width: int
    activation: str = "none"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.in_channels, self.height, self.width),)

    @property
    def output_shape(self) -> Shape:
        return (1, self.out_channels, self.height, self.width)

    @property
    def macs(self) -> int:
        return self.output_elements * self.in_channels

    @property
    def params(self) -> int:
        return self.out_channels * (self.in_channels + 2)

    def module(self) -> nn.Module:
        return PointwiseConvNorm(
            self.in_channels, self.out_channels, activation=self.activation, norm=False
        ).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, ConvNorm)
        (_, channels, height, width) = inputs[0]
        return cls(channels, module.conv.out_channels, height, width, module.activation)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        node = nodes[0]
        activation = fused_activation(node)
        if not node.op.endswith("Conv2d") or activation is None:
            return ()
        (_, height, width, channels), (*_, filters) = node.inputs[0][1].dims, node.output[1].dims
        return [cls(channels, filters, height, width, activation)]


@dataclass(frozen=True)
class DepthwiseConvKernel(Kernel):
    """Depthwise kxk convolution: `(1, C, H, W)` to `(1, C, H/s, W/s)`."""

    type_name: ClassVar[str] = "depthwise_conv"
    module_type: ClassVar[type[nn.Module]] = DepthwiseConvNorm

    channels: int
    kernel_size: int
    stride: int
    height: int
    width: int
    activation: str = "none"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.channels, self.height, self.width),)

    @property
    def output_shape(self) -> Shape:
        h, w = strided(self.height, self.stride), strided(self.width, self.stride)
        return (1, self.channels, h, w)

    @property
    def macs(self) -> int:
        return self.output_elements * self.kernel_size**2

    @property
    def params(self) -> int:
        return self.channels * (self.kernel_size**2 + 2)

    def module(self) -> nn.Module:
        return DepthwiseConvNorm(
            self.channels, self.kernel_size, self.stride, activation=self.activation, norm=False
        ).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, ConvNorm)
        (_, channels, height, width) = inputs[0]
        conv = module.conv
        return cls(channels, conv.kernel_size[0], conv.stride[0], height, width, module.activation)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        node = nodes[0]
        activation = fused_activation(node)
        if node.op != "DepthwiseConv2d" or activation is None:
            return ()
        (_, height, width, channels) = node.inputs[0][1].dims
        size, stride = node.number("kernel_height"), node.number("subsampling_height")
        return [cls(channels, size, stride, height, width, activation)]
