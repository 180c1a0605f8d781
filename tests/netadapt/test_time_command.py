"""`netadapt time`: models of anybody's, as a whole and operation by operation."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
import torch

from netadapt.android_runner import HostDevice
from netadapt.model_tree import Leaf, outside_lines, shares
from netadapt.models import Model, export_model
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.graph import ModelGraph, Node
from netadapt.profiler.kernels import AddKernel, PointwiseConvKernel
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
from netadapt.profiler.model_timing import ModelTiming, PartTiming
from netadapt.profiler.recognition import recognise
from netadapt.profiler.table import LatencyTable
from netadapt.report.model_page import ModelReport, render_model
from tests.command_line import exit_code
from tests.netadapt.browser import check_shown, needs_browser

MODEL = '''
import torch
from torch import nn

class Net(nn.Module):
    """RGB, an odd size, batch norm, a pooling and a reshape: nothing of netadapt's."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.stem = nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.pool(x + torch.nn.functional.silu(self.body(x)))
        return self.head(x.mean((2, 3), keepdim=True).flatten(1))

class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))

class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        a, b = torch.split(x, [4, 4], 1)
        return self.left(a) + b

class Two(nn.Module):
    def forward(self, x, y):
        return x * y + x

def needs_more(width):
    return nn.Linear(width, width)

def broken():
    raise RuntimeError("no weights\\nat all")

number = 3
tied = nn.Linear(4, 4)
'''


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(*arguments)
        output, errors = capsys.readouterr()
        return code, output, errors

    return run


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "my_net.py"
    path.write_text(MODEL)
    return path


def graph_of(path: Path, name: str, *shapes: tuple[int, ...]) -> ModelGraph:
    lowering = XnnpackFp32()
    exported, _ = export_model(f"{path}:{name}", list(shapes), lowering)
    return lowering.to_program_and_graph(exported)[1]


def test_a_graph_is_all_that_is_executed_by_the_models_own_names(model_file: Path) -> None:
    graph = graph_of(model_file, "Net", (1, 3, 33, 31))
    assert graph.outside == ()
    (nodes,) = graph.calls
    by_module = {node.module: node for node in nodes if node.module}
    assert by_module["stem.0"].op == "Conv2d"
    assert by_module["stem.0"].clamp == (0, "+inf"), "norm folded, ReLU fused"
    assert by_module["body"].op == "DepthwiseConv2d"
    assert by_module["head"].op == "FullyConnected"
    assert by_module["stem.0"].macs == 17 * 16 * 8 * 3 * 9
    assert graph.macs == 17 * 16 * 8 * 3 * 9 + 17 * 16 * 8 * 9 + 8 * 5
    ops = [node.op for node in nodes]
    assert ops.count("Sigmoid") == ops.count("Multiply") == ops.count("Add") == 1
    assert {node.module for node in nodes if node.op == "StaticTranspose"} == {""}


def test_what_the_backend_did_not_take_is_named_with_its_line(model_file: Path) -> None:
    graph = graph_of(model_file, "Split", (1, 8, 5, 5))
    (outside,) = {each.op: each for each in graph.outside}.values()
    assert "split_with_sizes_copy" in outside.op
    line = 1 + MODEL.splitlines().index("        a, b = torch.split(x, [4, 4], 1)")
    assert outside.where == f'"{model_file}", line {line}'


def test_a_mean_that_drops_its_dimensions_is_not_the_backends(model_file: Path) -> None:
    graph = graph_of(model_file, "Mean", (1, 4, 3, 3))
    assert [each.op for each in graph.outside] == ["aten.mean.dim"]
    (line,) = outside_lines(graph.outside)
    assert "keepdim=True" in line


@pytest.mark.parametrize(
    ("name", "shapes"), [("Net", [(1, 3, 33, 31)]), ("Two", [(1, 4, 3, 3), (1, 4, 3, 3)])]
)
def test_every_node_runs_by_itself(
    model_file: Path, name: str, shapes: list[tuple[int, ...]]
) -> None:
    from executorch.runtime import Runtime

    from netadapt.profiler.lowering.direct.nodes import NodeDraft
    from netadapt.profiler.lowering.direct.program import write_drafts

    graph = graph_of(model_file, name, *shapes)
    programs = write_drafts([NodeDraft(node) for node in graph.nodes])
    for node, program in zip(graph.nodes, programs, strict=True):
        method = Runtime.get().load_program(program).load_method("forward")
        assert method is not None
        (found,) = method.execute(_inputs(node))
        assert tuple(found.shape) == node.output[1].dims, node.described
        assert bool(torch.isfinite(found).all())


def _inputs(node: Node) -> list[torch.Tensor]:
    given = {
        number: value.dims
        for number, (_, value) in zip(node.values, node.inputs, strict=False)
        if not value.constant
    }
    return [torch.rand(dims) for dims in given.values()]


def timing_of(graph: ModelGraph, threads: int = 1) -> ModelTiming:
    """Made up: each operation takes a microsecond more than the one before."""
    parts = recognise(graph)
    timed = [PartTiming(part, 1e-3 * (1 + place), "") for place, part in enumerate(parts)]
    return ModelTiming(threads, 0.1 / threads, 0.01, "ok", tuple(timed))


def test_modules_that_are_slow_are_opened_and_nothing_is_lost(model_file: Path) -> None:
    timing = timing_of(graph_of(model_file, "Net", (1, 3, 33, 31)))
    leaves = [Leaf(each.part, each.ms) for each in timing.parts]
    for most in range(1, 9):
        found = shares(leaves, most)
        assert len(found) <= most
        assert sum(share.ms for share in found) == pytest.approx(timing.sum_ms)
        assert sum(share.macs for share in found) == sum(leaf.part.macs for leaf in leaves)
    assert [share.path for share in shares(leaves, 1)] == [""]
    paths = [share.path for share in found]
    assert paths == ["stem.0", "body", "pool", "head", ""], "as they run"


@needs_browser
def test_a_page_shows_where_a_models_milliseconds_go(model_file: Path, tmp_path: Path) -> None:
    graph = graph_of(model_file, "Split", (1, 8, 5, 5))
    timings = (timing_of(graph), timing_of(graph, threads=4))
    model = Model("<Split>", b"", graph, 20)
    page = render_model(ModelReport(model, HostDevice().info(), timings))
    check_shown(page, 3 if page.count('id="figure-rates"') else 2, tmp_path)
    text = re.sub(r"\s+", " ", unescape(page))
    assert "<h1><Split></h1>" in text
    assert "<Split>" not in page
    assert "It takes 100 µs with 1 thread, 25.0 µs with 4 threads on" in text
    assert "1 x aten.split_with_sizes_copy.default" in text, "what to do about it"
    assert "--rewrite split_as_slices" in text
    slowest = timings[0].parts[-1]
    share = slowest.ms / timings[0].sum_ms  # type: ignore[operator]
    assert f"What does not run in XNNPACK takes {100 * share:.0f} % of it." in text
    rows = re.findall(r'<td class="text">(.*?)</td>', text)
    assert rows == [each.part.described for each in timings[0].parts]


def test_a_models_times_by_layer(model_file: Path, tmp_path: Path, run_here: Run) -> None:
    model, page = f"{model_file}:Net", tmp_path / "page.html"
    arguments = ("--input", "1,3,33,31", "--threads", "1,2", "--json", "--report", str(page))
    code, output, errors = run_here("time", model, *arguments)
    assert code == 0, errors
    assert "figure-modules" in page.read_text("utf-8")
    found = json.loads(output)
    assert found["model"] == model
    assert found["parameters"] == 3 * 8 * 9 + 16 + 80 + 45
    one, two = found["timings"]
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one["ms"] > 0
    assert one["sum_ms"] == pytest.approx(sum(part["ms"] for part in one["kernels"]))
    assert [part["module"] for part in one["kernels"]].count("head") == 1
    assert not any(part["ms"] is None for part in one["kernels"])


def test_a_person_reads_a_tree(model_file: Path, run_here: Run) -> None:
    code, output, errors = run_here("time", f"{model_file}:Net", "--input", "1x3x33x31", "--layers")
    assert code == 0, errors
    assert "357 parameters" in output.splitlines()[0]
    assert "1 thread: " in output.splitlines()[1]
    assert "  stem" in output
    assert "Conv2d 3x3/2 1x33x31x3 -> 1x17x16x8 in 0..inf" in output
    assert "against the whole" in output
    assert "0 outside of it" in output


def test_a_program_is_timed_as_a_whole(model_file: Path, tmp_path: Path, run_here: Run) -> None:
    lowering = XnnpackFp32()
    exported, _ = export_model(f"{model_file}:Split", [(1, 8, 5, 5)], lowering)
    torch.export.save(exported, tmp_path / "split.pt2")
    (tmp_path / "split.pte").write_bytes(lowering.to_program(exported))
    for name in ("split.pt2", "split.pte"):
        code, output, errors = run_here("time", str(tmp_path / name))
        assert code == 0, errors
        assert "1 thread: " in output
    code, output, _ = run_here("time", str(tmp_path / "split.pt2"))
    assert "split_with_sizes_copy" in output
    assert "slices" in output, "the remedy"
    code, _, errors = run_here("time", str(tmp_path / "split.pte"), "--layers")
    assert code == 2
    assert "does not say what it executes" in errors


def test_rows_are_kept_and_a_predictor_of_them_knows_the_model(
    model_file: Path, tmp_path: Path, run_here: Run
) -> None:
    table, predictor = str(tmp_path / "rows.sqlite"), str(tmp_path / "predictor.json")
    arguments = ("--input", "1,8,15,13", "--layers", "--json", "--table", table)
    found = []
    for _ in range(2):
        code, output, errors = run_here("time", f"{model_file}:Split", *arguments)
        assert code == 0, errors
        found.append(
            {part["key"]: part["ms"] for part in json.loads(output)["timings"][0]["kernels"]}
        )
        with LatencyTable(table) as rows:  # a busy machine's rows are flagged, and not settled
            rows.add([dataclasses.replace(row, quality="ok") for row in rows.rows()])
    assert found[0] == found[1], "what is settled is not timed again"
    types = {key.partition("(")[0] for key in found[0]}
    assert types == {"node", "portable", "pointwise_conv", "add"}

    kernels = [PointwiseConvKernel(8 * c, 8 * d, 9, 9) for c in range(1, 5) for d in range(1, 5)]
    kernels += [AddKernel(8 * c, 7, 7) for c in range(1, 9)]
    with LatencyTable(table) as rows:
        (provenance,) = {row.provenance for row in rows.rows()}
        timed = next(row for row in rows.rows() if row.kernels is None)
        more = [
            dataclasses.replace(timed, key=kernel.key, latency_us=1 + kernel.output_elements / 1e3)
            for kernel in kernels
        ]
        rows.add(more)
        LatencyPredictor().fit(rows, provenance=provenance).save(predictor)
    arguments = ("--input", "1,8,15,13", "--predictor", predictor)
    code, output, errors = run_here("predict", f"{model_file}:Split", *arguments, "--json")
    assert code == 0, errors
    predicted = json.loads(output)
    assert predicted["unknown"] == []
    by_key = {part["key"]: part["ms"] for part in predicted["kernels"]}
    assert by_key == pytest.approx(found[0])
    low, high = predicted["whole_interval_ms"]
    assert 0 < low < predicted["whole_ms"] < high

    code, output, errors = run_here("predict", f"{model_file}:Net", "--input", "1,3,33,31",
                                    "--predictor", predictor)  # fmt: skip
    assert code == 0, errors
    assert "MaxPooling2d 1x17x16x8 -> 1x8x8x8 [not known]" in output
    assert "are not known and not counted" in output


@pytest.mark.parametrize(
    ("model", "options", "what"),
    [
        ("{}:Net", [], "was given none"),
        ("{}:Net", ["--input", "1,4,8,8"], "must run on inputs of 1x4x8x8, it does not"),
        ("{}:Net", ["--input", "1,3"], "must run on inputs of 1x3"),
        ("{}:Net", ["--input", "1,0,8"], "sizes from 1 on, got '1,0,8'"),
        ("{}:Net", ["--input", "1,3,8,8", "--threads", "0"], "numbers from 1 on"),
        ("{}:missing", ["--input", "1,4"], "it is NoneType"),
        ("{}:number", ["--input", "1,4"], "it is int"),
        ("{}:needs_more", ["--input", "1,4"], "without arguments"),
        ("{}:broken", ["--input", "1,4"], "no weights at all"),
        ("no_such_package.models:Net", ["--input", "1,4"], "No module named"),
        ("there_is_none.py:Net", ["--input", "1,4"], "there_is_none.py is not"),
        ("just_a_word", ["--input", "1,4"], "a model is named"),
        ("timm:mobilenetv3_smal_100", [], "did you mean mobilenetv3_small_100"),
        ("there_is_none.pte", [], "No such file"),
        ("there_is_none.pt2", [], "No such file"),
    ],
)
def test_what_cannot_be_timed_is_one_line(
    model_file: Path, model: str, options: list[str], what: str, run_here: Run
) -> None:
    code, output, errors = run_here("time", model.format(model_file), *options)
    assert code == 2
    assert output == ""
    last = errors.strip().splitlines()[-1]
    assert last.startswith("netadapt: ")
    assert what in last


def test_dynamic_sizes_are_refused(tmp_path: Path, run_here: Run) -> None:
    size = torch.export.Dim("size", min=4, max=64)
    exported = torch.export.export(
        torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 9, 8),), dynamic_shapes=({2: size},)
    )
    torch.export.save(exported, tmp_path / "dynamic.pt2")
    code, _, errors = run_here("time", str(tmp_path / "dynamic.pt2"))
    assert code == 2
    assert "fixed sizes" in errors
