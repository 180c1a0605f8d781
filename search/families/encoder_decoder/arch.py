"""One point of a space of encoder-decoders, and its text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from netadapt.search.errors import ArchError
from netadapt.search.families.arch_text import integer, integer_or_none


@dataclass(frozen=True, slots=True)
class EncoderArch:
    """A layer of the encoder: depthwise, then pointwise to `width` filters (M).

    Parameters
    ----------
    width: 0 for a removed layer.
    kernel_size: of the depthwise convolution; None for a removed layer.
    """

    width: int
    kernel_size: int | None

    @property
    def removed(self) -> bool:
        """Whether nothing of it is left."""
        return self.width == 0


REMOVED = EncoderArch(0, None)
"""The one form of a layer that is not there."""


@dataclass(frozen=True, slots=True)
class DecoderArch:
    """A layer of the decoder: depthwise, pointwise, up-sampling, and the skip where it is kept.

    Parameters
    ----------
    upsampling: how it doubles height and width, a name of `netadapt.profiler.kernels.UPSAMPLINGS`.
    skip: whether the encoder's layer is added behind it; None where the space has no skip here.
    """

    width: int
    kernel_size: int
    upsampling: str
    skip: bool | None


@dataclass(frozen=True, slots=True)
class EncoderDecoderArch:
    """One point of a space; hashable. `stem` is a width."""

    stem: int
    encoder: tuple[EncoderArch, ...]
    decoder: tuple[DecoderArch, ...]

    def to_json(self) -> str:
        """Stable one-liner: `{"stem": 32, "encoder": [[width, kernel], ...], "decoder": ...}`."""
        return json.dumps(
            {
                "stem": self.stem,
                "encoder": [[layer.width, layer.kernel_size] for layer in self.encoder],
                "decoder": [
                    [layer.width, layer.kernel_size, layer.upsampling, layer.skip]
                    for layer in self.decoder
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of `to_json`'s text. Raises `ArchError`; whether a space has it is `validate`'s."""
        try:
            record = json.loads(text)
            encoder = tuple(_encoder(*values) for values in record["encoder"])
            decoder = tuple(_decoder(*values) for values in record["decoder"])
            stem = integer(record["stem"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArchError(
                f"an arch reads as `Arch.to_json` writes it, got {text[:200]!r} "
                f"({type(error).__name__}); take it from a trial log unchanged"
            ) from error
        return cls(stem, encoder, decoder)


def _encoder(width: object, kernel: object) -> EncoderArch:
    return EncoderArch(integer(width), integer_or_none(kernel))


def _decoder(width: object, kernel: object, upsampling: object, skip: object) -> DecoderArch:
    if not isinstance(upsampling, str) or not isinstance(skip, bool | None):
        raise TypeError(f"not a layer's operations: {upsampling!r}, {skip!r}")
    return DecoderArch(integer(width), integer(kernel), upsampling, skip)
