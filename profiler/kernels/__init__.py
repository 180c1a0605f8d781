"""Kernels: layers as the runtime executes them. One file a family; importing registers them."""

from __future__ import annotations

from profiler.kernels.activation import Activation, ActivationKernel
from profiler.kernels.addition import Add, AddKernel, Bypass, BypassKernel
from profiler.kernels.base import Kernel, Shape, kernel_of, kernel_types, record_kernels
from profiler.kernels.convolution import (
    ConvNorm,
    DepthwiseConv,
    DepthwiseConvNorm,
    PointwiseConv,
    PointwiseConvNorm,
    StandardConv,
    StandardConvNorm,
)
from profiler.kernels.linear import Linear, LinearKernel
from profiler.kernels.pooling import GlobalPool, GlobalPoolKernel
from profiler.kernels.squeeze_excite import SqueezeExcite, SqueezeExciteKernel

__all__ = [
    "Activation",
    "ActivationKernel",
    "Add",
    "AddKernel",
    "Bypass",
    "BypassKernel",
    "ConvNorm",
    "DepthwiseConv",
    "DepthwiseConvNorm",
    "GlobalPool",
    "GlobalPoolKernel",
    "Kernel",
    "Linear",
    "LinearKernel",
    "PointwiseConv",
    "PointwiseConvNorm",
    "Shape",
    "SqueezeExcite",
    "SqueezeExciteKernel",
    "StandardConv",
    "StandardConvNorm",
    "kernel_of",
    "kernel_types",
    "record_kernels",
]
