"""Everything from outside at once: a run whose parts the package does not know.

Family, task, searcher, strategy, training step, metric, recipe and device are
`tests/outside_parts.py`'s and `tests/toy_family.py`'s, named in a run file. Each keeps its seam's
contract, and the run of all of them is interrupted, resumed, read back and reported.
"""

from __future__ import annotations

import html
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomli_w
import torch

from netadapt.android_runner import Device
from netadapt.commands import cli
from netadapt.config import RunConfig, read_config
from netadapt.devices import DeviceSettings, make_device
from netadapt.profiler.kernels import LinearKernel, StandardConvKernel
from netadapt.profiler.lowering import Lowering, find_lowering
from netadapt.profiler.table import LatencyTable
from netadapt.runs.bundle import load_network
from netadapt.runs.context import Context
from netadapt.runs.folder import RunFolder
from netadapt.runs.result import RunResult
from netadapt.search.metrics import Metric, make_metric
from netadapt.search.searchers.base import Searcher, make_searcher
from netadapt.search.space import Arch, Space
from netadapt.search.task import Task, make_task
from netadapt.search.training import STEPS, Step
from tests.contracts.device import DeviceContract
from tests.contracts.metric import MetricContract
from tests.contracts.recipe import RecipeContract
from tests.contracts.searcher import SearcherContract
from tests.contracts.space import SpaceContract
from tests.contracts.step import StepContract
from tests.contracts.strategy import StrategyContract
from tests.contracts.task import TaskContract
from tests.outside_parts import (
    ByBytesSettings,
    EvolutionSettings,
    HardestSettings,
    StripesSettings,
    TrainEach,
    TrainEachSettings,
)
from tests.toy_family import STACK

PARTS = "tests.outside_parts"

SPACE = Space.from_table(STACK | {"layers": 3, "widths": [4, 8]})

RUN = f"""
[run]
name = "outside"
seed = 1

[space]
name = "stack.toml"

[device]
id = "{PARTS}:ByBytes"

[device.options]
us_per_kb = 20.0

[task]
name = "{PARTS}:Stripes"

[task.Stripes]
noise = 0.2

[sample]
kernels = 1
chains = 0
networks = 1

[profile]
recipe = "{PARTS}:Portable"
rounds = 2
warmup_ms = 0.1
visit_ms = 0.1
attempts = 2
workers = 1

[supernet]
step = "{PARTS}:Hardest"

[supernet.Hardest]
share = 0.25

[search]
strategy = "{PARTS}:TrainEach"
searcher = "{PARTS}:Evolution"

[search.TrainEach]
training = {{ steps = 3, batch_size = 8, warmup_steps = 0, norm_batches = 1 }}

[search.Evolution]
evaluations = 4
children = 2

[search.constraints]
latency_share = 0.9

[search.constraints.metrics]
"{PARTS}:Channels" = 20

[final]
weights = "scratch"
steps = 2
batch_size = 8
warmup_steps = 0
norm_batches = 1
"""


class TestFamily(SpaceContract):
    mixes = False
    lowered = 0  # tests/search/test_families.py lowers a larger space of the family

    def make_space(self) -> Space:
        return Space.from_table(STACK | {"layers": 3, "widths": [4, 8]})


class TestTask(TaskContract):
    def task(self, seed: int = 0) -> Task:
        return make_task(f"{PARTS}:Stripes", StripesSettings(judged_images=20), seed=seed)


class TestSearcher(SearcherContract):
    def searcher(self, space: Space) -> Searcher:
        settings = EvolutionSettings(evaluations=12, children=4)
        return make_searcher(f"{PARTS}:Evolution", space, settings)


class TestTrainingStep(StepContract):
    space = SPACE

    def step(self) -> Step:
        return STEPS.find(f"{PARTS}:Hardest").of(HardestSettings(), self.space)

    def task(self) -> Task:
        return make_task(f"{PARTS}:Stripes", seed=0)


class TestTrainingStepOnNetworks(TestTrainingStep):
    def module(self) -> torch.nn.Module:
        start = torch.Generator().manual_seed(0)
        return self.space.network(self.space.reference(), generator=start)


class TestMetric(MetricContract):
    def make_space(self) -> Space:
        return SPACE

    def make_metric(self, space: Space) -> Metric:
        return make_metric(f"{PARTS}:Channels", space)


class TestRecipe(RecipeContract):
    kernels = (StandardConvKernel(2, 4, 3, 1, 5, 5, "relu"), LinearKernel(8, 4))

    def lowering(self) -> Lowering:
        return find_lowering(f"{PARTS}:Portable")


class TestDevice(DeviceContract):
    @pytest.fixture
    def device(self) -> Device:
        return make_device(DeviceSettings(id=f"{PARTS}:ByBytes", options={"us_per_kb": 3.0}))


def run(*arguments: object) -> int:
    """`netadapt` in this process; its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(list(map(str, arguments)))
    assert isinstance(left.value.code, int)
    return left.value.code


def written(folder: Path, change: Callable[[str], str] = lambda text: text) -> Path:
    """The run file in `folder`, changed, beside its space's file."""
    space = STACK | {"layers": 3, "widths": [4, 8]}
    (folder / "stack.toml").write_text(tomli_w.dumps(space))
    path = folder / "run.toml"
    path.write_text(change(RUN))
    return path


class Finished(NamedTuple):
    """A run, the archs that each of its two calls scored, and what the first call said."""

    folder: RunFolder
    scored: tuple[list[str], list[str]]
    said: str


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Interrupted by Ctrl-C while its second network is judged, then resumed from its folder."""
    here = tmp_path_factory.mktemp("outside")
    file, folder = written(here), RunFolder(here / "run")
    scored: tuple[list[str], list[str]] = ([], [])
    score = TrainEach.score
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as streams:
        errors = (here / "errors.txt").open("w+")
        streams.setattr("sys.stderr", errors)

        def interrupted(strategy: TrainEach, context: Context, arch: Arch) -> float:
            if len(scored[0]) == 1:
                signal.raise_signal(signal.SIGINT)
            scored[0].append(arch.to_json())
            return score(strategy, context, arch)

        def counted(strategy: TrainEach, context: Context, arch: Arch) -> float:
            scored[1].append(arch.to_json())
            return score(strategy, context, arch)

        patch.setattr(TrainEach, "score", interrupted)
        assert run("search", file, "--folder", folder.path) == 130
        assert not folder.result.exists()
        errors.seek(0)
        said = errors.read()
        patch.setattr(TrainEach, "score", counted)
        assert run("search", folder.path) == 0
        errors.close()
    return Finished(folder, scored, said)


class TestStrategy(StrategyContract):
    @pytest.fixture
    def finished(self, outcome: Finished) -> RunFolder:
        return outcome.folder


def test_an_interrupted_run_says_how_to_resume_and_scores_nothing_twice(outcome: Finished) -> None:
    before, after = outcome.scored
    result = RunResult.load(outcome.folder.result)
    assert f"interrupted; resume with: netadapt search {outcome.folder.path.parent}" in outcome.said
    assert len(before) == 1
    assert after
    assert not set(before) & set(after)
    (search,) = result.searches
    assert len(before) + len(after) == search.evaluations


def test_the_result_is_of_these_parts(outcome: Finished) -> None:
    result = RunResult.load(outcome.folder.result)
    (search,) = result.searches
    assert (result.metric, result.higher_is_better) == ("error rate", False)
    assert result.device.id == "by-bytes"
    assert search.constraints["channels"] == 20
    assert search.found.test_images is None
    mistaken = search.found.test_others["mistaken images"]
    assert search.found.test_metric == pytest.approx(mistaken / 24)
    assert -search.search_score == pytest.approx(round(-search.search_score * 24) / 24)
    assert "draw the judged images" in result.durations_s
    assert not outcome.folder.supernet.exists()
    with LatencyTable(outcome.folder.table) as table:
        rows = table.rows()
    assert {str(row.provenance.recipe) for row in rows} == {"portable_ops-fp32-3"}
    assert {row.provenance.device.id for row in rows} == {"by-bytes"}
    assert {row.provenance.device.kind for row in rows} == {"plug-in"}


def test_what_is_shipped_is_of_the_recipe_and_says_what_it_is(outcome: Finished) -> None:
    from executorch.runtime import Runtime

    folder = outcome.folder.search("0.9")
    program = folder.program.read_bytes()
    assert b"XnnpackBackend" not in program
    saved = load_network(folder.weights)
    assert saved.space.family == STACK["family"]
    assert saved.labels == ("across", "down", "aslant")
    images = torch.randn(saved.space.input_shape, generator=torch.Generator().manual_seed(0))
    (found,) = Runtime.get().load_program(program).load_method("forward").execute([images])
    with torch.no_grad():
        torch.testing.assert_close(found, saved.network(images), rtol=1e-4, atol=1e-5)


def test_the_run_file_names_the_parts_and_reads_back(outcome: Finished, tmp_path: Path) -> None:
    kept, given = outcome.folder.read_config(), read_config(written(tmp_path))
    assert kept.task.name == f"{PARTS}:Stripes"
    assert kept.task.settings == StripesSettings(noise=0.2)
    assert kept.search.searcher.settings == EvolutionSettings(evaluations=4, children=2)
    assert kept.search.strategy.settings.training.steps == 3
    assert kept.search.strategy.settings != TrainEachSettings()
    assert kept.supernet.step.settings == HardestSettings(share=0.25)
    assert kept.search.constraints.metrics == {f"{PARTS}:Channels": 20}
    assert kept.device.options == {"us_per_kb": 20.0} != {"us_per_kb": ByBytesSettings().us_per_kb}
    for part in (kept.task, kept.search.strategy, kept.search.searcher, kept.supernet.step):
        assert part.table in outcome.folder.config.read_text()
    assert kept.decisive() == given.decisive()
    assert Space.load(kept.space.name) == SPACE
    assert isinstance(kept, RunConfig)


def test_the_report_speaks_of_these_parts(outcome: Finished, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert outcome.folder.report.exists()
    assert run("report", outcome.folder.path, "--out", page) == 0
    text = re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]+>", " ", page.read_text(), flags=re.S)
    text = re.sub(r"\s+", " ", html.unescape(text))
    assert "channels budget of 20 channels used (met)" in text
    assert "portable_ops-fp32-3" in text
    assert "Error rate against latency" in text
    assert "Other figures of theirs on the test images network mistaken images" in text
    assert "super-network" not in text


def test_an_unfinished_run_is_reported_too(outcome: Finished, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(outcome.folder.read_config())
    assert run("report", folder.path) == 0
    assert "channels" in folder.report.read_text()


def test_a_dry_run_says_what_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    assert run("search", file, "--folder", tmp_path / "run", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["profile"]["kernels"] > 0
    assert plan["supernet_steps"] is plan["evaluations"] is plan["measured"] is None
    assert not (tmp_path / "run").exists()
    assert run("search", file, "--folder", tmp_path / "run", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "search: how long it takes cannot be said before it is done" in out
    assert "super-network" not in out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("noise = 0.2", "colour = 1", r"task\.Stripes\.colour: there is no such key"),
        ("noise = 0.2", 'noise = "loud"', r"task\.Stripes\.noise: should be a valid number"),
        ("noise = 0.2", "noise = 11", r"task\.Stripes\.noise: should be less than or equal to 10"),
        ("children = 2", "parents = 2", r"search\.Evolution\.parents: there is no such key"),
        ("children = 2", "children = 0", r"search\.Evolution\.children: should be greater than"),
        ("training = {", "tuning = {", r"search\.TrainEach\.tuning: there is no such key"),
        ("share = 0.25", "share = 0", r"supernet\.Hardest\.share: should be greater than 0"),
        ("[supernet.Hardest]", "[supernet.Easiest]", r"supernet\.Easiest: there is .* Hardest"),
        ("us_per_kb = 20.0", "us_per_mb = 20.0", r"device\.options .* are us_per_kb, got"),
        ("us_per_kb = 20.0", 'us_per_kb = "x"', r"device\.options\.us_per_kb: should be"),
        (":Stripes", ":Dots", r"task\.name: .* 'tests\.outside_parts' has no 'Dots'"),
        (":ByBytes", ":ByWeight", "the device .* has no 'ByWeight'"),
        (":Portable", ":Evolution", "a recipe is a subclass of .*Lowering"),
        (":Channels", ":Canals", "the metric .* has no 'Canals'"),
        (":Channels", ":PARTS", "the metric .* has no 'PARTS'"),
        (
            f'searcher = "{PARTS}:Evolution"',
            'searcher = "tests.other_parts:Annealing"',
            r"search\.searcher: the searcher .* there is no 'tests\.other_parts'",
        ),
        (
            f'searcher = "{PARTS}:Evolution"',
            f'searcher = "{PARTS}:Stripes"',
            r"search\.searcher: a searcher is a subclass of",
        ),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert RUN.count(old)
    file = written(tmp_path, lambda text: text.replace(old, new))
    assert run("search", file, "--folder", tmp_path / "run") == 2
    complaints = capsys.readouterr().err
    assert complaints.count("\n") == 1
    assert re.search(said, complaints), complaints
    assert not RunFolder(tmp_path / "run").config.exists(), "nothing is begun"


def test_two_parts_never_share_a_table() -> None:
    """A class of the same name in another module, as a searcher beside a strategy."""
    from netadapt.config import parse_config
    from netadapt.errors import ConfigError

    search: dict[str, Any] = {"strategy": f"{PARTS}:TrainEach", "searcher": f"{__name__}:TrainEach"}
    with pytest.raises(ConfigError, match=r"would share search\.TrainEach with another"):
        parse_config({"search": search}, "run.toml")
