"""The super-network of a space of inverted residuals.

Symbols as in the module `space` beside this one, with `B` images in a batch. A sub-network uses the
first channels of every layer and the centre of every block's kernel. It is computed in one of two
ways, by the same code: one arch on slices of the weights, or one arch an image at full size with
the last channels of each image set to zero (ordered dropout, NetAdaptV2). Both give the same
outputs in eval mode. Images of archs of different resolutions are computed in groups. A mixture of
archs is computed at full size as well, by masks between 0 and 1 that all images share (FBNetV2),
and at each of its resolutions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from netadapt.profiler.kernels import ConvNorm, Linear, SqueezeExcite, resized
from netadapt.profiler.kernels.convolution import CLAMPS
from netadapt.profiler.kernels.squeeze_excite import GATES, INNER
from netadapt.search.errors import ArchError
from netadapt.search.families.inverted_residual.arch import BlockArch, InvertedResidualArch
from netadapt.search.families.inverted_residual.columns import (
    Columns,
    DrawnArchs,
    Integers,
    columns_of,
)
from netadapt.search.families.inverted_residual.mixing import NetworkMixture, network_mixture
from netadapt.search.families.inverted_residual.network import Block, Network, passing_by
from netadapt.search.families.inverted_residual.space import InvertedResidualSpace
from netadapt.search.families.runs import Runs
from netadapt.search.mixture import Mixture
from netadapt.search.resolutions import exchanged
from netadapt.search.space import Arch
from netadapt.search.supernet import MaskedNorm, Normalize, SuperNetwork, norm_of, part_of_weight

IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu_,
    "relu6": lambda x: functional.relu6(x, inplace=True),
    "hardswish": functional.hardswish,
    "silu": functional.silu,
}
"""Activations; may overwrite what they are given. All of them map 0 to 0."""
NOT_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = IN_PLACE | CLAMPS
"""The same, which leave it as it is."""


class InvertedResidualSuperNetwork(SuperNetwork):
    """Weights of all archs of `space`; `generator` seeds them (None: torch's own)."""

    space: InvertedResidualSpace
    network: Network

    def __init__(
        self, space: InvertedResidualSpace, *, generator: torch.Generator | None = None
    ) -> None:
        full = space.full()
        super().__init__(space, space.network(full, generator=generator))
        self.full = full

    def compute(self, x: Tensor, archs: Arch | Sequence[Arch], normalize: Normalize) -> Tensor:
        if not isinstance(archs, Sequence):
            arch = self._own(archs)
            return self._run(self.space.fit_images(x, arch), arch, _UNMASKED, normalize)
        if len(archs) != len(x):
            raise ArchError(
                f"there is one arch for all images or one for each, got {len(archs)} archs for "
                f"{len(x)} images; sample as many"
            )
        columns = self._columns(archs)
        groups = [np.flatnonzero(columns.resolution == r) for r in np.unique(columns.resolution)]
        if len(groups) == 1:
            return self._run_masked(x, archs[0], columns, normalize)
        outputs = [
            self._run_masked(x[torch.from_numpy(g)], archs[int(g[0])], columns.of(g), normalize)
            for g in groups
        ]
        return torch.cat(outputs)[torch.from_numpy(np.argsort(np.concatenate(groups)))]

    def compute_mixture(self, x: Tensor, mixture: Mixture, normalize: Normalize) -> Tensor:
        space = self.space
        network = network_mixture(space, mixture)
        masks = _soft_masks(space, self.full, network, x)
        if not space.resolutions:
            return self._run(x, self.full, masks, normalize)
        images, shares = [], []
        for size, share in zip(space.resolutions, network.resolution.probabilities, strict=True):
            if share != 0:  # else nothing of it is left
                images.append(resized(x, size))
                shares.append(share.to(x))
        return self._run_sizes(images, shares, self.full, masks, normalize)

    def _columns(self, archs: Sequence[Arch]) -> Columns:
        if isinstance(archs, DrawnArchs) and archs.space is self.space:
            return archs.columns  # valid by the way they were made
        return columns_of([self._own(arch) for arch in archs])

    def _own(self, arch: Arch) -> InvertedResidualArch:
        self.space.validate(arch)
        assert isinstance(arch, InvertedResidualArch)
        return arch

    def _run_masked(self, x: Tensor, one: Arch, columns: Columns, normalize: Normalize) -> Tensor:
        """One arch an image, all of the resolution of this `one` of them."""
        masks = make_masks(self.space, columns, x)
        return self._run(self.space.fit_images(x, one), self.full, masks, normalize)

    def _run(
        self, x: Tensor, arch: InvertedResidualArch, masks: _Masks, normalize: Normalize
    ) -> Tensor:
        return self._run_sizes([x], [], arch, masks, normalize)

    def _run_sizes(
        self,
        images: Sequence[Tensor],
        shares: Sequence[Tensor],
        arch: InvertedResidualArch,
        masks: _Masks,
        normalize: Normalize,
    ) -> Tensor:
        """The same images at one resolution, or at several that ascend, with their `shares`."""
        net, space = self.network, self.space

        def stem(x: Tensor) -> Tensor:
            x = _normalized(normalize, "stem", net.stem, _conv(net.stem, x, arch.stem), masks.stem)
            return IN_PLACE[space.stem.activation](x)

        def pooled(x: Tensor) -> Tensor:
            if net.head is not None and space.head is not None:
                x = normalize("head", norm_of(net.head), _conv(net.head, x, arch.head))
                x = IN_PLACE[space.head.activation](x)
            return x.mean((2, 3))

        maps = exchanged([stem(x) for x in images], shares)
        for index, block in enumerate(arch.blocks):
            if not block.removed:
                mask = masks.block(index)
                maps = [self._block(index, x, block, mask, normalize) for x in maps]
                maps = exchanged(maps, shares)
        features = [pooled(x) for x in maps]
        if shares:
            features = [x * share for x, share in zip(features, shares, strict=True)]
        # The mask is the same for every pixel, so it may wait for the mean.
        x = _masked(sum(features[1:], features[0]), masks.head)
        if net.hidden is not None and space.hidden is not None:
            x = IN_PLACE[space.hidden.activation](_linear(net.hidden, x, arch.hidden))
            x = _masked(x, masks.hidden)
        return _linear(net.classifier, net.dropout(x), space.classes)

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
        squeeze_excite = layers.squeeze_excite if spec.se_of(arch) else None
        activate = IN_PLACE[spec.activation_of(arch)]
        if mask.activations is not None:
            activate = functools.partial(_mixed, spec.activations, mask.activations)
        sizes = arch.kernel_size if mask.kernel_sizes is None else mask.kernel_sizes
        dense = spec.kind != "inverted_residual"
        y = x
        # Squeeze-excite masks its own input.
        inner = None if squeeze_excite is not None else mask.inner
        if layers.expand is not None:
            y = _conv(layers.expand, y, arch.expansion, sizes if dense else 1)
            own = inner if layers.depthwise is None else None
            y = _normalized(normalize, f"{name}.expand", layers.expand, y, own)
            if layers.depthwise is not None:
                # Not masked: the depthwise convolution mixes no channels, its mask does for both.
                y = activate(y)
        if layers.depthwise is not None:
            y = _depthwise(layers.depthwise, y, sizes)
            y = _normalized(normalize, f"{name}.depthwise", layers.depthwise, y, inner)
        if squeeze_excite is not None:
            hidden = self.space.squeeze_excite.channels(y.shape[1], x.shape[1])
            y = _squeeze_excite(squeeze_excite, activate(y), hidden, mask)
        elif y is not x:
            y = activate(y)
        alone = y is x  # one dense convolution is the whole block
        y = _conv(layers.project, y, arch.width, sizes if alone or spec.kind == "residual" else 1)
        # Of all images alike it goes with the norm; else with the addition, as one operation.
        shared = mask.filters is not None and len(mask.filters) == 1 and not alone
        filters = None if shared else mask.filters
        own = mask.filters if shared else None
        y = _normalized(normalize, f"{name}.project", layers.project, y, own)
        if alone:
            y = activate(y)
        bypass = self.space.join(index) == "bypass"
        if mask.filters is None:
            joined = self.space.joined(index, x.shape[1], arch.width)
        else:
            joined = bypass or mask.joined is not None
        if not joined:
            return _masked(y, filters)
        passing = passing_by(y, layers.drop_path) if self.training else None
        if mask.filters is None:
            return _joined(x, _masked(y, passing))
        if bypass:
            # Each image is zero beyond its own channels, so that this is CBC image by image.
            factor = passing if filters is None else _masked(filters, passing)
            x = _padded(x, y.shape[1])
            return x + y if factor is None else torch.addcmul(x, y, factor)
        y = _masked(y, filters)
        assert mask.joined is not None
        if passing is not None:  # only where the image has a way past the block
            y = y * torch.where(mask.joined > 0, passing, 1)
        return y + _padded(x, y.shape[1]) * mask.joined


@dataclass(frozen=True, slots=True)
class _BlockMask:
    """One block's masks, `(B, channels, 1, 1)` of zeros and ones; all None: computed unmasked.

    Parameters
    ----------
    inner: for the depthwise layer's channels.
    squeeze: for squeeze-excite's hidden channels.
    filters: for the project layer's M.
    joined: `(B, 1, 1, 1)`, the images with a residual addition where that depends on their arch.
    kernel_sizes: image by image; or `(k, k)`, of every weight of the largest kernel its share.
    se: `(B, 1, 1, 1)`, the images with squeeze-excite where that is chosen.
    activations: `(A, B, 1, 1, 1)`, of each activation the images that have it, where it is chosen.

    Of a mixture of archs, which all images see, B is 1 and masks have values between 0 and 1.
    """

    inner: Tensor | None = None
    squeeze: Tensor | None = None
    filters: Tensor | None = None
    joined: Tensor | None = None
    kernel_sizes: Runs | Tensor | None = None
    se: Tensor | None = None
    activations: Tensor | None = None


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


def make_masks(space: InvertedResidualSpace, columns: Columns, x: Tensor) -> _Masks:
    """For archs of the space, one an image of x `(B, C, H, W)`."""
    stem, full = columns.stem, space.full()

    def first(widths: Integers, largest: int) -> Tensor:
        # All of one type, as which torch compares them ten times as fast
        mask = x.new_empty(len(widths), largest, dtype=torch.float32)
        places = torch.arange(largest, dtype=torch.float32, device=x.device)
        wanted = torch.from_numpy(widths).to(x.device, torch.float32)[:, None]
        return torch.lt(places, wanted, out=mask).to(x.dtype)[:, :, None, None]

    blocks = []
    channels, largest = stem, full.stem
    for index, (spec, block) in enumerate(zip(space.blocks, full.blocks, strict=True)):
        # A removed block has no kernel size; any will do, for it is masked.
        widths, expansions, sizes, ses, activations = (
            column[:, index]
            for column in (
                columns.widths,
                columns.expansions,
                columns.kernel_sizes,
                columns.ses,
                columns.activations,
            )
        )
        inner, largest_inner = (
            (expansions, block.expansion) if block.expansion else (channels, largest)
        )
        squeeze, joined = None, None
        join = space.join(index)
        if spec.se_of(block):
            hidden_widths = space.squeeze_excite.channels_of_all(inner, channels)
            squeeze = first(hidden_widths, space.squeeze_excite.channels(largest_inner, largest))
        if join == "residual":
            # One channel, or none; an image without the block is its input.
            same = (channels == widths) | (widths == 0)
            joined = first(same.astype(np.int64), 1)
        numbers = space.block_values(index, "activation") if spec.activations else ()
        blocks.append(
            _BlockMask(
                first(inner, largest_inner),
                squeeze,
                first(widths, block.width),
                joined,
                Runs.of(sizes),
                first(ses - 1, 1) if spec.either_se else None,
                torch.stack([first(activations == number, 1) for number in numbers])
                if numbers
                else None,
            )
        )
        if join == "bypass":
            channels = np.maximum(channels, widths)
        else:
            channels = np.where(widths == 0, channels, widths)
        largest = block.width
    return _Masks(
        first(stem, full.stem),
        None if space.head is None else first(columns.head, full.head).flatten(1),
        None if space.hidden is None else first(columns.hidden, full.hidden).flatten(1),
        tuple(blocks),
    )


def _soft_masks(
    space: InvertedResidualSpace, full: InvertedResidualArch, network: NetworkMixture, x: Tensor
) -> _Masks:
    """For a mixture of the space's archs: each choice's masks by its probability (FBNetV2)."""

    def shaped(mask: Tensor) -> Tensor:
        return mask.to(x)[None, :, None, None]

    blocks, entering = [], full.stem
    for index, (spec, largest, block) in enumerate(
        zip(space.blocks, full.blocks, network.blocks, strict=True)
    ):
        inner, most = (
            (block.expansion, largest.expansion)
            if largest.expansion
            else (block.entering, entering)
        )
        squeeze = joined = None
        if spec.se_of(largest):
            hidden = inner.through(block.entering, space.squeeze_excite.channels)
            squeeze = shaped(hidden.mask(space.squeeze_excite.channels(most, entering)))
        if space.join(index) == "residual":
            # Added where the shapes agree, and passed on where there is no block.
            entered = dict(zip(block.entering.values, block.entering.probabilities, strict=True))
            agreeing = [
                p * entered[width]
                for width, p in zip(block.width.values, block.width.probabilities, strict=True)
                if width in entered and width
            ]
            share = block.staying * block.expanded
            joined = 1 - block.present + share * sum(agreeing, share.new_zeros(()))
            joined = joined.to(x).reshape(1, 1, 1, 1)
        filters = block.width.mask(largest.width) * block.expanded * block.staying
        assert largest.kernel_size is not None
        blocks.append(
            _BlockMask(
                shaped(inner.mask(most)),
                squeeze,
                shaped(filters),
                joined,
                block.kernel_size.kernel_mask(largest.kernel_size).to(x),
                block.se.probabilities[1].to(x).reshape(1, 1, 1, 1) if spec.either_se else None,
                block.activation.probabilities.to(x).reshape(-1, 1, 1, 1, 1)
                if spec.activations
                else None,
            )
        )
        entering = largest.width
    return _Masks(
        shaped(network.stem.mask(full.stem)),
        None if space.head is None else network.head.mask(full.head).to(x)[None],
        None if space.hidden is None else network.hidden.mask(full.hidden).to(x)[None],
        tuple(blocks),
    )


def _conv(
    layer: ConvNorm, x: Tensor, filters: int, kernel_size: int | Runs | Tensor | None = None
) -> Tensor:
    """A dense convolution; `kernel_size` None: as the layer has it."""
    if isinstance(kernel_size, Runs):
        return kernel_size.computed(x, lambda part, k: _conv(layer, part, filters, k))
    return _convolved(layer, x, (filters, x.shape[1]), kernel_size, groups=1)


def _depthwise(layer: ConvNorm, x: Tensor, kernel_size: int | Runs | Tensor) -> Tensor:
    if isinstance(kernel_size, Runs):
        return kernel_size.computed(x, lambda part, k: _depthwise(layer, part, k))
    return _convolved(layer, x, (x.shape[1], 1), kernel_size, groups=x.shape[1])


def _convolved(
    layer: ConvNorm,
    x: Tensor,
    channels: tuple[int, int],
    kernel_size: int | Tensor | None,
    *,
    groups: int,
) -> Tensor:
    """By the first channels of the layer's weight; a tensor masks its largest kernel."""
    conv = layer.conv
    k = kernel_size if isinstance(kernel_size, int) else conv.kernel_size[0]
    weight = part_of_weight(conv.weight, (*channels, k, k))
    if isinstance(kernel_size, Tensor):
        weight = weight * kernel_size
    return functional.conv2d(x, weight, None, conv.stride, k // 2, groups=groups)


def _squeeze_excite(layer: SqueezeExcite, x: Tensor, squeezed: int, mask: _BlockMask) -> Tensor:
    """On all channels of x; with a mask, what it drops is zero in the result."""
    channels = x.shape[1]
    reduce, expand = layer.reduce, layer.expand
    assert reduce.bias is not None
    assert expand.bias is not None
    gate = _masked(x.mean((2, 3), keepdim=True), mask.inner)
    gate = functional.conv2d(gate, reduce.weight[:squeezed, :channels], reduce.bias[:squeezed])
    gate = _masked(INNER[layer.activation](gate), mask.squeeze)
    gate = functional.conv2d(gate, expand.weight[:channels, :squeezed], expand.bias[:channels])
    gate = GATES[layer.gate](gate)
    if mask.se is not None:  # a gate of 1 is no squeeze-excite
        gate = torch.lerp(torch.ones_like(gate), gate, mask.se)
    # Masking the gate masks the product, at the price of one pixel.
    return x * _masked(gate, mask.inner)


def _mixed(activations: Sequence[str], shares: Tensor, x: Tensor) -> Tensor:
    """The sum of activations of x, each times its share `(A, B, 1, 1, 1)`.

    Only x is kept for the gradient, as for one activation: it is computed again.
    """

    def total(x: Tensor, shares: Tensor) -> Tensor:
        parts = [
            NOT_IN_PLACE[name](x) * share for name, share in zip(activations, shares, strict=True)
        ]
        return functools.reduce(torch.add, parts)

    if not torch.is_grad_enabled():
        return total(x, shares)
    return checkpoint(total, x, shares, use_reentrant=False, preserve_rng_state=False)


def _linear(layer: Linear, x: Tensor, features: int) -> Tensor:
    linear = layer.linear
    return functional.linear(x, linear.weight[:features, : x.shape[1]], linear.bias[:features])


def _normalized(
    normalize: Normalize, name: str, layer: ConvNorm, x: Tensor, mask: Tensor | None
) -> Tensor:
    """By the layer's norm, and masked: by that norm too where all images have the same mask."""
    norm = norm_of(layer)
    if mask is None or len(mask) > 1:
        return _masked(normalize(name, norm, x), mask)
    return normalize(name, MaskedNorm.of(norm, mask.flatten()), x)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    # Before or behind an activation is the same: all of them map 0 to 0.
    return x if mask is None else x * mask


def _padded(x: Tensor, channels: int) -> Tensor:
    missing = channels - x.shape[1]
    return functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x


def _joined(x: Tensor, y: Tensor) -> Tensor:
    """Sum of both, the one with fewer channels continued by zeros."""
    channels = max(x.shape[1], y.shape[1])
    return _padded(x, channels) + _padded(y, channels)
