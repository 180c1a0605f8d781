"""The kernels of each part of a network, from what the space's file says of it.

Symbols as in the module `space` beside this one; a size is height and width in pixels.
"""

from __future__ import annotations

from netadapt.profiler.kernels import (
    ActivationKernel,
    AddKernel,
    BypassKernel,
    ClampedLinearKernel,
    DepthwiseConvKernel,
    GlobalPoolKernel,
    Kernel,
    LinearKernel,
    PointwiseConvKernel,
    StandardConvKernel,
    squeeze_excite_kernel,
)
from netadapt.search.families.inverted_residual.activations import STANDALONE, fused
from netadapt.search.families.inverted_residual.arch import BlockArch
from netadapt.search.families.inverted_residual.file import (
    BlockSpec,
    LayerSpec,
    Size,
    SqueezeExciteSpec,
    StemSpec,
)


def stem_kernels(
    spec: StemSpec, in_channels: int, width: int, before: Size, behind: Size
) -> list[Kernel]:
    """Of the first layer, from the size of the image to the one behind it."""
    clamp = fused(spec.activation)
    return [
        StandardConvKernel(in_channels, width, spec.kernel_size, spec.stride, *before, clamp),
        *_there(_activation(spec.activation, width, behind)),
    ]


def block_kernels(
    spec: BlockSpec,
    squeeze_excite: SqueezeExciteSpec,
    in_channels: int,
    block: BlockArch,
    before: Size,
    behind: Size,
) -> list[Kernel]:
    """Of a block that is there, its join left out."""
    return _there(*block_slots(spec, squeeze_excite, in_channels, block, before, behind))


def block_slots(
    spec: BlockSpec,
    squeeze_excite: SqueezeExciteSpec,
    in_channels: int,
    block: BlockArch,
    before: Size,
    behind: Size,
) -> list[Kernel | None]:
    """The same, None where the block could have a kernel and has none.

    As many for all archs of a block with an expansion, or all without.
    """
    k, activation = block.kernel_size, spec.activation_of(block)
    assert k is not None
    clamp = fused(activation)
    channels, kernels = block.expansion, list[Kernel | None]()
    if spec.kind == "inverted_residual":
        if channels:
            kernels.append(PointwiseConvKernel(in_channels, channels, *before, clamp))
            kernels.append(_activation(activation, channels, before))
        else:
            channels = in_channels
        kernels.append(DepthwiseConvKernel(channels, k, spec.stride, *before, clamp))
        kernels.append(_activation(activation, channels, behind))
    elif channels:
        kernels.append(StandardConvKernel(in_channels, channels, k, spec.stride, *before, clamp))
        kernels.append(_activation(activation, channels, behind))
    if spec.se_of(block):
        hidden = squeeze_excite.channels(channels, in_channels)
        how = squeeze_excite.activation, squeeze_excite.gate
        kernels.append(squeeze_excite_kernel(channels, hidden, *behind, *how))
    else:
        kernels.append(None)
    if spec.kind == "residual":
        kernels.append(StandardConvKernel(channels, block.width, k, 1, *behind))
    elif channels:
        kernels.append(PointwiseConvKernel(channels, block.width, *behind))
    else:
        kernels.append(StandardConvKernel(in_channels, block.width, k, spec.stride, *before, clamp))
        kernels.append(_activation(activation, block.width, behind))
    return kernels


def join_kernel(in_channels: int, filters: int, out_channels: int, size: Size) -> Kernel:
    """What adds a block's input to its filters."""
    if in_channels == filters:
        return AddKernel(filters, *size)
    return BypassKernel(in_channels, filters, out_channels, *size)


def head_kernels(spec: LayerSpec | None, in_channels: int, width: int, size: Size) -> list[Kernel]:
    """Of the head, if there is one, and the pooling."""
    if spec is None:
        return [GlobalPoolKernel(in_channels, *size)]
    return [
        PointwiseConvKernel(in_channels, width, *size, fused(spec.activation)),
        *_there(_activation(spec.activation, width, size)),
        GlobalPoolKernel(width, *size),
    ]


def classifier_kernels(
    spec: LayerSpec | None, features: int, hidden: int, classes: int
) -> list[Kernel]:
    """Of the hidden layer, if there is one, and the last one."""
    if spec is None:
        return [LinearKernel(features, classes)]
    clamp = fused(spec.activation)
    return [
        LinearKernel(features, hidden)
        if clamp == "none"
        else ClampedLinearKernel(features, hidden, clamp),
        *_there(_activation(spec.activation, hidden, (1, 1))),
        LinearKernel(hidden, classes),
    ]


def _activation(function: str, channels: int, size: Size) -> Kernel | None:
    """The kernel that it is by itself; None where it is fused, or none at all."""
    return ActivationKernel(function, channels, *size) if function in STANDALONE else None


def _there(*slots: Kernel | None) -> list[Kernel]:
    return [kernel for kernel in slots if kernel is not None]
