"""Programs written without the exporter: the same bytes, compared as they are made."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from netadapt.profiler.kernels import (
    ActivationKernel,
    Add,
    AddKernel,
    Bypass,
    BypassKernel,
    ClampedLinearKernel,
    DepthwiseConvKernel,
    GeneralSqueezeExciteKernel,
    GlobalPool,
    GlobalPoolKernel,
    Linear,
    LinearKernel,
    PointwiseConvKernel,
    PointwiseConvNorm,
    SqueezeExciteKernel,
    StandardConvKernel,
    UpsampleKernel,
    kernel_types,
)
from netadapt.profiler.lowering import (
    NATIVE_RECIPE,
    ProgramCache,
    ShapedNetwork,
    Subject,
    find_lowering,
    lower,
    lower_networks,
    lower_subjects,
    writing,
)
from netadapt.profiler.lowering.direct.operators import Graph
from netadapt.profiler.lowering.seam import Constant, Draft
from netadapt.profiler.lowering.writing import COMPARED_SHARE
from netadapt.profiler.lowering.xnnpack import XnnpackFp32

if TYPE_CHECKING:
    from torch.export import ExportedProgram

SUBJECTS = [
    Subject(kernel, copies)
    for kernel, copies in [
        (StandardConvKernel(3, 8, 3, 2, 9, 8, "relu"), 1),
        (StandardConvKernel(1, 8, 5, 1, 6, 6), 1),  # one channel: depthwise to the backend
        (StandardConvKernel(4, 4, 7, 1, 8, 5, "relu6"), 2),
        (PointwiseConvKernel(16, 24, 7, 5, "relu"), 1),
        (UpsampleKernel("bilinear", 8, 5, 7), 1),
        (UpsampleKernel("nearest", 8, 5, 7), 1),
        (UpsampleKernel("nearest", 1, 3, 1), 1),
        (PointwiseConvKernel(8, 8, 1, 1), 3),
        (DepthwiseConvKernel(16, 5, 2, 7, 7, "relu6"), 1),
        (DepthwiseConvKernel(8, 7, 1, 3, 9), 2),
        (LinearKernel(16, 10), 1),
        (LinearKernel(8, 5), 1),  # input and output as large as each other once aligned
        (LinearKernel(8, 8), 2),
        (ClampedLinearKernel(16, 10, "relu"), 1),
        (ClampedLinearKernel(8, 8, "relu6"), 2),
        (GlobalPoolKernel(16, 7, 7), 1),
        (GlobalPoolKernel(8, 1, 1), 1),
        (AddKernel(16, 7, 7), 1),
        (AddKernel(8, 1, 3), 1),
        (BypassKernel(16, 24, 24, 7, 7), 1),
        (BypassKernel(24, 16, 16, 7, 7), 1),
        (BypassKernel(24, 16, 24, 5, 5), 1),
        (ActivationKernel("hardswish", 16, 1, 1), 1),
        (ActivationKernel("hardsigmoid", 16, 7, 7), 2),
        (ActivationKernel("silu", 8, 5, 4), 2),
        (SqueezeExciteKernel(16, 8, 7, 7), 1),
        (SqueezeExciteKernel(8, 8, 1, 1), 3),
        (GeneralSqueezeExciteKernel(16, 8, 7, 7, "silu", "sigmoid"), 1),
        (GeneralSqueezeExciteKernel(16, 8, 4, 7, "relu", "sigmoid"), 2),
        (GeneralSqueezeExciteKernel(8, 8, 4, 7, "silu", "hardsigmoid"), 1),
    ]
]


def written(module: nn.Module, *shapes: tuple[int, ...]) -> bytes:
    lowering = find_lowering()
    draft = lowering.draft(module, shapes)
    assert draft is not None
    (program,) = lowering.write([draft])
    return program


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_written_programs_are_the_exporters_to_the_byte(subject: Subject) -> None:
    program = lower(subject.module(), subject.kernel.example_inputs())
    assert written(subject.module(), *subject.kernel.input_shapes) == program


def test_every_kernel_type_of_ours_is_compared() -> None:
    ours = {t.type_name for t in kernel_types().values() if t.__module__.startswith("netadapt.")}
    assert {subject.kernel.type_name for subject in SUBJECTS} == ours


def test_a_batch_is_written_as_one_by_one() -> None:
    lowering = find_lowering()
    drafts = [lowering.draft(s.module(), s.kernel.input_shapes) for s in SUBJECTS]
    together = lowering.write([draft for draft in drafts if draft is not None])
    assert together == [written(s.module(), *s.kernel.input_shapes) for s in SUBJECTS]


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous() if x.dim() == 4 else x


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_a_kernel_in_native_layout_computes_the_same_and_changes_no_layout(
    subject: Subject,
) -> None:
    from executorch.runtime import Runtime

    from netadapt.profiler.lowering.direct.delegate import delegate

    lowering = find_lowering(NATIVE_RECIPE)
    module, inputs = subject.module(), subject.kernel.example_inputs()
    draft = lowering.draft(module, subject.kernel.input_shapes, kernel=True)
    assert isinstance(draft, Graph)
    (program,) = lowering.write([draft])
    method = Runtime.get().load_program(program).load_method("forward")
    assert method is not None
    (found,) = method.execute([_nhwc(x) for x in inputs])
    with torch.no_grad():
        expected = module(*inputs)
    shapes = delegate(draft).outside
    if shapes[list(shapes)[-1]] != subject.kernel.output_shape:
        expected = _nhwc(expected)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    transposed = [
        n for n in delegate(draft).graph.xnodes if "Transpose" in type(n.xnode_union).__name__
    ]
    # A hard sigmoid's scalars and a reshape want NCHW, within networks too.
    kept = ("squeeze_excite", "hardsigmoid", "global_pool", "nearest")
    assert not transposed or any(word in subject.name for word in kept)
    assert shapes[draft.inputs[0]] == tuple(_nhwc(inputs[0]).shape)


def test_networks_in_native_layout_are_those_that_are_shipped() -> None:
    network = Mixed().eval()
    shapes = ((1, 8, 6, 6), (1, 16, 6, 6))
    native = find_lowering(NATIVE_RECIPE)
    draft = native.draft(network, shapes)
    assert draft is not None
    assert native.write([draft]) == [written(network, *shapes)]


def test_native_kernels_are_compared_as_exported_and_never_exported(
    tmp_path: Path, exports: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, lowering = ProgramCache(tmp_path), find_lowering(NATIVE_RECIPE)
    subject, other = Subject(PointwiseConvKernel(8, 16, 4, 4)), Subject(LinearKernel(8, 4))
    assert lower_subjects([subject], cache, lowering=lowering, workers=1) == []
    assert len(exports) == 1, "the first of its kind is compared"
    assert cache.get(subject.cache_key(lowering)) != lower(
        subject.module(), subject.kernel.example_inputs()
    )
    monkeypatch.setattr(LinearKernel, "module", lambda self: _Doubled(8, 8))
    (failure,) = lower_subjects([other], cache, lowering=lowering, workers=1)
    assert (
        "kernels of recipe xnnpack_native-fp32 are written without the exporter" in failure.message
    )
    assert cache.get(other.cache_key(lowering)) is None


class Mixed(nn.Module):
    """Values wanted in both layouts, inputs of other orders, dropout and nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = SqueezeExciteKernel(8, 8, 6, 6).module()
        self.wide = PointwiseConvNorm(8, 16)
        self.join = Bypass(16)
        self.gate = ActivationKernel("hardsigmoid", 16, 6, 6).module()
        self.depthwise = DepthwiseConvKernel(16, 3, 1, 6, 6, "relu").module()
        self.add, self.again = Add(), Add()
        self.second = SqueezeExciteKernel(16, 8, 6, 6).module()
        self.nothing = nn.Identity()
        self.pool = GlobalPool()
        self.dropout = nn.Dropout(0.2)
        self.classifier = Linear(16, 5)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y = self.join(self.first(x), self.wide(x))
        y = self.again(self.add(self.gate(y), self.depthwise(y)), z)
        logits: Tensor = self.classifier(self.dropout(self.pool(self.nothing(self.second(y)))))
        return logits


def test_a_network_of_both_layouts_is_the_exporters_to_the_byte() -> None:
    torch.manual_seed(0)
    network = Mixed()  # in training mode, as somebody may hand it over
    assert network.wide.norm is not None
    network.wide.norm.running_mean.normal_()
    network.wide.norm.running_var.uniform_(0.5, 2)
    shapes = ((1, 8, 6, 6), (1, 16, 6, 6))
    program = lower(network, [torch.zeros(shape) for shape in shapes])
    assert written(network, *shapes) == program
    turned = network.to(memory_format=torch.channels_last)
    assert written(turned, *shapes) == program


class _Stack(nn.Sequential):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            self.add_module(f"layer{index}", layer)


def _twice() -> nn.Module:
    layer = PointwiseConvNorm(8, 8)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(self.layer(x))
            return y

    return Twice()


def _hooked() -> nn.Module:
    layer = PointwiseConvNorm(8, 8)
    layer.register_forward_hook(lambda module, inputs, output: output * 2)
    return layer


class _Doubled(PointwiseConvNorm):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class _Outside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = PointwiseConvNorm(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


class _Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    "module",
    [
        _twice(),
        _hooked(),
        _Doubled(8, 8),
        _Outside(),
        _Deciding(),
        _Stack(PointwiseConvNorm(8, 8), nn.Tanh()),
        _Stack(nn.Identity()),
        PointwiseConvNorm(8, 8).double(),
        PointwiseConvNorm(4, 8),  # of another number of channels than it gets
    ],
    ids=[
        "twice",
        "hooked",
        "doubled",
        "outside",
        "deciding",
        "tanh",
        "nothing",
        "fp64",
        "channels",
    ],
)
def test_what_is_not_known_to_the_last_detail_is_left_to_the_exporter(module: nn.Module) -> None:
    assert find_lowering().draft(module, ((1, 8, 5, 5),)) is None


def test_other_versions_are_left_to_the_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(XnnpackFp32, "versions", lambda self: ("torch 2.14.0", "executorch 1.4.1"))
    assert find_lowering().draft(PointwiseConvNorm(8, 8), ((1, 8, 5, 5),)) is None


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was exported since."""
    found: list[object] = []
    original = XnnpackFp32.to_program

    def counted(
        self: XnnpackFp32,
        exported: ExportedProgram,
        constants: Mapping[str, Constant] | None = None,
    ) -> bytes:
        found.append(exported)
        return original(self, exported, constants)

    monkeypatch.setattr(XnnpackFp32, "to_program", counted)
    monkeypatch.setattr(writing, "COMPARED_SHARE", COMPARED_SHARE)  # most tests do without
    return found


MANY: list[Subject] = [Subject(LinearKernel(8, 8 + i)) for i in range(2 * COMPARED_SHARE)]


def programs(subjects: Sequence[Subject], cache: ProgramCache) -> list[bytes | None]:
    return [cache.get(subject.cache_key(find_lowering())) for subject in subjects]


def test_one_of_each_layer_and_a_share_are_exported_too(
    tmp_path: Path, exports: list[object]
) -> None:
    cache = ProgramCache(tmp_path)
    kinds = [Subject(PointwiseConvKernel(8, 8, 4, 4)), Subject(LinearKernel(8, 4))]
    assert lower_subjects(kinds, cache, workers=1) == []
    assert len(exports) == len(kinds)
    assert lower_subjects(MANY, cache, workers=1) == []
    # About one in fifty by their content, which is the same today and tomorrow
    assert len(kinds) < len(exports) <= len(kinds) + 8
    assert None not in programs(MANY, cache)
    known = len(exports)
    assert lower_subjects(MANY, cache, workers=1) == []
    assert len(exports) == known


def test_a_difference_stops_it_with_one_line(
    tmp_path: Path,
    exports: list[object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, early = ProgramCache(tmp_path), Subject(LinearKernel(8, 4))
    assert lower_subjects([early], cache, workers=1) == []
    original = XnnpackFp32.write
    monkeypatch.setattr(
        XnnpackFp32, "write", lambda self, drafts: [b"?" + p for p in original(self, drafts)]
    )
    late = [Subject(PointwiseConvKernel(8, 8, 4, 4)), Subject(PointwiseConvKernel(8, 16, 4, 4))]
    with caplog.at_level(logging.WARNING):
        assert lower_subjects(late, cache, workers=1) == []
    (record,) = [r for r in caplog.records if r.name.startswith("netadapt")]
    assert "differ from the exporter's (PointwiseConvNorm alone)" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert programs([early], cache) == [None], "what was written before is not believed either"
    expected = [lower(s.module(), s.kernel.example_inputs()) for s in late]
    assert programs(late, cache) == expected
    marker = next(path for path in tmp_path.iterdir() if path.is_file())
    assert str(marker) in record.getMessage()
    monkeypatch.setattr(XnnpackFp32, "write", original)
    assert lower_subjects([early], cache, workers=1) == []
    assert cache.get(early.cache_key(find_lowering())) is not None
    marker.unlink()
    known = len(exports)
    assert lower_subjects([Subject(LinearKernel(8, 6))], cache, workers=1) == []
    assert len(exports) == known, "written again"


def test_what_cannot_be_written_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(self: XnnpackFp32, drafts: Sequence[Draft]) -> list[bytes]:
        raise ImportError("no such serialiser")

    monkeypatch.setattr(XnnpackFp32, "write", gone)
    subject, cache = Subject(LinearKernel(8, 4)), ProgramCache(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert lower_subjects([subject], cache, workers=1) == []
    assert "could not be written (ImportError: no such serialiser)" in caplog.text
    assert programs([subject], cache) == [lower(subject.module(), subject.kernel.example_inputs())]


def test_networks_are_found_again_without_the_exporter(
    tmp_path: Path, exports: list[object]
) -> None:
    torch.manual_seed(0)
    network, cache = (
        _Stack(PointwiseConvNorm(8, 4), GlobalPool(), Linear(4, 3)),
        ProgramCache(tmp_path),
    )
    five, six = (ShapedNetwork(network, (1, 8, size, 5)) for size in (5, 6))
    first = lower_networks([five], cache)
    assert len(exports) == 1
    assert lower_networks([five], cache) == first
    assert lower_networks([six], cache) != first
    with torch.no_grad():
        network.get_submodule("layer2.linear").get_parameter("bias").add_(1)
    assert lower_networks([five], cache) != first
    assert len(exports) == 1


WITHOUT_EXPORTER = """
import sys
from netadapt.profiler.kernels import SqueezeExciteKernel
from netadapt.profiler.lowering import Subject, find_lowering
subject, lowering = Subject(SqueezeExciteKernel(8, 8, 4, 4)), find_lowering()
draft = lowering.draft(subject.module(), subject.kernel.input_shapes)
(written,) = lowering.write([draft])
assert written
assert "executorch.exir.emit" not in sys.modules
import executorch.exir
assert executorch.exir.to_edge
"""


def test_the_exporter_is_imported_when_it_is_needed_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXPORTER], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
