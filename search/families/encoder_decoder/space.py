"""A space of encoder-decoder networks for outputs of the input's size, such as depth.

FastDepth's (Wofk et al. 2019), as data: an encoder of depthwise-separable layers (MobileNetV1's), a
decoder of layers that each double height and width, and encoder layers that are added behind the
decoder's up-samplings. What is added has to have the same channels, so the widths of the two are
*tied*: one dimension sets both. A layer of the encoder that keeps its size, and that no skip starts
from, has NetAdaptV2's channel-level bypass around it and can be removed.

Symbols: `C` channels that come in, `T` filters of the layer in the full network, `M` filters of the
arch; behind a bypass there are `max(min(C, T), M)` channels. `H, W` of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from netadapt.profiler.kernels import (
    UPSAMPLINGS,
    AddKernel,
    BypassKernel,
    DepthwiseConvKernel,
    Kernel,
    PointwiseConvKernel,
    StandardConvKernel,
    UpsampleKernel,
)
from netadapt.search.errors import ArchError
from netadapt.search.families.encoder_decoder.arch import (
    REMOVED,
    DecoderArch,
    EncoderArch,
    EncoderDecoderArch,
)
from netadapt.search.space import Arch, Dimension, Part, Space, not_allowed

if TYPE_CHECKING:
    import torch

    from netadapt.search.families.encoder_decoder.mixing import Places
    from netadapt.search.families.encoder_decoder.network import EncoderDecoder
    from netadapt.search.families.encoder_decoder.supernet import EncoderDecoderSuperNetwork
    from netadapt.search.mixture import Likely, Mixture

ENCODER_ACTIVATION, DECODER_ACTIVATION = "relu6", "relu"
STRIDES = (1, 2)


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    """A line of the encoder: the reference's filters, the most there may be, kernel and stride."""

    width: int
    max_width: int
    kernel_size: int
    stride: int


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """A line of the decoder.

    Parameters
    ----------
    upsampling: the reference's.
    skip: number of the encoder's layer that is added behind it, from 0; None for none.
    """

    width: int
    max_width: int
    kernel_size: int
    upsampling: str
    skip: int | None


@dataclass(frozen=True)
class EncoderDecoderSpace(Space):
    """See the module; `docs/spaces.md` explains the file's keys."""

    family: ClassVar[str] = "encoder_decoder"

    name: str
    in_channels: int
    resolution: tuple[int, int]
    classes: int
    width_step: int
    kernel_sizes: tuple[int, ...]
    upsamplings: tuple[str, ...]
    bypass: bool
    optional_skips: bool
    stem: EncoderLayer
    encoder: tuple[EncoderLayer, ...]
    decoder: tuple[DecoderLayer, ...]
    output_activation: str

    @classmethod
    def read(cls, table: dict[str, Any], where: str) -> Self:
        from netadapt.search.families.encoder_decoder.file import read_file

        return cls(**read_file(table, where))

    @property
    def options(self) -> dict[str, bool]:
        return {"bypass": self.bypass}

    # Dimensions

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        return tuple(d for d in self.all_dimensions if len(d.values) > 1)

    @cached_property
    def all_dimensions(self) -> tuple[Dimension, ...]:
        """Those of one value too; widths that are tied to another layer's are none."""
        return tuple(self._all_dimensions())

    def _all_dimensions(self) -> Iterator[Dimension]:
        yield Dimension("stem", self._widths(self.stem.max_width))
        for index, layer in enumerate(self.encoder):
            none = (0,) if self.bypassed(index) else ()
            yield Dimension(f"encoder.{index}.width", none + self._widths(layer.max_width))
            yield Dimension(f"encoder.{index}.kernel_size", self._kernels(layer), "kernel_size")
        for index, line in enumerate(self.decoder):
            if line.skip is None:
                yield Dimension(f"decoder.{index}.width", self._widths(line.max_width))
            yield Dimension(f"decoder.{index}.kernel_size", self._kernels(line), "kernel_size")
            chosen = tuple(sorted(UPSAMPLINGS.index(name) + 1 for name in self.upsamplings))
            yield Dimension(f"decoder.{index}.upsampling", chosen, "operation")
            if line.skip is not None and self.optional_skips:
                yield Dimension(f"decoder.{index}.skip", (0, 1), "depth")

    def _widths(self, max_width: int) -> tuple[int, ...]:
        return tuple(range(self.width_step, max_width + 1, self.width_step))

    def _kernels(self, layer: EncoderLayer | DecoderLayer) -> tuple[int, ...]:
        return tuple(sorted({layer.kernel_size, *self.kernel_sizes}))

    @cached_property
    def sources(self) -> dict[int, int]:
        """Encoder layers that a skip starts from, and the decoder's layers it ends behind."""
        return {
            layer.skip: index for index, layer in enumerate(self.decoder) if layer.skip is not None
        }

    def bypassed(self, index: int) -> bool:
        """Whether encoder layer `index` has a bypass around it, and so can be removed."""
        return self.bypass and self.encoder[index].stride == 1 and index not in self.sources

    def out_channels(self, index: int, channels: int, width: int) -> int:
        """Channels behind encoder layer `index` with so many before it and `width` filters."""
        if width == 0:
            return channels
        if not self.bypassed(index):
            return width
        return max(min(channels, self.encoder[index].max_width), width)

    # Archs

    def full(self) -> EncoderDecoderArch:
        return self._made({d.name: d.values[-1] for d in self.all_dimensions})

    def reference(self) -> EncoderDecoderArch:
        return self._reference_scaled(lambda width: width, None)

    def scaled(self, multiplier: float, kernel_size: int | None = None) -> EncoderDecoderArch:
        if not multiplier > 0:
            raise ArchError(f"a width multiplier is above 0, got {multiplier}; 1 is the reference")
        step = self.width_step

        def scale(width: int) -> int:
            return max(step, int(width * multiplier / step + 0.5) * step)

        arch = self._reference_scaled(scale, kernel_size)
        self.validate(arch)
        return arch

    def _reference_scaled(
        self, scale: Callable[[int], int], kernel_size: int | None
    ) -> EncoderDecoderArch:
        """The reference with every width scaled, and one kernel size where it is given."""
        return EncoderDecoderArch(
            scale(self.stem.width),
            tuple(
                EncoderArch(scale(layer.width), kernel_size or layer.kernel_size)
                for layer in self.encoder
            ),
            tuple(
                DecoderArch(
                    scale(layer.width),
                    kernel_size or layer.kernel_size,
                    layer.upsampling,
                    None if layer.skip is None else True,
                )
                for layer in self.decoder
            ),
        )

    def point(self, values: Sequence[int]) -> EncoderDecoderArch:
        given = {d.name: v for d, v in zip(self.dimensions, values, strict=True)}
        return self._made({d.name: d.values[-1] for d in self.all_dimensions} | given)

    def _made(self, values: dict[str, int]) -> EncoderDecoderArch:
        """Of a value of every dimension, those of one value included."""
        encoder = []
        for index in range(len(self.encoder)):
            width = values[f"encoder.{index}.width"]
            kernel = values[f"encoder.{index}.kernel_size"]
            encoder.append(EncoderArch(width, kernel) if width else REMOVED)
        decoder = []
        for index, layer in enumerate(self.decoder):
            if layer.skip is None:
                width, skip = values[f"decoder.{index}.width"], None
            else:
                width = encoder[layer.skip].width
                skip = bool(values.get(f"decoder.{index}.skip", 1))
            kernel = values[f"decoder.{index}.kernel_size"]
            upsampling = UPSAMPLINGS[values[f"decoder.{index}.upsampling"] - 1]
            decoder.append(DecoderArch(width, kernel, upsampling, skip))
        return EncoderDecoderArch(values["stem"], tuple(encoder), tuple(decoder))

    def value(self, arch: Arch, dimension: Dimension) -> int | None:
        self._own_dimension(dimension)
        return self._values(self.own(arch))[dimension.name]

    def _values(self, arch: EncoderDecoderArch) -> dict[str, int]:
        """Of every dimension, also of those of one value; 0 of what is removed."""
        values = {"stem": arch.stem}
        for index, layer in enumerate(arch.encoder):
            values[f"encoder.{index}.width"] = layer.width
            values[f"encoder.{index}.kernel_size"] = layer.kernel_size or 0
        for index, up in enumerate(arch.decoder):
            values[f"decoder.{index}.width"] = up.width
            values[f"decoder.{index}.kernel_size"] = up.kernel_size
            values[f"decoder.{index}.upsampling"] = UPSAMPLINGS.index(up.upsampling) + 1
            values[f"decoder.{index}.skip"] = int(bool(up.skip))
        return values

    def with_value(self, arch: Arch, dimension: Dimension, value: int) -> EncoderDecoderArch:
        self._own_dimension(dimension)
        if value not in dimension.values:
            raise not_allowed(dimension.name, value, dimension.values)
        own = self.own(arch)
        values = self._values(own)
        before = values[dimension.name]
        removed = dimension.name.startswith("encoder.") and not before
        if removed and value:
            raise ArchError(
                f"a removed layer has no {dimension.name}, got {value}; give it back with `point`"
            )
        known = {d.name for d in self.all_dimensions}
        return self._made({k: v for k, v in values.items() if k in known} | {dimension.name: value})

    def validate(self, arch: Arch) -> None:
        own = self.own(arch)
        if len(own.encoder) != len(self.encoder) or len(own.decoder) != len(self.decoder):
            raise ArchError(
                f"an arch of {self.name!r} has {len(self.encoder)} layers in its encoder and "
                f"{len(self.decoder)} in its decoder, got {len(own.encoder)} and "
                f"{len(own.decoder)}; take one of this space"
            )
        for layer in own.encoder:
            if layer.removed != (layer.kernel_size is None):
                raise ArchError(f"a removed layer has neither width nor kernel, got {layer}")
        for up in own.decoder:
            if up.upsampling not in UPSAMPLINGS:
                raise not_allowed("an up-sampling", up.upsampling, self.upsamplings)
        values = self._values(own)
        for dimension in self.all_dimensions:
            value, gone = values[dimension.name], False
            if dimension.kind == "kernel_size" and not value:
                gone = values[dimension.name.replace("kernel_size", "width")] == 0
            if value not in dimension.values and not gone:
                raise not_allowed(dimension.name, value, dimension.values)
        for index, (up, line) in enumerate(zip(own.decoder, self.decoder, strict=True)):
            if (up.skip is None) != (line.skip is None):
                raise not_allowed(f"decoder.{index}.skip", up.skip, (None,))
            if line.skip is not None and up.width != own.encoder[line.skip].width:
                raise ArchError(
                    f"decoder.{index} has the width of encoder.{line.skip}, which is added behind "
                    f"it, got {up.width} and {own.encoder[line.skip].width}; make them equal"
                )

    def arch_from_json(self, text: str) -> EncoderDecoderArch:
        arch = EncoderDecoderArch.from_json(text)
        self.validate(arch)
        return arch

    def own(self, arch: Arch) -> EncoderDecoderArch:
        """`arch`, of this family. Raises `ArchError`."""
        if not isinstance(arch, EncoderDecoderArch):
            raise ArchError(
                f"an arch of {self.name!r} is an EncoderDecoderArch, got {arch!r}; make one"
            )
        return arch

    def _own_dimension(self, dimension: Dimension) -> None:
        if dimension not in self.dimensions:
            raise ArchError(
                f"a dimension is one of the space's, got {dimension.name}; see its dimensions"
            )

    # What archs are made of

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Heights and widths before the encoder's layers, and behind the last."""
        sizes = [_halved(self.resolution, self.stem.stride)]
        for layer in self.encoder:
            sizes.append(_halved(sizes[-1], layer.stride))
        return sizes

    def channels_before(self, arch: EncoderDecoderArch) -> list[int]:
        """Before each of the encoder's layers, and behind the last."""
        found = [arch.stem]
        for index, layer in enumerate(arch.encoder):
            found.append(self.out_channels(index, found[-1], layer.width))
        return found

    def parts(self, arch: Arch) -> list[Part]:
        own = self.own(arch)
        channels = self.channels_before(own)
        parts = [Part.of("stem", [self.stem_kernel(own.stem)])]
        for index, layer in enumerate(own.encoder):
            made = self.encoder_kernels(index, layer, channels[index])
            parts.append(Part.of(f"encoder {index + 1}", made))
        before = channels[-1]
        for index, up in enumerate(own.decoder):
            made = self.decoder_kernels(index, up, before)
            parts.append(Part.of(f"decoder {index + 1}", made))
            before = up.width
        return [*parts, Part.of("output", [self.output_kernel(before)])]

    def stem_kernel(self, width: int) -> Kernel:
        """Of the stem, with so many filters."""
        stem = self.stem
        size = (stem.kernel_size, stem.stride, *self.resolution)
        return StandardConvKernel(self.in_channels, width, *size, ENCODER_ACTIVATION)

    def output_kernel(self, channels: int) -> Kernel:
        """Of the last layer, behind so many channels."""
        size = self._size_before_decoder(len(self.decoder))
        return PointwiseConvKernel(channels, self.classes, *size, self.output_activation)

    def decoder_kernels(self, index: int, layer: DecoderArch, channels: int) -> list[Kernel]:
        """Of the decoder's layer `index`, behind so many channels; an addition last."""
        height, width = size = self._size_before_decoder(index)
        kernels: list[Kernel] = [
            DepthwiseConvKernel(channels, layer.kernel_size, 1, *size, DECODER_ACTIVATION),
            PointwiseConvKernel(channels, layer.width, *size, DECODER_ACTIVATION),
            UpsampleKernel(layer.upsampling, layer.width, *size),
        ]
        if layer.skip:
            kernels.append(AddKernel(layer.width, 2 * height, 2 * width))
        return kernels

    def _size_before_decoder(self, index: int) -> tuple[int, int]:
        height, width = self._sizes[-1]
        return height << index, width << index

    def encoder_kernels(self, index: int, layer: EncoderArch, channels: int) -> list[Kernel]:
        """Of the encoder's layer `index`, behind so many channels; what it is joined by last."""
        if layer.kernel_size is None:
            return []
        size, stride = self._sizes[index], self.encoder[index].stride
        after = self._sizes[index + 1]
        kernels: list[Kernel] = [
            DepthwiseConvKernel(channels, layer.kernel_size, stride, *size, ENCODER_ACTIVATION),
            PointwiseConvKernel(channels, layer.width, *after, ENCODER_ACTIVATION),
        ]
        if self.bypassed(index):
            out = self.out_channels(index, channels, layer.width)
            kernels.append(
                AddKernel(layer.width, *after)
                if channels == layer.width
                else BypassKernel(channels, layer.width, out, *after)
            )
        return kernels

    def likely_kernels(self, mixture: Mixture, *, effective: bool = False) -> list[Likely]:
        return self._places.likely(mixture, effective=effective)

    @cached_property
    def _places(self) -> Places:
        from netadapt.search.families.encoder_decoder.mixing import Places

        return Places(self)

    def planned_memory_bytes(self, arch: Arch) -> int:
        """Peak of the fp32 activations alive at a time; skips live until they are added."""
        own, parts = self.own(arch), self.parts(arch)
        before = len(self.encoder) + 1
        peak = 0
        for number, part in enumerate(parts):
            kept = 0
            for source, target in self.sources.items():
                if own.decoder[target].skip and source + 1 < number <= before + target:
                    kept += parts[source + 1].kernels[-1].output_elements
            peak = max(peak, part.peak_elements + kept)
        return 4 * peak

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (1, self.in_channels, *self.resolution)

    def network(self, arch: Arch, *, generator: torch.Generator | None = None) -> EncoderDecoder:
        from netadapt.search.families.encoder_decoder.network import build_network

        self.validate(arch)
        return build_network(self, self.own(arch), generator)

    def supernetwork(
        self, *, generator: torch.Generator | None = None
    ) -> EncoderDecoderSuperNetwork:
        from netadapt.search.families.encoder_decoder.supernet import EncoderDecoderSuperNetwork

        return EncoderDecoderSuperNetwork(self, self.network(self.full(), generator=generator))


def _halved(size: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = (-(-side // stride) for side in size)
    return height, width
