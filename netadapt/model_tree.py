"""A model's times as a tree of its own modules, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netadapt.profiler.graph import Outside

if TYPE_CHECKING:
    from netadapt.profiler.recognition import Part

REMEDIES = {
    "split": "--rewrite split_as_slices, or x[:, :n] in the model: slices are the backend's",
    "_to_dim_order_copy": "a whole number that is turned into fp32 each time; write 3.0 for 3, or "
    "for hard sigmoids --rewrite hardsigmoid_with_maps",
    "upsample_nearest": "--rewrite nearest_as_product where every pixel is seen equally often, or "
    "resize bilinearly, which the backend takes",
    "resize": "resize bilinearly, which the backend takes",
    "mean": "keep its dimensions, x.mean((2, 3), keepdim=True).flatten(1)",
    "batch_norm": "fold it into the convolution before it",
    "": "replace it by an operator that XNNPACK has, or leave it out of the model",
}
"""By a word in the operator's name, the first that fits; what to do about it."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A kernel of the model with its time.

    Parameters
    ----------
    part : Part
    ms : float, or None
        None where nobody knows.
    remark : str
        Put in brackets behind it.
    """

    part: Part
    ms: float | None
    remark: str = ""


@dataclass(slots=True)
class Branch:
    """A module: its kernels, and the modules in it."""

    name: str
    ms: float = 0.0
    macs: int = 0
    leaves: list[Leaf] = field(default_factory=list)
    branches: dict[str, Branch] = field(default_factory=dict)


def grow(leaves: Sequence[Leaf]) -> Branch:
    """The tree of the kernels' modules, in the order they run; times are summed upwards."""
    root = Branch("")
    for leaf in leaves:
        path = [root]
        for name in filter(None, leaf.part.module.split(".")):  # the backend's own have none
            path.append(path[-1].branches.setdefault(name, Branch(name)))
        for branch in path:
            branch.ms += leaf.ms or 0.0
            branch.macs += leaf.part.macs
        path[-1].leaves.append(leaf)
    return root


@dataclass(frozen=True, slots=True)
class Share:
    """A module's part of the whole, with all that is in it.

    Parameters
    ----------
    path : str
        By the model's own names; "" holds what comes from no module.
    """

    path: str
    ms: float
    macs: int


def shares(leaves: Sequence[Leaf], most: int) -> list[Share]:
    """The model in at most `most` parts, in the order they run: the slowest modules are opened."""
    parts: list[tuple[str, Branch]] = [("", grow(leaves))]
    while True:
        opened = [
            (place, inside)
            for place, (path, branch) in enumerate(parts)
            if (inside := _opened(path, branch)) and len(parts) - 1 + len(inside) <= most
        ]
        if not opened:
            return [Share(path, branch.ms, branch.macs) for path, branch in parts]
        place, inside = max(opened, key=lambda each: parts[each[0]][1].ms)
        parts[place : place + 1] = inside


def _opened(path: str, branch: Branch) -> list[tuple[str, Branch]]:
    """A module's modules, and what is its own, which has the module's name; none if it has none."""
    if not branch.branches:
        return []
    found = [(f"{path}.{name}".lstrip("."), each) for name, each in branch.branches.items()]
    if branch.leaves:
        ms = sum(leaf.ms or 0.0 for leaf in branch.leaves)
        macs = sum(leaf.part.macs for leaf in branch.leaves)
        found.append((path, Branch(branch.name, ms, macs, branch.leaves)))
    return found


def lines(leaves: Sequence[Leaf]) -> list[str]:
    """The tree as text: ms, share of the sum, 10^9 multiply-accumulates a second, what runs."""
    root = grow(leaves)
    found = [f"{'ms':>9} {'share':>7} {'GMAC/s':>8}"]

    def figures(ms: float | None, macs: int) -> str:
        if ms is None or not root.ms:
            return f"{'?':>9} {'':>7} {'':>8}"
        rate = f"{macs / ms / 1e6:.1f}" if macs and ms else ""
        return f"{ms:9.4f} {ms / root.ms:7.1%} {rate:>8}"

    def put(leaf: Leaf, text: str) -> None:
        found.append(f"{figures(leaf.ms, leaf.part.macs)}  {text}")

    def walk(branch: Branch, depth: int) -> None:
        indent = "  " * depth
        if len(branch.leaves) == 1 and not branch.branches:
            (leaf,) = branch.leaves
            put(leaf, f"{indent}{branch.name}  {_described(leaf)}")
            return
        found.append(f"{figures(branch.ms, branch.macs)}  {indent}{branch.name}")
        for leaf in branch.leaves:
            put(leaf, f"{indent}  {_described(leaf)}")
        for each in branch.branches.values():
            walk(each, depth + 1)

    for each in root.branches.values():
        walk(each, 0)
    for leaf in root.leaves:
        put(leaf, _described(leaf))
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


def _described(leaf: Leaf) -> str:
    return leaf.part.described + (f" [{leaf.remark}]" if leaf.remark else "")
