"""Kernels' latencies to a network: spaces, super-networks, optimisers, training."""
