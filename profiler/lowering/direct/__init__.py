"""XNNPACK programs written directly: graph records through ExecuTorch's own serialisers.

The exporter's way traces a module, decomposes and partitions it and runs some twenty passes over
it; of the layers this package knows, what comes out is known beforehand. `operators` reads a
module, `layout` puts the changes of memory layout where the backend puts them, `delegate` writes
XNNPACK's graph, `program` the file around it. The bytes are the exporter's: tests compare every
kernel type and whole networks, runs a share of theirs (`netadapt.profiler.lowering.writing`).
"""
