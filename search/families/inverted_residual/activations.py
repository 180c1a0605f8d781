"""The activations of this family, and which of them the runtime fuses."""

from __future__ import annotations

from netadapt.profiler.kernels.convolution import CLAMPS

STANDALONE = ("hardswish", "silu")
"""Activations that are kernels of their own."""
ACTIVATIONS = (*CLAMPS, *STANDALONE)


def fused(activation: str) -> str:
    """What of an activation the runtime fuses into the layer before it, "none" or all of it."""
    return activation if activation in CLAMPS else "none"
