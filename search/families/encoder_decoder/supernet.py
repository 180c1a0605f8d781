"""One set of weights for all encoder-decoders of a space: masks, and groups of equal kernels.

Symbols as in the module `space` beside this one; `B` images, `N` archs: 1, or one an image. A
channel that an arch has not is 0 in its image behind every layer, so that what follows adds up as
if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from netadapt.profiler.kernels import CLAMPS, UPSAMPLINGS, ConvNorm, Upsample
from netadapt.search.errors import ArchError
from netadapt.search.families.encoder_decoder.mixing import network_mixture
from netadapt.search.families.encoder_decoder.network import EncoderDecoder
from netadapt.search.families.runs import Runs
from netadapt.search.mixture import Distribution, Mixture
from netadapt.search.space import Arch
from netadapt.search.supernet import Normalize, SuperNetwork, norm_of, part_of_weight

if TYPE_CHECKING:
    from netadapt.search.families.encoder_decoder.space import EncoderDecoderSpace


IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu_,
    "relu6": lambda x: functional.relu6(x, inplace=True),
}
"""Activations, which overwrite what they are given."""


class EncoderDecoderSuperNetwork(SuperNetwork):
    """See `netadapt.search.supernet.SuperNetwork`."""

    space: EncoderDecoderSpace
    network: EncoderDecoder

    def compute(self, x: Tensor, archs: Arch | Sequence[Arch], normalize: Normalize) -> Tensor:
        several = isinstance(archs, Sequence)
        listed = list(cast("Sequence[Arch]", archs)) if several else [cast("Arch", archs)]
        if several and len(listed) != len(x):
            raise ArchError(
                f"there is one arch an image, got {len(listed)} for {len(x)}; give as many"
            )
        for arch in set(listed):
            self.space.validate(arch)
        own = [self.space.own(arch) for arch in listed]
        run = _Run(self, normalize)
        widths = [arch.stem for arch in own]
        x = run.convolved("stem", x, widths)
        before = [self.space.channels_before(arch) for arch in own]
        kept: dict[int, Tensor] = {}
        for index in range(len(self.space.encoder)):
            layers = [arch.encoder[index] for arch in own]
            if any(not layer.removed for layer in layers):
                channels, filters = [b[index] for b in before], [a.width for a in layers]
                y = run.separable(
                    f"encoder.layer{index}",
                    x,
                    channels,
                    filters,
                    [layer.kernel_size or 0 for layer in layers],
                )
                if self.space.bypassed(index):
                    y = _joined(x, y, [b[index + 1] for b in before])
                x = y
            if index in self.space.sources:
                kept[self.space.sources[index]] = x
        channels = [b[-1] for b in before]
        for index in range(len(self.space.decoder)):
            ups = [arch.decoder[index] for arch in own]
            filters = [up.width for up in ups]
            kernels = [up.kernel_size for up in ups]
            x = run.separable(f"decoder.layer{index}", x, channels, filters, kernels)
            chosen = np.array([UPSAMPLINGS.index(up.upsampling) + 1 for up in ups])
            x = Runs.of(chosen).computed(x, _upsampled)
            if index in kept and any(up.skip for up in ups):
                skip = kept[index][:, : x.shape[1]]
                has = x.new_tensor([float(bool(up.skip)) for up in ups]).view(-1, 1, 1, 1)
                x = x + skip * has
            channels = filters
        return run.convolved("output", x, [self.space.classes])

    def compute_mixture(self, x: Tensor, mixture: Mixture, normalize: Normalize) -> Tensor:
        """At full size, by masks between 0 and 1 that all images share (FBNetV2, section 3.1)."""
        space = self.space
        network = network_mixture(space, mixture)
        run = _Run(self, normalize)
        x = run.mixed("stem", x, network.stem)
        kept: dict[int, Tensor] = {}
        for index, layer in enumerate(network.encoder):
            name = f"encoder.layer{index}"
            y = run.mixed(f"{name}.depthwise", x, layer.entering, layer.kernel_size)
            y = run.mixed(f"{name}.pointwise", y, layer.width)
            if space.bypassed(index):
                y = _joined_softly(x, y, layer.width.where(lambda filters: filters == 0))
            x = y
            if index in space.sources:
                kept[space.sources[index]] = x
        for index, up in enumerate(network.decoder):
            name = f"decoder.layer{index}"
            x = run.mixed(f"{name}.depthwise", x, up.entering, up.kernel_size)
            x = run.mixed(f"{name}.pointwise", x, up.width)
            shares = zip(up.upsampling.values, up.upsampling.probabilities, strict=True)
            ways = [
                share.to(x) * _upsampled(x, place)
                for place, share in shares
                if share != 0  # else nothing of it is left
            ]
            x = sum(ways[1:], ways[0])
            if index in kept:
                x = x + up.skip.to(x) * kept[index]
        return run.convolved("output", x, [space.classes])


class _Run:
    """One pass through the super-network's layers."""

    def __init__(self, supernet: EncoderDecoderSuperNetwork, normalize: Normalize) -> None:
        self._network = supernet.network
        self._normalize = normalize

    def convolved(
        self, name: str, x: Tensor, widths: Sequence[int], kernels: Sequence[int] | None = None
    ) -> Tensor:
        """Layer `name`, dense or depthwise, to `widths` `(N,)` filters; the rest of them are 0.

        `kernels` `(N,)`, 0 of those to whom it is all the same; None: the layer's own.
        """
        layer = self._network.get_submodule(name)
        assert isinstance(layer, ConvNorm)
        conv, most = layer.conv, max(widths)
        depthwise = conv.groups > 1
        inputs = 1 if depthwise else x.shape[1]

        def convolve(some: Tensor, kernel: int) -> Tensor:
            weight = part_of_weight(conv.weight, (most, inputs, kernel, kernel))
            groups = most if depthwise else 1
            return functional.conv2d(some, weight, None, conv.stride, kernel // 2, groups=groups)

        if kernels is None:
            y = convolve(x, conv.kernel_size[0])
        else:
            y = Runs.of(np.array(kernels)).computed(x, convolve)
        y = self._normalize(name, norm_of(layer), y)
        mask = _mask(y, widths)
        if mask is not None:
            # Before the activation, which maps 0 to 0: so nothing of it is kept for the gradient
            y = y.mul_(mask)
        return IN_PLACE[layer.activation](y)

    def separable(
        self,
        name: str,
        x: Tensor,
        channels: Sequence[int],
        filters: Sequence[int],
        kernels: Sequence[int],
    ) -> Tensor:
        """Depthwise on `channels` `(N,)`, then pointwise to `filters` `(N,)`."""
        # A removed layer has no kernel size: it is computed with another image's, and masked
        x = self.convolved(f"{name}.depthwise", x, channels, kernels)
        return self.convolved(f"{name}.pointwise", x, filters)

    def mixed(
        self, name: str, x: Tensor, filters: Distribution, kernel_size: Distribution | None = None
    ) -> Tensor:
        """Layer `name` at full size, each filter by how likely it is; `kernel_size` None: its own.

        Of a depthwise one `filters` are the channels that enter.
        """
        layer = self._network.get_submodule(name)
        assert isinstance(layer, ConvNorm)
        conv = layer.conv
        (largest, _) = conv.kernel_size
        weight = conv.weight
        if kernel_size is not None:
            weight = weight * kernel_size.kernel_mask(largest).to(weight)
        y = functional.conv2d(x, weight, None, conv.stride, largest // 2, groups=conv.groups)
        y = self._normalize(name, norm_of(layer), y)
        if layer.activation != "none":
            y = CLAMPS[layer.activation](y)
        return y * filters.mask(y.shape[1]).to(y)[None, :, None, None]


def _joined_softly(x: Tensor, y: Tensor, removed: Tensor) -> Tensor:
    """The bypass of a mixture; of what the layer has no filters for only `removed` goes on."""
    filters, most = y.shape[1], max(x.shape[1], y.shape[1])
    x = torch.cat([x[:, :filters], removed.to(x) * x[:, filters:]], 1)
    x, y = (functional.pad(each, (0, 0, 0, 0, 0, most - each.shape[1])) for each in (x, y))
    return x + y


def _mask(x: Tensor, widths: Sequence[int]) -> Tensor | None:
    """`(N, channels, 1, 1)`: 0 beyond each image's width; None where nothing is beyond."""
    if min(widths) == x.shape[1]:
        return None
    known = torch.tensor(widths, device=x.device).view(-1, 1)
    kept = torch.arange(x.shape[1], device=x.device) < known
    return kept.to(x)[:, :, None, None]


def _joined(x: Tensor, y: Tensor, channels: Sequence[int]) -> Tensor:
    """The bypass: what came in and what the layer made of it, each where it is there."""
    most = max(channels)
    x, y = (functional.pad(each, (0, 0, 0, 0, 0, most - each.shape[1])) for each in (x, y))
    joined = x[:, :most] + y[:, :most]
    mask = _mask(joined, channels)
    return joined if mask is None else joined.mul_(mask)


def _upsampled(x: Tensor, place: int) -> Tensor:
    up: Tensor = Upsample(UPSAMPLINGS[place - 1])(x)
    return up
