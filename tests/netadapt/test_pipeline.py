"""The whole line at toy size on this machine: interrupted, resumed, read, reported."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import netadapt
from netadapt.config import read_config, write_config
from netadapt.profiler.table import LatencyTable
from netadapt.report.page import render
from netadapt.report.reading import read_run
from netadapt.runs.folder import RunFolder
from netadapt.runs.result import RunResult
from netadapt.runs.training_log import read_metrics
from netadapt.settings import ConstraintSettings
from tests.command_line import exit_code
from tests.contracts.strategy import StrategyContract

TOY = Path(__file__).parent / "toy" / "timed_run.toml"


class Search:
    """A `netadapt search` of its own process; its output goes to files, which no orphan blocks."""

    def __init__(self, folder: RunFolder, *run: str) -> None:
        """`run`: what is searched, when not the toy run into `folder`."""
        self._out, self._err = (folder.path.with_suffix(f".{name}") for name in ("out", "err"))
        run = run or (str(TOY), "--folder", str(folder.path))
        command = [sys.executable, "-m", "netadapt", "search", *run, "--json"]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def finish(self, timeout_s: float) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        try:
            code = self.process.wait(timeout_s)
        finally:
            self.process.kill()
        return code, self._out.read_text(), self._err.read_text()


def measured(folder: RunFolder) -> int:
    if not folder.table.exists():
        return 0
    with LatencyTable(folder.table) as table:
        return len(table)


def trials(folder: RunFolder) -> Path:
    return folder.search("0.8").trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was interrupted once by Ctrl-C and once by kill -9, then went to its end."""
    folder = RunFolder(tmp_path_factory.mktemp("toy") / "run")
    for interruption, done in (
        (signal.SIGINT, lambda: measured(folder) > 0),
        (signal.SIGKILL, lambda: trials(folder).exists() and trials(folder).stat().st_size > 400),
    ):
        search = Search(folder)
        while search.process.poll() is None and not done():
            time.sleep(0.02)
        search.process.send_signal(interruption)
        code, output, errors = search.finish(60)
        assert output == "", errors
        assert not folder.result.exists()
        if interruption == signal.SIGINT:
            assert code == 130, errors
            assert f"resume with: netadapt search {TOY}" in errors
            assert "Traceback" not in errors
        else:
            assert code == -signal.SIGKILL, errors
    before = trials(folder).read_bytes()
    # The folder alone says what run it is, and how long to wait for a device may change.
    code, output, errors = Search(folder, str(folder.path), "--wait", "7").finish(280)
    assert code == 0, errors
    whole_lines = before[: before.rfind(b"\n") + 1]
    assert trials(folder).read_bytes().startswith(whole_lines), "nothing recorded is done again"
    assert json.loads(output) == json.loads(folder.result.read_text())
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestSuperNetworkSearch(StrategyContract):
    """On the finished run."""


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestFinishedRun:
    def test_the_budget_is_a_share_of_the_reference(self, finished: RunFolder) -> None:
        result = RunResult.load(finished.result)
        (search,) = result.searches
        assert (search.label, search.latency_share) == ("0.8", 0.8)
        assert search.budget_ms is not None
        assert search.budget_ms == pytest.approx(0.8 * result.reference.measured_ms, rel=0.3)
        assert search.found.arch != result.reference.arch
        assert 0 < search.found.macs < result.reference.macs
        assert search.scaled in search.scaled_variants
        assert result.reference.latency_ratio == 1
        assert set(result.durations_s) >= {"profile", "fit", "search", "final training"}

    def test_the_folder_holds_all_that_was_promised(self, finished: RunFolder) -> None:
        search = finished.search("0.8")
        for path in (
            *(finished.config, finished.table, finished.predictor, finished.supernet),
            *(search.trials, search.program, search.weights, finished.report),
            *(finished.training / "reference.pt", search.training / "found.pt"),
        ):
            assert path.stat().st_size > 0, path
        leftovers = [path.name for path in finished.path.iterdir() if path.name.startswith(".")]
        assert all("tmp" not in name for name in leftovers)

    def test_from_python_it_is_the_same_run(self, finished: RunFolder) -> None:
        result = netadapt.run(finished.config, folder=finished.path)
        assert result == RunResult.load(finished.result)

    def test_every_training_has_its_curve(self, finished: RunFolder) -> None:
        config, result = read_config(finished.config), RunResult.load(finished.result)
        points = read_metrics(finished.metrics)
        supernet = [p.step for p in points if p.phase == "supernet"]
        assert supernet == list(range(1, config.supernet.training.steps + 1))
        finals = Counter(p.phase for p in points if p.phase != "supernet")
        (search,) = result.searches
        assert len(finals) == 2 + len(search.scaled_variants)
        assert set(finals.values()) == {config.final.training.steps}

    def test_the_program_and_the_weights_are_the_same_network(self, finished: RunFolder) -> None:
        import torch
        from executorch.runtime import Runtime

        from netadapt.search.network import build_network
        from netadapt.search.space import Space

        saved = torch.load(finished.search("0.8").weights, weights_only=True)
        space = Space.load(read_config(finished.config).space.name)
        network = build_network(space, space.arch_from_json(saved["arch"]))
        network.load_state_dict(saved["state_dict"])
        x = torch.rand(space.input_shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = network.eval()(x)
        program = Runtime.get().load_program(finished.search("0.8").program)
        method = program.load_method("forward")
        assert method is not None
        (actual,) = method.execute([x])
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)

    def test_the_report_has_every_part(self, finished: RunFolder) -> None:
        report = read_run(finished)
        assert report.finished
        assert [d.label for d in report.drawings] == ["reference", "found"]
        assert {p.group for p in report.predicted_measured} >= {"kept in the search", "trained"}
        total_ms = {d.label: 0.0 for d in report.drawings}
        for share in report.kernel_types:
            for label, ms in share.ms.items():
                total_ms[label] += ms
        for whole in report.wholes:
            assert total_ms[whole.label] == pytest.approx(whole.sum_ms)
            by_block = sum(block.ms[whole.label] for block in report.blocks)
            assert by_block == pytest.approx(whole.sum_ms)
        found = report.network("found", "0.8")
        assert found is not None
        assert total_ms["found"] == pytest.approx(found.predicted_ms, rel=2)
        assert found.images is not None
        assert {curve.phase for curve in report.losses} >= {"supernet", "reference", "found 0.8"}
        assert report.latency_map is not None
        assert 'class="missing"' not in render(report)

    def test_the_best_candidates_were_measured_and_the_found_one_twice_more(
        self, finished: RunFolder
    ) -> None:
        report = read_run(finished)
        (part,) = report.searches
        by_iteration = Counter(probe.iteration for probe in part.probes)
        assert by_iteration[0] == 1
        # So small a space has few candidates; each miss before adds one.
        assert all(count <= 2 + number for number, count in by_iteration.items())
        assert sum(probe.kept for probe in part.probes) >= 2
        (search,) = RunResult.load(finished.result).searches
        assert search.found_alone_ms == part.found_alone_ms
        assert search.found_alone_ms[0] != search.found_alone_ms[1]
        document = json.loads(finished.result.read_text())
        assert document["searches"][0]["found_alone_ms"] == list(search.found_alone_ms)

    def test_starting_it_again_does_nothing_again(
        self, finished: RunFolder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows, before = measured(finished), finished.result.read_bytes()
        assert exit_code("search", str(finished.path), "--json") == 0
        assert json.loads(capsys.readouterr().out)["name"] == "toy"
        assert (measured(finished), finished.result.read_bytes()) == (rows, before)

    def test_a_predictor_is_fitted_to_its_table(
        self, finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "predictor.json.gz"
        assert exit_code("fit", str(finished.table), "--out", str(out)) == 0
        assert "all kernels" in capsys.readouterr().out
        assert out.stat().st_size > 0

    @pytest.mark.parametrize("key", ["latency_ms", "macs"])
    def test_an_impossible_budget_names_what_can_be_reached(
        self,
        key: str,
        finished: RunFolder,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """As if only the predictor was there already, so that nothing is trained in between."""
        config = read_config(finished.config)
        impossible = config.with_constraints(ConstraintSettings(**{key: 1e-6}))
        folder = RunFolder(tmp_path)
        shutil.copy(finished.table, folder.table)
        shutil.copy(finished.predictor, folder.predictor)
        write_config(impossible, folder.config)
        assert exit_code("search", str(tmp_path)) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("netadapt: ")
        assert "smallest value reached is" in error
        assert not folder.supernet.exists()
