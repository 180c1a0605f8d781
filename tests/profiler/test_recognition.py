"""Kernels by the backend's nodes: the same as by the modules, and nothing uncounted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netadapt.profiler.graph import ModelGraph, Node, Outside, read_graph
from netadapt.profiler.kernels import ActivationKernel, Kernel, NodeKernel, PortableKernel, Shape
from netadapt.profiler.lowering import Subject
from netadapt.profiler.lowering.direct.delegate import delegate
from netadapt.profiler.lowering.direct.operators import read_module
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
from netadapt.profiler.recognition import kernels_of, recognise
from netadapt.search.network import build_network
from netadapt.search.space import Space
from tests.profiler.test_direct import SUBJECTS


def written_graph(module: nn.Module, *shapes: Shape, native: bool = False) -> ModelGraph:
    """What the backend is given of `module`; `test_direct` holds it against the exporter's."""
    graph = dataclasses.replace(read_module(module, shapes), native=native)
    return ModelGraph((read_graph(delegate(graph).graph, {}),), ())


def exported_graph(module: nn.Module, *shapes: Shape) -> ModelGraph:
    lowering = XnnpackFp32()
    inputs = [torch.zeros(shape) for shape in shapes]
    return lowering.to_program_and_graph(lowering.export(module, inputs))[1]


@pytest.mark.parametrize(
    ("name", "count"), [("digits", 40), ("mobilenet_v3_large", 2), ("efficientnet_b0", 1)]
)
def test_kernels_by_nodes_are_those_by_the_space(name: str, count: int) -> None:
    space = Space.load(name)
    rng = np.random.default_rng(0)
    archs = [space.random(rng) for _ in range(count)]
    for arch in [space.full(), space.reference(), *archs]:
        network = build_network(space, arch, generator=torch.Generator().manual_seed(0))
        graph = written_graph(network, space.input_shape_of(arch))
        assert kernels_of(graph) == list(space.kernels(arch))
        others = [part.nodes[0].op for part in recognise(graph) if not part.kernel.is_layer]
        assert others == ["StaticTranspose"], "the input's change to NHWC"


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_every_kernel_type_is_recognised_by_its_own_nodes(subject: Subject) -> None:
    shapes = subject.kernel.input_shapes
    graph = written_graph(subject.module(), *shapes, native=True)
    if subject.kernel == ActivationKernel("hardsigmoid", 16, 7, 7):
        return  # a chain of it stays in NCHW, which no network has
    assert kernels_of(graph) == [subject.kernel] * subject.copies


class _Unusual(nn.Module):
    """Close to known kernels, and none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.unpadded = nn.Conv2d(4, 4, 3)
        self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.strided = nn.Conv2d(4, 4, 1, stride=2)
        self.rectangular = nn.Conv2d(4, 4, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(self.unpadded(x), -1, 1)
        x = self.rectangular(self.grouped(self.dilated(x)))
        return self.strided(x)


def test_what_is_close_to_a_kernel_is_none() -> None:
    parts = recognise(exported_graph(_Unusual(), (1, 4, 12, 12)))
    assert not any(part.kernel.is_layer for part in parts)
    convolutions = [part for part in parts if part.nodes[0].op == "Conv2d"]
    assert len({part.kernel for part in convolutions}) == 5


class _Repeats(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x + x


def test_a_node_is_known_again_by_its_key() -> None:
    graph = exported_graph(_Repeats(), (1, 4, 3, 3))
    for node in graph.nodes:
        kernel = NodeKernel.of(node)
        again = Kernel.from_key(kernel.key)
        assert again == kernel
        assert isinstance(again, NodeKernel)
        assert again.node.described == node.described
        assert again.node.attributes == node.attributes
    multiply = next(node for node in graph.nodes if node.op == "Multiply")
    assert NodeKernel.of(multiply).input_shapes == ((1, 4, 3, 3),), "the same tensor twice"


class _Portable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(torch.cumsum(x, 2), [3, 5], 1)
        return left.sum(1) + right.argmax(1)


def test_what_is_outside_runs_by_itself_with_the_same_arguments() -> None:
    from executorch.runtime import Runtime

    from netadapt.profiler.lowering import lower

    graph = exported_graph(_Portable(), (1, 8, 4, 4))
    kernels = [part.kernel for part in recognise(graph) if isinstance(part.kernel, PortableKernel)]
    assert {"aten.cumsum.default", "aten.split_with_sizes_copy.default"} <= {k.op for k in kernels}
    for kernel in kernels:
        assert Kernel.from_key(kernel.key) == kernel
        inputs = kernel.example_inputs()
        program = Runtime.get().load_program(lower(kernel.module(), inputs))
        method = program.load_method("forward")
        assert method is not None
        outputs = method.execute(list(inputs))
        assert tuple(outputs[0].shape) == kernel.output_shape, kernel.op


def test_the_scalars_of_a_kernel_are_not_counted_twice() -> None:
    network = nn.Sequential()
    for index in range(2):
        network.add_module(f"gate{index}", nn.Sequential(nn.Conv2d(4, 4, 1), nn.Hardsigmoid()))
    graph = exported_graph(network, (1, 4, 5, 5))
    assert len(graph.outside) == 4, "each hard sigmoid has two scalars"
    parts = recognise(graph)
    assert [p.kernel.type_name for p in parts].count("activation") == 2
    assert not any(isinstance(part.kernel, PortableKernel) for part in parts)


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "unpadded": lambda: nn.Conv2d(4, 4, (1, 1), bias=False),
    "depthwise": lambda: nn.Conv2d(4, 4, 5, padding=2, groups=4),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "pool": lambda: nn.MaxPool2d(3, 1, 1),
    "average": lambda: nn.AvgPool2d(3, 1, 1),
    "softmax": lambda: nn.Softmax(1),
    "gelu": nn.GELU,
}


@given(names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=5))
@settings(max_examples=12, deadline=None)
def test_every_node_of_any_model_is_in_one_kernel(names: Sequence[str]) -> None:
    network = nn.Sequential()
    for index, name in enumerate(names):
        network.add_module(f"layer{index}", LAYERS[name]())
    graph = exported_graph(network, (1, 4, 6, 7))
    parts = recognise(graph)
    counted: list[Node] = [node for part in parts for node in part.nodes]
    assert counted == list(graph.nodes)
    macs = {"conv": 4 * 4 * 9, "unpadded": 4 * 4, "depthwise": 4 * 25}
    assert sum(part.macs for part in parts) == sum(42 * macs.get(name, 0) for name in names)
    outside = [part for part in parts if isinstance(part.kernel, PortableKernel)]
    assert len(outside) <= len(graph.outside)


def test_an_operator_is_named_by_what_it_is_called_with() -> None:
    operator = Outside("aten.neg.default", "", "", '[["@0"],{}]', (((1, 4), "float32"),))
    kernel = PortableKernel.of(operator)
    assert kernel.input_shapes == ((1, 4),)
    assert kernel.output_shape == (1, 4)
