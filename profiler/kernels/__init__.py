"""Kernels: layers as the runtime executes them. One file a family; importing registers them."""

from __future__ import annotations

from netadapt.profiler.kernels.activation import Activation, ActivationKernel
from netadapt.profiler.kernels.addition import Add, AddKernel, Bypass, BypassKernel
from netadapt.profiler.kernels.base import Kernel, Shape, kernel_of, kernel_types, record_kernels
from netadapt.profiler.kernels.convolution import (
    CLAMPS,
    ConvNorm,
    DepthwiseConvKernel,
    DepthwiseConvNorm,
    PointwiseConvKernel,
    PointwiseConvNorm,
    StandardConvKernel,
    StandardConvNorm,
)
from netadapt.profiler.kernels.linear import (
    ClampedLinear,
    ClampedLinearKernel,
    Linear,
    LinearKernel,
)
from netadapt.profiler.kernels.operation import NodeKernel, PortableKernel
from netadapt.profiler.kernels.pooling import GlobalPool, GlobalPoolKernel
from netadapt.profiler.kernels.resizing import Resize, resized
from netadapt.profiler.kernels.squeeze_excite import (
    GeneralSqueezeExcite,
    GeneralSqueezeExciteKernel,
    SqueezeExcite,
    SqueezeExciteKernel,
    make_squeeze_excite,
    squeeze_excite_kernel,
)
from netadapt.profiler.kernels.upsampling import UPSAMPLINGS, Upsample, UpsampleKernel

__all__ = [
    "CLAMPS",
    "UPSAMPLINGS",
    "Activation",
    "ActivationKernel",
    "Add",
    "AddKernel",
    "Bypass",
    "BypassKernel",
    "ClampedLinear",
    "ClampedLinearKernel",
    "ConvNorm",
    "DepthwiseConvKernel",
    "DepthwiseConvNorm",
    "GeneralSqueezeExcite",
    "GeneralSqueezeExciteKernel",
    "GlobalPool",
    "GlobalPoolKernel",
    "Kernel",
    "Linear",
    "LinearKernel",
    "NodeKernel",
    "PointwiseConvKernel",
    "PointwiseConvNorm",
    "PortableKernel",
    "Resize",
    "Shape",
    "SqueezeExcite",
    "SqueezeExciteKernel",
    "StandardConvKernel",
    "StandardConvNorm",
    "Upsample",
    "UpsampleKernel",
    "kernel_of",
    "kernel_types",
    "make_squeeze_excite",
    "record_kernels",
    "resized",
    "squeeze_excite_kernel",
]
