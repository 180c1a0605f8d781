"""From tables and predictors to a report's records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from netadapt.config import demo_config, write_config
from netadapt.errors import ConfigError
from netadapt.predictor.predictor import LatencyPredictor, MemoisedPredictor
from netadapt.profiler.kernels import GlobalPoolKernel, Kernel
from netadapt.profiler.lowering import Recipe
from netadapt.profiler.table import LatencyTable, Provenance
from netadapt.report import intervals, predicted
from netadapt.report.intervals import Estimate
from netadapt.report.measured import read_table
from netadapt.report.published import read_published
from netadapt.report.reading import read_run
from netadapt.runs.folder import RunFolder
from netadapt.search.space import Space
from netadapt.search.task import Task, make_task
from netadapt.search.tasks.settings import DigitsSettings
from tests.command_line import exit_code
from tests.predictor import made_up_device
from tests.provenance import MADE_UP

FOUR_THREADS = replace(MADE_UP, threads=4)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of one thread and, after it, fewer rows of four."""
    path = tmp_path_factory.mktemp("tables") / "latency.sqlite"
    rng = np.random.default_rng(0)
    networks = [made_up_device.network(rng) for _ in range(3)]
    with LatencyTable(path) as table:
        table.add(made_up_device.rows(rng, networks=networks))
        table.add(made_up_device.rows(rng, networks=networks[:2], provenance=FOUR_THREADS))
    return path


def test_networks_of_other_conditions_are_left_out_and_named(mixed: Path) -> None:
    table = read_table(mixed, FOUR_THREADS)
    assert {row.provenance for row in table.networks} == {FOUR_THREADS}
    assert len(table.networks) == 2
    said = {fact.name: fact.value for fact in table.conditions}
    assert said["Cores used"] == "0; 4 thread(s)"
    assert said["Not on this page"] == f"3 rows of other conditions: {MADE_UP}"


def test_without_a_predictor_the_conditions_of_most_rows_count(mixed: Path) -> None:
    assert read_table(mixed, None).provenance == MADE_UP


def test_a_table_that_is_not_there_has_no_conditions(tmp_path: Path) -> None:
    table = read_table(tmp_path / "none.sqlite", None)
    assert (table.rows, table.conditions) == ((), ())


@pytest.fixture(scope="module")
def predictor() -> MemoisedPredictor:
    rng = np.random.default_rng(0)
    space = Space.load("digits")
    archs = [space.random(rng) for _ in range(30)]
    kernels = {k for arch in archs for k in space.kernels(arch)}
    return _fitted(kernels | set(space.kernels(space.reference()))).memoised()


def _fitted(kernels: Iterable[Kernel]) -> LatencyPredictor:
    singles = sorted(kernels, key=lambda k: k.key)
    rows = made_up_device.rows(np.random.default_rng(0), singles=singles)
    return LatencyPredictor().fit(made_up_device.table(rows))


def test_blocks_add_up_to_the_sum_over_kernels(predictor: MemoisedPredictor) -> None:
    space = Space.load("digits")
    archs = {"reference": space.reference()}
    blocks = predicted.blocks(space, predictor, archs)
    assert [block.name for block in blocks][:2] == ["stem", "block 1"]
    (whole,) = predicted.wholes(space, predictor, archs, {"reference": 0.5})
    assert sum(block.ms["reference"] for block in blocks) == pytest.approx(whole.sum_ms)
    assert whole.measured_ms == 0.5


def test_the_map_is_of_the_predictor_and_says_what_was_measured(
    predictor: MemoisedPredictor,
) -> None:
    chart = predicted.latency_map(Space.load("digits"), predictor)
    assert chart is not None
    assert len(chart.ms) == len(chart.out_channels)
    assert {len(row) for row in chart.ms} == {len(chart.in_channels)}
    assert all(ms > 0 for row in chart.ms for ms in row)
    assert chart.ms[-1][-1] > chart.ms[0][0]


def test_a_predictor_that_lacks_a_type_still_has_its_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where all rows of a type were too unsteady to be believed."""
    folder = RunFolder(tmp_path)
    config = demo_config()
    write_config(config, folder.config)
    space = Space.load(config.space.name)
    archs = [space.random(np.random.default_rng(i)) for i in range(30)]
    kernels = {k for arch in archs for k in space.kernels(arch)}
    _fitted(k for k in kernels if k.type_name != "linear").save(folder.predictor)
    report = read_run(folder)
    assert report.predictor
    assert (report.blocks, report.latency_map) == ((), None)
    assert "type linear" in caplog.text


def _reference_table(path: Path, provenance: Provenance, *names: str) -> Path:
    """As `netadapt reference` fills one; the first is the slowest."""
    with LatencyTable(path) as table:
        for number, name in enumerate(names):
            networks = [[GlobalPoolKernel(8, 7, 7)]]
            (row,) = made_up_device.rows(np.random.default_rng(0), (), (), networks, provenance)
            row = replace(row, key=f"network({name})", kernels=(), label=name)
            table.add([replace(row, latency_us=9000 / (number + 1))])
    return path


def _of_classes(labels: Iterable[str]) -> Task:
    task = make_task("digits", DigitsSettings(), seed=0)
    task.labels = tuple(labels)
    return task


DIGITS = _of_classes(map(str, range(10)))
IMAGENET = _of_classes(f"n{number:08}" for number in range(1000))


def test_published_networks_have_their_ms_and_a_score_where_it_compares(tmp_path: Path) -> None:
    names = ("FastDepth", "MobileNetV2", "timm:mobilenetv2_100")
    path = _reference_table(tmp_path / "t.sqlite", MADE_UP, *names)
    first, second = read_published(path, MADE_UP, IMAGENET)
    assert (first.label, first.measured_ms, first.score) == ("MobileNetV2", 4.5, 0.7298)
    assert (second.label, second.measured_ms, second.score) == ("FastDepth", 9.0, None)
    assert {n.score for n in read_published(path, MADE_UP, DIGITS)} == {None}


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (FOUR_THREADS, "differ in threads (4, the run's 1); do"),
        (replace(MADE_UP, recipe=Recipe("made_up", "int8", 1)), "differ in recipe (made_up-int8-1"),
        (replace(MADE_UP, cpus="0,1"), "differ in cpus (0,1, the run's 0)"),
        (
            replace(
                MADE_UP, device=replace(MADE_UP.device, id="b", model="Other", soc="x", cores=8)
            ),
            "and 1 more; do `netadapt reference --table",
        ),
    ],
)
def test_published_networks_of_other_conditions_are_refused(
    tmp_path: Path, theirs: Provenance, said: str
) -> None:
    path = _reference_table(tmp_path / "t.sqlite", theirs, "MobileNetV2")
    with pytest.raises(ConfigError) as refused:
        read_published(path, MADE_UP, IMAGENET)
    assert said in str(refused.value)
    _reference_table(path, MADE_UP, "MnasNet-A1")
    assert [n.label for n in read_published(path, MADE_UP, IMAGENET)] == ["MnasNet-A1"]


def test_networks_of_the_native_recipe_are_those_of_the_usual_one(tmp_path: Path) -> None:
    """`netadapt reference` times under the native one, which makes the same programs of them."""
    native, usual = (
        replace(MADE_UP, recipe=Recipe(name, "fp32", 1)) for name in ("xnnpack_native", "xnnpack")
    )
    path = _reference_table(tmp_path / "t.sqlite", native, "MobileNetV2")
    assert read_published(path, usual, DIGITS)


def test_a_reference_is_asked_for_by_name(
    tmp_path: Path, mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that measured nothing, one that did, and a table without published networks."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_config(demo_config(), folder.config)
    path = _reference_table(tmp_path / "t.sqlite", MADE_UP, "MobileNetV2")
    command = ("report", str(folder.path), "--reference")
    assert exit_code(*command, str(path)) == 2
    assert "beside a run that has measured something" in capsys.readouterr().err
    folder.table.write_bytes(mixed.read_bytes())
    assert exit_code(*command, str(mixed)) == 2
    assert "has none of them; do `netadapt reference --table" in capsys.readouterr().err
    assert exit_code(*command, str(path)) == 0
    assert "ImageNet top-1 72.98 % (timm, ra_in1k)" in folder.report.read_text()


def test_a_share_has_wilsons_interval() -> None:
    """Worked example: 81 of 263, Newcombe 1998, table I."""
    estimate = intervals.share(81 / 263, 263)
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.share(0.0, 20).low == 0
    assert intervals.share(1.0, 20).high == 1


def test_a_difference_has_newcombes_interval() -> None:
    """Worked example: 56/70 - 48/80, Newcombe 1998, table II, method 10."""
    change = intervals.difference(intervals.share(56 / 70, 70), intervals.share(48 / 80, 80))
    assert (change.low, change.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert change.conclusive
    assert change.half_width == pytest.approx(0.2 - 0.0524, abs=5e-5)


def test_a_ratio_adds_spreads_in_quadrature() -> None:
    assert intervals.ratio(2.0, (0.03, 0.04)) == Estimate(2.0, 2 / 1.05, 2 * 1.05)
