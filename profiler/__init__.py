"""Layers to a latency table: kernels, their lowering, and how long each takes on a device."""
