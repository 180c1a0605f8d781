"""Encoder-decoder networks such as FastDepth's: depthwise-separable layers, additive skips."""

from __future__ import annotations

from netadapt.search.families.encoder_decoder.arch import (
    DecoderArch,
    EncoderArch,
    EncoderDecoderArch,
)
from netadapt.search.families.encoder_decoder.space import EncoderDecoderSpace

__all__ = ["DecoderArch", "EncoderArch", "EncoderDecoderArch", "EncoderDecoderSpace"]
