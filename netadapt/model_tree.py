"""A model's times as a tree of its own modules, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from netadapt.profiler.graph import Outside
from netadapt.profiler.model_timing import ModelTiming, NodeTiming

REMEDIES = {
    "split": "split channels with slices (x[:, :n]), which the backend takes",
    "_to_dim_order_copy": "free but for a call: a constant that is turned into fp32 each time",
    "upsample_nearest": "resize bilinearly, which the backend takes",
    "resize": "resize bilinearly, which the backend takes",
    "mean": "keep its dimensions, x.mean((2, 3), keepdim=True).flatten(1)",
    "batch_norm": "fold it into the convolution before it",
    "": "replace it by an operator that XNNPACK has, or leave it out of the model",
}
"""By a word in the operator's name, the first that fits; what to do about it."""


@dataclass(slots=True)
class Branch:
    """A module: its nodes, and the modules in it."""

    name: str
    ms: float = 0.0
    macs: int = 0
    nodes: list[NodeTiming] = field(default_factory=list)
    branches: dict[str, Branch] = field(default_factory=dict)


def grow(nodes: Sequence[NodeTiming]) -> Branch:
    """The tree of the nodes' modules, in the order they run; times are summed upwards."""
    root = Branch("")
    for timing in nodes:
        path = [root]
        for name in filter(None, timing.node.module.split(".")):  # the backend's own have none
            path.append(path[-1].branches.setdefault(name, Branch(name)))
        for branch in path:
            branch.ms += timing.ms
            branch.macs += timing.node.macs
        path[-1].nodes.append(timing)
    return root


def lines(timing: ModelTiming) -> list[str]:
    """The tree as text: ms, share of the sum, 10^9 multiply-accumulates a second, what runs."""
    total = timing.sum_ms
    found = [f"{'ms':>9} {'share':>7} {'GMAC/s':>8}"]

    def figures(ms: float, macs: int) -> str:
        rate = f"{macs / ms / 1e6:.1f}" if macs else ""
        return f"{ms:9.4f} {ms / total:7.1%} {rate:>8}"

    def walk(branch: Branch, depth: int) -> None:
        alone = len(branch.nodes) == 1 and not branch.branches
        label = branch.name
        if alone:
            label += f"  {_described(branch.nodes[0])}"
        found.append(f"{figures(branch.ms, branch.macs)}  {'  ' * depth}{label}")
        if alone:
            return
        for node in branch.nodes:
            inner = f"{'  ' * (depth + 1)}{_described(node)}"
            found.append(f"{figures(node.ms, node.node.macs)}  {inner}")
        for each in branch.branches.values():
            walk(each, depth + 1)

    root = grow(timing.nodes)
    for each in root.branches.values():
        walk(each, 0)
    for node in root.nodes:
        found.append(f"{figures(node.ms, node.node.macs)}  {_described(node)}")
    return found


def outside_lines(outside: Sequence[Outside]) -> list[str]:
    """What runs outside of the backend: how often, where from, and what to do about it."""
    groups: dict[str, list[Outside]] = {}
    for each in outside:
        groups.setdefault(each.op, []).append(each)
    found = []
    for op, members in groups.items():
        remedy = next(text for word, text in REMEDIES.items() if word in op)
        place = ", ".join(filter(None, (members[0].module, members[0].where)))
        first = f" (first in {place})" if place else ""
        found.append(f"{len(members)} x {op}{first}: {remedy}")
    return found


def _described(timing: NodeTiming) -> str:
    return timing.node.described + ("" if timing.quality == "ok" else f" [{timing.quality}]")
