"""A latency table generalised: kernels to milliseconds, with intervals."""
