"""Exact rewrites: the same numbers, and nothing left outside of the backend."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
from netadapt.profiler.rewrites import REWRITES, applicable, rewritten

INPUT = torch.randn((1, 8, 9, 7), generator=torch.Generator().manual_seed(0))


class Mixed(nn.Module):
    """Unequal splits and chunks, one part of which nobody uses, a gate, and up-sampling."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.right = nn.Conv2d(5, 5, 5, padding=2, groups=5)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(x, [3, 5], 1)
        x = torch.cat([self.left(left), self.right(right)], 1)
        first, _, third, fourth = torch.chunk(x, 4, 1)
        joined = torch.cat([first, third, fourth, *torch.split(x, 4, 1)[:1]], 1)
        return functional.interpolate(joined * self.gate(joined), scale_factor=(2.0, 3.0))


def run(program: bytes) -> Tensor:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(program).load_method("forward")
    assert method is not None
    output: Tensor = method.execute([INPUT])[0]
    return output


@pytest.mark.parametrize("names", [[name] for name in REWRITES] + [list(REWRITES)])
def test_a_rewritten_model_gives_the_same_outputs(names: list[str]) -> None:
    model, lowering = Mixed().eval(), XnnpackFp32()
    exported = lowering.export(model, (INPUT,))
    before = exported.graph_module.code
    assert applicable(exported) == list(REWRITES)
    changed = rewritten(exported, names)
    assert exported.graph_module.code == before, "the model itself stays as it was"
    assert torch.equal(changed.module()(INPUT), model(INPUT))
    assert set(applicable(changed)) == set(REWRITES) - set(names)
    program, graph = lowering.to_program_and_graph(changed)
    assert torch.allclose(run(program), model(INPUT), atol=1e-5)
    outside = {
        "split_as_slices": "split",
        "hardsigmoid_with_maps": "_to_dim_order_copy",
        "nearest_as_product": "upsample_nearest",
    }
    for name in names:
        assert not any(outside[name] in operator.op for operator in graph.outside)
    if set(names) == set(REWRITES):
        assert graph.outside == ()
        assert len(graph.calls) == 1
        assert "left" in {node.module for node in graph.nodes}, "modules are known by name still"


def test_a_model_that_needs_none_is_left_alone() -> None:
    exported = XnnpackFp32().export(nn.Conv2d(8, 4, 1), (INPUT,))
    assert applicable(exported) == []
    assert rewritten(exported, []) is exported


class Nearest(nn.Module):
    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, size=self.size) + 1


@pytest.mark.parametrize(
    ("height", "width", "exact"),
    [
        (9, 7, True),
        (18, 14, True),
        (27, 49, True),
        (18, 15, False),
        (5, 4, False),
        (41 * 9, 7, False),  # torch's own counting rounds to the pixel beside
    ],
)
def test_nearest_up_samplings_are_products_where_pixels_are_seen_equally_often(
    height: int, width: int, exact: bool
) -> None:
    model, lowering = Nearest(height, width), XnnpackFp32()
    x = torch.randn((3, 8, 9, 7), generator=torch.Generator().manual_seed(1))
    exported = lowering.export(model, (x,))
    assert applicable(exported) == ["nearest_as_product"] * exact
    changed = rewritten(exported, ["nearest_as_product"])
    assert torch.equal(changed.module()(x), model(x))
    assert applicable(changed) == []


def test_an_unknown_rewrite_is_refused() -> None:
    exported = XnnpackFp32().export(nn.Conv2d(8, 4, 1), (INPUT,))
    with pytest.raises(LoweringError, match="one of split_as_slices, hardsigmoid_with_maps"):
        rewritten(exported, ["split_channels"])
