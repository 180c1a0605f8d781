"""Models that are none of netadapt's own: published networks, timed as a whole and by kernel.

    python -m benchmarks.own_models [--quick]

The reference networks are built, exported and lowered; each program's outputs are held
against the module's, its kernels are timed by themselves and their sum against the whole. What was
found of a network is kept, so that a run that was stopped goes on.

`sum_vs_whole_within_10pct`: the share of networks whose plain sum is within 10 % of the whole;
`scaled_worst_pct`: the worst deviation once all sums are multiplied by one constant of the device.
`macs_off_pct` is of the module, counted by torch; `graph_macs_off_pct` of what is executed: a norm
behind a concatenation, which MixNet has, runs as a convolution of one weight a channel.
`kernels_by_nodes`: random archs of the spaces that come along whose kernels, read from the nodes of
their written programs, are the space's own.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import (
    QUICK_PROFILE,
    QUICK_SPACE,
    commit,
    parser,
    print_result,
    say,
    work_folder,
)
from benchmarks.equivalence import relative_error, run_program
from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.runner.host import HostDevice
from netadapt.models import Model, lower_model, make_model
from netadapt.profiler.graph import ModelGraph, read_graph
from netadapt.profiler.kernels import NodeKernel, PortableKernel
from netadapt.profiler.lowering import ProgramCache
from netadapt.profiler.lowering.direct.delegate import delegate
from netadapt.profiler.lowering.direct.operators import read_module
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
from netadapt.profiler.model_timing import ModelTimer
from netadapt.profiler.recognition import kernels_of
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable
from netadapt.reference import ReferenceNetwork, reference_networks
from netadapt.search import Space
from netadapt.search.network import build_network

SPLIT = "split_as_slices"


def main() -> None:
    """Lower, run, time, compare, print the figures."""
    quick = parser(__doc__).parse_args().quick
    torch.set_num_threads(1)
    networks = reference_networks(["MobileNetV3-Small"] if quick else ())
    kept = work_folder("own_models") / f"{commit()}{'-quick' if quick else ''}"
    kept.mkdir(exist_ok=True)
    found = {}
    with LatencyTable(kept / "rows.sqlite") as table:
        settings = ProfileSettings(**(QUICK_PROFILE if quick else {}))
        timer = ModelTimer(HostDevice(), table, ProgramCache(), settings)
        for network in networks:
            found[network.name] = _kept(kept / f"{network.name}.json", network, timer)
            say(f"{network.name}: {found[network.name]}")
        rewritten = None if quick else _rewritten(timer, found["EfficientNet-B0"]["ms"])
    ratios = [one["sum_ms"] / one["ms"] for one in found.values()]
    scale = statistics.median(ratios)
    print_result(
        {
            "benchmark": "own_models",
            "networks": len(found),
            "parameters_exact": sum(one["parameters_exact"] for one in found.values()),
            "macs_within_1pct": sum(one["macs_off_pct"] <= 1 for one in found.values()),
            "graph_macs_within_1pct": sum(one["graph_macs_off_pct"] <= 1 for one in found.values()),
            "outputs_within_1e-3": sum(one["output_err"] <= 1e-3 for one in found.values()),
            "sum_vs_whole_within_10pct": round(_share(ratios, 1.0), 3),
            "sum_vs_whole_worst_pct": _worst_pct(ratios, 1.0),
            "constant": round(1 / scale, 4),
            "scaled_within_10pct": round(_share(ratios, scale), 3),
            "scaled_worst_pct": _worst_pct(ratios, scale),
            "kernels_by_nodes": _by_nodes(quick=quick),
            "split_as_slices": rewritten,
            "by_network": found,
        }
    )


def _share(ratios: list[float], scale: float) -> float:
    return statistics.mean(abs(ratio / scale - 1) <= 0.1 for ratio in ratios)


def _worst_pct(ratios: list[float], scale: float) -> float:
    return round(100 * max(abs(ratio / scale - 1) for ratio in ratios), 2)


def _kept(path: Path, network: ReferenceNetwork, timer: ModelTimer) -> dict[str, Any]:
    if not path.exists():
        write_atomically(path, json.dumps(_figures(network, timer)).encode())
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def _figures(network: ReferenceNetwork, timer: ModelTimer) -> dict[str, Any]:
    model = lower_model(network.model, [network.input_shape], ProgramCache(), XnnpackFp32())
    assert model.graph is not None
    parts = model.parts
    timing = timer.time(network.name, model.program, parts)
    kernels = [part.kernel for part in parts]
    return {
        "ms": round(timing.ms, 4),
        "sum_ms": round(timing.sum_ms, 4),
        "sum_vs_whole_pct": round(100 * (timing.sum_ms / timing.ms - 1), 2),
        "quality": timing.quality,
        "flagged": sum(bool(part.doubt) for part in timing.parts),
        "untimed": sum(part.ms is None for part in timing.parts),
        "parameters_exact": model.parameters == network.parameters,
        "macs_off_pct": round(100 * abs(_macs(network) / network.macs / 1e6 - 1), 3),
        "graph_macs_off_pct": round(100 * abs(model.graph.macs / network.macs / 1e6 - 1), 3),
        "output_err": _error(network, model),
        "layers": sum(kernel.is_layer for kernel in kernels),
        "nodes": sum(isinstance(kernel, NodeKernel) for kernel in kernels),
        "portable": sum(isinstance(kernel, PortableKernel) for kernel in kernels),
        "calls": len(model.graph.calls),
        "outside": len(model.graph.outside),
    }


def _macs(network: ReferenceNetwork) -> int:
    module, _ = make_model(network.model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(network.input_shape))
    return counter.get_total_flops() // 2


def _error(network: ReferenceNetwork, model: Model) -> float:
    module, _ = make_model(network.model)
    inputs = torch.randn(network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module.eval()(inputs)
    return float(relative_error(run_program(model.program, inputs), expected))


def _rewritten(timer: ModelTimer, efficientnet_ms: float) -> dict[str, Any]:
    """MixNet-M, a network of channel splits, with these as slices."""
    (network,) = reference_networks(["MixNet-M"])
    shapes = [network.input_shape]
    model = lower_model(network.model, shapes, ProgramCache(), XnnpackFp32(), [SPLIT])
    assert model.graph is not None
    timing = timer.time(model.name, model.program)
    return {
        "ms": round(timing.ms, 4),
        "of_efficientnet_b0": round(timing.ms / efficientnet_ms, 3),
        "output_err": _error(network, model),
        "outside": len(model.graph.outside),
    }


def _by_nodes(*, quick: bool) -> dict[str, str]:
    """By space, of how many random archs the nodes say the kernels that the space says."""
    found = {}
    for name in [QUICK_SPACE] if quick else ["digits", "mobilenet_v3_large"]:
        space, rng, equal = Space.load(name), np.random.default_rng(0), 0
        count = 4 if quick else 200
        for _ in range(count):
            arch = space.random(rng)
            network = build_network(space, arch, generator=torch.Generator().manual_seed(0))
            record = delegate(read_module(network, [space.input_shape_of(arch)])).graph
            graph = ModelGraph((read_graph(record, {}),), ())
            equal += kernels_of(graph) == list(space.kernels(arch))
        found[space.name] = f"{equal} of {count}"
    return found


if __name__ == "__main__":
    main()
