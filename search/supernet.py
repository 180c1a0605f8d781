"""The super-network: one set of weights for all archs of a space.

Symbols as in `netadapt.search.space`, with `B` images in a batch. A sub-network uses the first
channels of every layer and the centre of every depthwise kernel. It is computed in one of two ways,
by the same code: one arch on slices of the weights, or one arch an image at full size with the last
channels of each image set to zero (ordered dropout, NetAdaptV2). Both give the same outputs in eval
mode. Which sub-network is meant is always an argument, and so are the batch-norm statistics that
were re-estimated for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels import ConvNorm, Linear, SqueezeExcite
from netadapt.search.errors import ArchError
from netadapt.search.network import Block, build_network, empty_network
from netadapt.search.space import Arch, BlockArch, Space, squeeze_channels

Normalize = Callable[[str, nn.BatchNorm2d, Tensor], Tensor]
"""(convolution's name, its batch norm, input) to output."""

Integers = NDArray[np.int64]

MAX_RUNS = 6
"""More runs of equal kernel size in a batch than this are sorted together first."""


@dataclass(frozen=True, slots=True)
class NormStats:
    """Mean and variance of a batch norm's inputs, each `(channels,)`."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, slots=True)
class BatchNormStats:
    """Statistics of every batch norm of a sub-network, by the convolution's name.

    A sub-network with fewer channels may use them too: it takes the first.
    """

    norms: Mapping[str, NormStats]

    def of(self, name: str, channels: int) -> NormStats:
        """Those of the first `channels`. Raises `ArchError` where there are not as many."""
        found = self.norms.get(name)
        if found is None or len(found.mean) < channels:
            raise ArchError(
                f"statistics belong to the arch they are used for, got none for {channels} "
                f"channels of {name}; calibrate this arch"
            )
        return NormStats(found.mean[:channels], found.variance[:channels])

    def normalize(self, name: str, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """x `(B, channels, H, W)` by these statistics and the norm's scale and shift."""
        return _batch_norm(norm, x, self.of(name, x.shape[1]), momentum=None)


class SuperNetwork(nn.Module):
    """Weights of all archs of `space`; `generator` seeds them (None: torch's own)."""

    def __init__(self, space: Space, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space = space
        self.full = space.full()
        self.network = build_network(space, self.full, generator=generator)

    def forward(
        self, x: Tensor, archs: Arch | Sequence[Arch], stats: BatchNormStats | None = None
    ) -> Tensor:
        """Logits `(B, classes)` of images `(B, in_channels, resolution, resolution)`.

        Raises `ArchError` for archs or statistics that do not fit.

        Parameters
        ----------
        archs: one for all images (computed at its own, small size), or one an image.
        stats: statistics to normalise with in eval mode; None takes the running averages of
            training, which are a mixture of all sub-networks'. Training uses the batch's own.
        """
        if stats is not None and self.training:
            raise ArchError(
                "statistics are for eval mode, got them in training; call .eval() first"
            )
        return self._run(x, archs, self._by_buffers if stats is None else stats.normalize)

    def _by_buffers(self, name: str, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        stats = NormStats(norm.running_mean[: x.shape[1]], norm.running_var[: x.shape[1]])
        return _batch_norm(norm, x, stats, norm.momentum if self.training else None)

    def _run(self, x: Tensor, archs: Arch | Sequence[Arch], normalize: Normalize) -> Tensor:
        if isinstance(archs, Arch):
            self.space.validate(archs)
            arch, masks = archs, _UNMASKED
        else:
            arch, masks = self.full, _masks(self.space, archs, x)
        net = self.network
        x = normalize("stem", norm_of(net.stem), _conv(net.stem, x, arch.stem))
        x = functional.hardswish(_masked(x, masks.stem))
        for index, block in enumerate(arch.blocks):
            if not block.removed:
                x = self._block(index, x, block, masks.block(index), normalize)
        x = normalize("head", norm_of(net.head), _conv(net.head, x, arch.head))
        # The mask is the same for every pixel, so it may wait for the mean.
        x = _masked(functional.hardswish(x).mean((2, 3)), masks.head)
        x = functional.hardswish(_linear(net.hidden, x, arch.hidden))
        x = net.dropout(_masked(x, masks.hidden))
        return _linear(net.classifier, x, self.space.classes)

    def _block(
        self,
        index: int,
        x: Tensor,
        arch: BlockArch,
        mask: _BlockMask,
        normalize: Normalize,
    ) -> Tensor:
        name, spec = f"blocks.block{index}", self.space.blocks[index]
        layers = self.network.get_submodule(name)
        assert isinstance(layers, Block)
        assert arch.kernel_size is not None
        y = x
        if layers.expand is not None:
            y = _conv(layers.expand, y, arch.expansion)
            y = _activate(normalize(f"{name}.expand", norm_of(layers.expand), y), spec.activation)
            # Not masked yet: the depthwise convolution mixes no channels, its mask does for both.
        y = _depthwise(layers.depthwise, y, mask.kernel_sizes or arch.kernel_size)
        y = normalize(f"{name}.depthwise", norm_of(layers.depthwise), y)
        if layers.squeeze_excite is None:
            y = _activate(_masked(y, mask.inner), spec.activation)
        else:
            y = _squeeze_excite(layers.squeeze_excite, _activate(y, spec.activation), mask)
        y = _conv(layers.project, y, arch.width)
        y = normalize(f"{name}.project", norm_of(layers.project), y)
        if mask.filters is None:
            return _joined(x, y) if self.space.joined(index, x.shape[1], arch.width) else y
        if self.space.join(index) == "bypass":
            # Each image is zero beyond its own channels, so that this is CBC image by image.
            return torch.addcmul(_padded(x, y.shape[1]), y, mask.filters)
        y = y * mask.filters
        return y if mask.joined is None else y + _padded(x, y.shape[1]) * mask.joined


@torch.no_grad()
def calibrate(
    supernet: SuperNetwork, arch: Arch, images: Tensor, *, batch_size: int = 256
) -> BatchNormStats:
    """The batch-norm statistics of `arch` on `images` `(N, in_channels, resolution, resolution)`.

    The statistics of training are those of a mixture of sub-networks and fit none of them
    (assumption, measured: a full network at 15 % accuracy reaches 91 % with its own). Means over
    batches of `batch_size`; the super-network is left as it was.
    """
    training = supernet.training
    collected: dict[str, NormStats] = {}
    supernet.eval()  # no dropout
    try:
        for batch in torch.split(images, batch_size):
            share = len(batch) / len(images)

            def collect(name: str, norm: nn.BatchNorm2d, x: Tensor, share: float = share) -> Tensor:
                seen = NormStats(x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1]))
                x = _batch_norm(norm, x, seen, momentum=1.0)
                if name not in collected:
                    collected[name] = NormStats(seen.mean * share, seen.variance * share)
                else:
                    collected[name].mean.add_(seen.mean, alpha=share)
                    collected[name].variance.add_(seen.variance, alpha=share)
                return x

            supernet._run(batch, arch, collect)
    finally:
        supernet.train(training)
    return BatchNormStats(collected)


@torch.no_grad()
def extract(supernet: SuperNetwork, arch: Arch, stats: BatchNormStats | None = None) -> nn.Module:
    """The stand-alone network of `arch` with its weights and `stats`, in eval mode.

    In eval mode it gives what `supernet(x, arch, stats)` gives. `stats` None takes the running
    averages. The weights are copies.
    """
    network = empty_network(supernet.space, arch)
    weights = supernet.network.state_dict()
    for name, value in network.state_dict().items():
        value.copy_(_part(weights[name], value.shape))
    for name, layer in network.named_modules():
        if stats is None or not isinstance(layer, ConvNorm):
            continue
        target = norm_of(layer)
        found = stats.of(name, target.num_features)
        assert target.running_mean is not None
        assert target.running_var is not None
        target.running_mean.copy_(found.mean)
        target.running_var.copy_(found.variance)
    return network.eval()


@dataclass(frozen=True, slots=True)
class _Runs:
    """Consecutive images of equal kernel size; `lengths` add up to B.

    `order` `(B,)` sorts the images so; None: they stand like this already.
    """

    lengths: list[int]
    kernel_sizes: list[int]
    order: Tensor | None


@dataclass(frozen=True, slots=True)
class _BlockMask:
    """One block's masks, `(B, channels, 1, 1)` of zeros and ones; all None: computed unmasked.

    Parameters
    ----------
    inner: for the depthwise layer's channels.
    squeeze: for squeeze-excite's hidden channels.
    filters: for the project layer's M.
    joined: `(B, 1, 1, 1)`, the images with a residual addition where that depends on their arch.
    """

    inner: Tensor | None = None
    squeeze: Tensor | None = None
    filters: Tensor | None = None
    joined: Tensor | None = None
    kernel_sizes: _Runs | None = None


@dataclass(frozen=True, slots=True)
class _Masks:
    """Masks of a batch with one arch an image, to be computed at the full arch's size."""

    stem: Tensor | None = None
    head: Tensor | None = None
    hidden: Tensor | None = None
    blocks: tuple[_BlockMask, ...] = ()

    def block(self, index: int) -> _BlockMask:
        return self.blocks[index] if self.blocks else _BlockMask()


_UNMASKED = _Masks()


def _masks(space: Space, archs: Sequence[Arch], x: Tensor) -> _Masks:
    if len(archs) != len(x):
        raise ArchError(
            f"there is one arch for all images or one for each, got {len(archs)} archs for "
            f"{len(x)} images; sample as many"
        )
    for arch in archs:
        space.validate(arch)
    stem, head, hidden = np.array([(a.stem, a.head, a.hidden) for a in archs]).T
    full = space.full()

    def first(widths: Integers, largest: int) -> Tensor:
        mask = np.arange(largest) < widths[:, None]
        return torch.from_numpy(mask).to(x)[:, :, None, None]

    blocks = []
    channels, largest = stem, full.stem
    for index, (spec, block) in enumerate(zip(space.blocks, full.blocks, strict=True)):
        # A removed block has no kernel size; any will do, for it is masked.
        widths, expansions, sizes = np.array(
            [(b.width, b.expansion, b.kernel_size or 0) for b in (a.blocks[index] for a in archs)]
        ).T
        inner, largest_inner = (
            (expansions, block.expansion) if block.expansion else (channels, largest)
        )
        squeeze, joined = None, None
        if spec.se:
            hidden_widths = np.array([squeeze_channels(int(width)) for width in inner])
            squeeze = first(hidden_widths, squeeze_channels(largest_inner))
        if space.join(index) == "residual":
            joined = first((channels == widths).astype(np.int64), 1)  # one channel, or none
        blocks.append(
            _BlockMask(
                first(inner, largest_inner),
                squeeze,
                first(widths, block.width),
                joined,
                _runs(sizes),
            )
        )
        bypassed = space.join(index) == "bypass"
        channels, largest = np.maximum(channels, widths) if bypassed else widths, block.width
    return _Masks(
        first(stem, full.stem),
        first(head, full.head).flatten(1),
        first(hidden, full.hidden).flatten(1),
        tuple(blocks),
    )


def _runs(sizes: Integers) -> _Runs:
    """Of kernel sizes `(B,)`; 0 stands for any, and takes what stands before it (or behind)."""
    known = np.flatnonzero(sizes)
    if not len(known):
        return _Runs([len(sizes)], [1], None)
    nearest = np.searchsorted(known, np.arange(len(sizes)), side="right") - 1
    sizes = sizes[known[np.maximum(nearest, 0)]]
    order = None
    if np.count_nonzero(np.diff(sizes)) >= MAX_RUNS:
        permutation = np.argsort(sizes, kind="stable")
        order, sizes = torch.from_numpy(permutation), sizes[permutation]
    starts = np.flatnonzero(np.diff(sizes, prepend=0))
    lengths = np.diff(starts, append=len(sizes))
    return _Runs(lengths.tolist(), sizes[starts].tolist(), order)


def norm_of(layer: ConvNorm) -> nn.BatchNorm2d:
    """The layer's batch norm, which no layer of a super-network lacks."""
    assert layer.norm is not None
    return layer.norm


def _part(weight: Tensor, shape: Sequence[int]) -> Tensor:
    """The first channels and the centre of the kernel, as a view of `shape`."""
    index = [slice(0, size) for size in shape]
    for axis in range(2, len(shape)):
        margin = (weight.shape[axis] - shape[axis]) // 2
        index[axis] = slice(margin, margin + shape[axis])
    return weight[tuple(index)]


def _conv(layer: ConvNorm, x: Tensor, filters: int) -> Tensor:
    conv = layer.conv
    weight = conv.weight[:filters, : x.shape[1]]
    return functional.conv2d(x, weight, None, conv.stride, conv.padding)


def _depthwise(layer: ConvNorm, x: Tensor, kernel_size: int | _Runs) -> Tensor:
    """With one kernel size, or one an image: images grouped by it, none computed twice."""
    if isinstance(kernel_size, int):
        channels = x.shape[1]
        weight = _part(layer.conv.weight, (channels, 1, kernel_size, kernel_size))
        return functional.conv2d(
            x, weight, None, layer.conv.stride, kernel_size // 2, groups=channels
        )
    runs = kernel_size
    if runs.order is not None:
        x = x[runs.order]
    # split, not slices: its gradient is one concatenation
    parts = torch.split(x, runs.lengths)
    done = [_depthwise(layer, p, k) for p, k in zip(parts, runs.kernel_sizes, strict=True)]
    y = torch.cat(done) if len(done) > 1 else done[0]
    return y if runs.order is None else y[torch.argsort(runs.order)]


def _squeeze_excite(layer: SqueezeExcite, x: Tensor, mask: _BlockMask) -> Tensor:
    """On all channels of x; with a mask, what it drops is zero in the result."""
    channels = x.shape[1]
    reduce, expand = layer.reduce, layer.expand
    squeezed = squeeze_channels(channels)
    assert reduce.bias is not None
    assert expand.bias is not None
    gate = _masked(x.mean((2, 3), keepdim=True), mask.inner)
    gate = functional.conv2d(gate, reduce.weight[:squeezed, :channels], reduce.bias[:squeezed])
    gate = _masked(torch.relu(gate), mask.squeeze)
    gate = functional.conv2d(gate, expand.weight[:channels, :squeezed], expand.bias[:channels])
    # Masking the gate masks the product, at the price of one pixel.
    return x * _masked(functional.hardsigmoid(gate), mask.inner)


def _linear(layer: Linear, x: Tensor, features: int) -> Tensor:
    linear = layer.linear
    return functional.linear(x, linear.weight[:features, : x.shape[1]], linear.bias[:features])


def _activate(x: Tensor, activation: str) -> Tensor:
    """May overwrite x, the output of a normalisation or mask, which nothing else needs."""
    return torch.relu_(x) if activation == "relu" else functional.hardswish(x)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    # Before or behind an activation is the same: both activations map 0 to 0.
    return x if mask is None else x * mask


def _padded(x: Tensor, channels: int) -> Tensor:
    missing = channels - x.shape[1]
    return functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x


def _joined(x: Tensor, y: Tensor) -> Tensor:
    """Sum of both, the one with fewer channels continued by zeros."""
    channels = max(x.shape[1], y.shape[1])
    return _padded(x, channels) + _padded(y, channels)


def _batch_norm(
    norm: nn.BatchNorm2d, x: Tensor, stats: NormStats, momentum: float | None
) -> Tensor:
    """By `stats`; with a momentum by the batch's own, which move `stats` by it, in place."""
    channels = x.shape[1]
    return functional.batch_norm(
        x,
        stats.mean,
        stats.variance,
        norm.weight[:channels],
        norm.bias[:channels],
        training=momentum is not None,
        momentum=momentum or 0.0,
        eps=norm.eps,
    )
