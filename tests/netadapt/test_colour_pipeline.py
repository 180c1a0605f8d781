"""Three input channels and an odd size, from a space of one's own, through the whole line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from netadapt.commands import cli
from netadapt.report.page import render
from netadapt.report.reading import read_run
from netadapt.runs.bundle import load_network
from netadapt.runs.folder import RunFolder
from netadapt.runs.result import RunResult
from netadapt.runs.training_log import read_metrics
from netadapt.search.space import Space

TOY = Path(__file__).parent / "toy"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run in colour, elsewhere than it ran, and its run and space files are gone."""
    here = tmp_path_factory.mktemp("colour")
    mine = here / "mine"
    mine.mkdir()
    for name in ("rgb_run.toml", "rgb_space.toml"):
        shutil.copy(TOY / name, mine)
    with pytest.raises(SystemExit) as left:
        cli.main(["search", str(mine / "rgb_run.toml"), "--folder", str(here / "run")])
    assert left.value.code == 0
    shutil.rmtree(mine)
    return RunFolder((here / "run").rename(here / "moved"))


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestColourRun:
    def test_it_has_its_result_and_its_report(self, finished: RunFolder) -> None:
        result = RunResult.load(finished.result)
        assert result.reference.arch == Space.load(TOY / "rgb_space.toml").reference().to_json()
        (search,) = result.searches
        phases = {point.phase for point in read_metrics(finished.metrics)}
        assert phases >= {"supernet", "reference", f"found {search.label}"}
        assert 'class="missing"' not in render(read_run(finished))

    def test_the_folder_alone_knows_the_space(self, finished: RunFolder) -> None:
        expected = Space.load(TOY / "rgb_space.toml")
        config = finished.read_config()
        assert Space.load(config.space.name) == expected
        with pytest.raises(SystemExit) as left:  # done: nothing is done again, nothing is missing
            cli.main(["search", str(finished.path), "--folder", str(finished.path)])
        assert left.value.code == 0
        (search,) = RunResult.load(finished.result).searches
        assert load_network(finished.search(search.label).weights).space == expected

    def test_the_shipped_program_computes_what_the_weights_do(self, finished: RunFolder) -> None:
        from executorch.runtime import Runtime

        (search,) = RunResult.load(finished.result).searches
        folder = finished.search(search.label)
        saved = load_network(folder.weights)
        program = Runtime.get().load_program(folder.program)
        shape = program.load_method("input_shape")
        forward = program.load_method("forward")
        assert shape is not None
        assert forward is not None
        assert shape.execute([]) == [1, 3, 25, 25]
        x = torch.rand(1, 3, 25, 25, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = saved.network(x)
        (actual,) = forward.execute([x])
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(torch.export.load(folder.exported).module()(x), expected)
