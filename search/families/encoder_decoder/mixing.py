"""Mixtures of encoder-decoders: how likely each width and each kernel is (FBNetV2).

Symbols as in the module `space` beside this one. The dimensions of a mixture are independent, and
so are the numbers that one kernel depends on: tied widths are one number, and between the layer a
skip starts from and the decoder's layer before its end there is always one that changes its size,
whose filters alone decide the channels behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netadapt.profiler.kernels import UPSAMPLINGS
from netadapt.search.families.encoder_decoder.arch import DecoderArch, EncoderArch
from netadapt.search.mixture import Distribution, Likely, Mixture, check_mixture
from netadapt.search.places import KnownPlaces, above_0

if TYPE_CHECKING:
    from netadapt.profiler.kernels import Kernel
    from netadapt.search.families.encoder_decoder.space import EncoderDecoderSpace


@dataclass(frozen=True, slots=True)
class EncoderMixture:
    """One layer's numbers: C, M and k; M = 0 removes it."""

    entering: Distribution
    width: Distribution
    kernel_size: Distribution


@dataclass(frozen=True, slots=True)
class DecoderMixture:
    """One layer's numbers.

    Parameters
    ----------
    upsampling: places from 1 in `UPSAMPLINGS`.
    skip: the probability, a scalar, that the encoder's layer is added; 0 where there is none.
    """

    entering: Distribution
    width: Distribution
    kernel_size: Distribution
    upsampling: Distribution
    skip: Tensor


@dataclass(frozen=True, slots=True)
class NetworkMixture:
    """The numbers of a whole network."""

    stem: Distribution
    encoder: tuple[EncoderMixture, ...]
    decoder: tuple[DecoderMixture, ...]


def network_mixture(
    space: EncoderDecoderSpace, mixture: Mixture, *, effective: bool = False
) -> NetworkMixture:
    """The numbers of a mixture of the space's archs.

    `effective`: every number is taken to be at its mean (`Distribution.sharpened`); up-samplings
    have no mean and stay as they are. Raises `ArchError` for a mixture that is not of this space.
    """
    check_mixture(space, mixture)
    like = next(iter(mixture.values())) if mixture else torch.empty(0)
    dimensions = {dimension.name: dimension for dimension in space.all_dimensions}

    def number(name: str) -> Distribution:
        dimension = dimensions[name]
        if len(dimension.values) == 1:
            return Distribution.sure(dimension.values[0], like)
        found = Distribution(dimension.values, mixture[name])
        return found.sharpened() if effective and dimension.kind != "operation" else found

    stem = entering = number("stem")
    encoder = []
    for index in range(len(space.encoder)):
        width, kernel_size = (number(f"encoder.{index}.{n}") for n in ("width", "kernel_size"))
        encoder.append(EncoderMixture(entering, width, kernel_size))

        def leaving(channels: int, filters: int, index: int = index) -> int:
            return space.out_channels(index, channels, filters)

        entering = entering.through(width, leaving)
        entering = entering.sharpened() if effective else entering
    decoder = []
    for index, layer in enumerate(space.decoder):
        name = f"decoder.{index}"
        if layer.skip is None:
            width, skip = number(f"{name}.width"), like.new_zeros(())
        else:
            width, skip = encoder[layer.skip].width, like.new_ones(())
        if f"{name}.skip" in dimensions:
            skip = number(f"{name}.skip").where(lambda kept: kept > 0)
        kernel_size, upsampling = (number(f"{name}.{n}") for n in ("kernel_size", "upsampling"))
        decoder.append(DecoderMixture(entering, width, kernel_size, upsampling, skip))
        entering = width
    return NetworkMixture(stem, tuple(encoder), tuple(decoder))


class Places:
    """The kernels that networks of a space may hold, place by place."""

    def __init__(self, space: EncoderDecoderSpace) -> None:
        self._space = space
        self._known = KnownPlaces()

    def likely(self, mixture: Mixture, *, effective: bool = False) -> list[Likely]:
        """Every place with its kernels' probabilities; raises as `network_mixture` does."""
        space, known = self._space, self._known
        network = network_mixture(space, mixture, effective=effective)
        found = known.likely("stem", lambda width: [space.stem_kernel(width)], [network.stem])
        for index, layer in enumerate(network.encoder):
            found += self._encoder(index, layer)
        for index, up in enumerate(network.decoder):
            found += self._decoder(index, up)
        leaving = network.decoder[-1].width
        return found + known.likely("output", lambda width: [space.output_kernel(width)], [leaving])

    def _encoder(self, index: int, layer: EncoderMixture) -> list[Likely]:
        def made(channels: int, width: int, kernel_size: int) -> list[Kernel]:
            return self._space.encoder_kernels(index, EncoderArch(width, kernel_size), channels)

        numbers = [layer.entering, above_0(layer.width), layer.kernel_size]
        found = self._known.likely(f"encoder {index}", lambda *n: made(*n)[:2], numbers)
        if self._space.bypassed(index):
            smallest = layer.kernel_size.values[0]
            found += self._known.likely(
                f"join {index}",
                lambda channels, width: made(channels, width, smallest)[2:],
                numbers[:2],
                layer.kernel_size.probabilities.sum(),
                sure=True,
            )
        return found

    def _decoder(self, index: int, up: DecoderMixture) -> list[Likely]:
        def made(channels: int, width: int, kernel_size: int, upsampling: int) -> list[Kernel]:
            arch = DecoderArch(width, kernel_size, UPSAMPLINGS[upsampling - 1], skip=True)
            return self._space.decoder_kernels(index, arch, channels)

        numbers = [up.entering, up.width, up.kernel_size, up.upsampling]
        found = self._known.likely(f"decoder {index}", lambda *n: made(*n)[:3], numbers)
        if self._space.decoder[index].skip is not None:
            rest = [number.values[0] for number in (up.kernel_size, up.upsampling)]
            entering = up.entering.values[0]
            found += self._known.likely(
                f"skip {index}",
                lambda width: made(entering, width, *rest)[3:],
                [up.width],
                up.skip,
            )
        return found
