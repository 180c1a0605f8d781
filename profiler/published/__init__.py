"""Latencies that somebody else published, as rows of a latency table."""
