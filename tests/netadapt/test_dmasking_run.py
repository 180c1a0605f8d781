"""A run whose strategy is DMaskingNAS: found at its budgets, read from its folder, reported.

The device is made up, so that what is measured is known; all else is the real line at toy size.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from netadapt.config import RunConfig, read_config, write_config
from netadapt.console import PlainProgress
from netadapt.errors import ConfigError, RunFolderError
from netadapt.report.page import render
from netadapt.report.reading import read_run
from netadapt.runs.folder import RunFolder
from netadapt.runs.masking_log import read_masking
from netadapt.runs.parts import Parts
from netadapt.runs.result import RunResult
from netadapt.runs.run import run
from netadapt.runs.training_log import read_metrics
from tests.contracts.strategy import StrategyContract
from tests.netadapt.conftest import Netadapt
from tests.two_levels import TwoLevels

TOY = Path(__file__).parent / "toy" / "run.toml"
BUDGETS = (0.9, 0.7)


def config() -> RunConfig:
    return read_config(TOY).changed(
        {
            "search": {
                "strategy": "dmasking",
                "loop": "accepted",
                "dmasking": {"candidates": 3, "draws": 64, "weight_steps": 2},
                "constraints": {"latency_share": BUDGETS},
            },
            "space": {"name": str(TOY.with_name("sizes_space.toml"))},
            "task": {"digits": {"train_images": 192, "validation_images": 64}},
            "supernet": {"steps": 24},
            "final": {"weights": "scratch", "steps": 4},
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("dmasking") / "run")
    run(Parts(config(), given_device=TwoLevels()), folder, PlainProgress())
    return folder


@pytest.mark.slow
class TestDMasking(StrategyContract):
    """On the finished run."""

    def device(self) -> TwoLevels:
        return TwoLevels()


def test_how_it_went_is_kept(finished: RunFolder) -> None:
    result = RunResult.load(finished.result)
    assert [search.latency_share for search in result.searches] == list(BUDGETS)
    for search in result.searches:
        points = read_masking(finished.search(search.label).masking)
        assert [p.step for p in points] == sorted({p.step for p in points})
        assert len(points) >= 3
        for point in points:
            assert point.budgets["latency"] == pytest.approx(search.budget_ms)
            assert point.corrections["latency"] == pytest.approx(
                point.measured["latency"] / point.predicted["latency"]
            )
            assert 0 <= point.entropy <= 1
    phases = {point.phase for point in read_metrics(finished.metrics)}
    assert {"supernet", "search 0.9", "search 0.7"} <= phases
    page = render(read_run(finished))
    assert "How the architecture was learnt" in page


def test_runs_stand_beside_each_other_where_they_compare(
    finished: RunFolder, tmp_path: Path, netadapt: Netadapt
) -> None:
    other = RunFolder(shutil.copytree(finished.path, tmp_path / "other"))
    theirs = other.read_config().changed({"run": {"name": "other"}})
    write_config(theirs, other.config)
    page = tmp_path / "both.html"
    both = ("report", str(finished.path), "--beside", str(other.path), "--out", str(page))
    assert netadapt(*both)[0] == 0
    assert ">run other<" in page.read_text()
    report = read_run(finished, beside=[other])
    for run_, network, own in report.side_by_side:
        assert own is not None
        assert network.measured_ms == pytest.approx(own.measured_ms)
        assert network.score == own.score
        assert run_.search_s > 0
    assert [n.search for _, n, _ in report.side_by_side] == ["0.9", "0.9", "0.7", "0.7"]
    page.unlink()
    write_config(theirs.changed({"final": {"steps": 5}}), other.config)
    with pytest.raises(RunFolderError, match=r"differs in final.steps \(5, this run's 4\)"):
        read_run(finished, beside=[other])
    write_config(theirs, other.config)
    other.result.unlink()
    assert netadapt(*both)[0] == 2
    assert not page.exists()


def test_found_networks_begin_anew(tmp_path: Path) -> None:
    wanted = config().changed({"final": {"weights": "supernet"}})
    with pytest.raises(ConfigError, match="scratch") as caught:
        run(Parts(wanted, given_device=TwoLevels()), RunFolder(tmp_path / "run"), PlainProgress())
    assert "\n" not in str(caught.value)
