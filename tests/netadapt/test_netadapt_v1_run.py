"""A run whose strategy is NetAdaptV1: every candidate fine-tuned, killed and resumed, reported.

The device is made up, so that what is measured is known; all else is the real line at toy size.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from netadapt.config import RunConfig, read_config
from netadapt.console import PlainProgress
from netadapt.report.page import render
from netadapt.report.reading import read_run
from netadapt.runs.folder import RunFolder
from netadapt.runs.forecast import plan_run
from netadapt.runs.netadapt_v1 import NetAdaptV1
from netadapt.runs.parts import Parts
from netadapt.runs.result import RunResult
from netadapt.runs.run import run
from netadapt.runs.training_log import read_metrics
from netadapt.search.errors import CheckpointError
from netadapt.search.fine_tuning import FineTuned
from netadapt.search.space import Arch
from netadapt.search.trials import read_iterations
from tests.contracts.strategy import StrategyContract
from tests.two_levels import TwoLevels

TOY = Path(__file__).parent / "toy" / "run.toml"


def config() -> RunConfig:
    return read_config(TOY).changed(
        {
            "search": {
                "strategy": "netadapt_v1",
                "searcher": "single_layer",
                "loop": "accepted",
                "netadapt_v1": {"steps": 2, "norm_batches": 1},
                "single_layer": {"schedule": {"initial_reduction": 0.2, "decay": 0.9}},
                "constraints": {"latency_share": 0.7},
            },
            "task": {"digits": {"train_images": 192, "validation_images": 64}},
            "supernet": {"steps": 12},
            "final": {"weights": "supernet", "steps": 4, "scaled": False},
        }
    )


def run_in(path: Path) -> RunFolder:
    folder = RunFolder(path)
    run(Parts(config(), given_device=TwoLevels()), folder, PlainProgress())
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_in(tmp_path_factory.mktemp("netadapt_v1") / "run")


@pytest.mark.slow
class TestNetAdaptV1(StrategyContract):
    """On the finished run."""

    def device(self) -> TwoLevels:
        return TwoLevels()


def test_a_candidate_a_dimension_is_fine_tuned_and_the_best_handed_on(finished: RunFolder) -> None:
    parts = Parts(finished.read_config())
    iterations = read_iterations(finished.search("0.7").trials)
    assert len(iterations) > 1
    assert all(len(i.trials) <= len(parts.space.dimensions) for i in iterations)
    kept = torch.load(finished.search("0.7").kept, weights_only=True)["kept"]
    assert kept == [i.accepted.arch for i in iterations if i.accepted is not None]
    assert "full network" in {point.phase for point in read_metrics(finished.metrics)}
    page = render(read_run(finished))
    assert "super-network's weights" not in page


def test_scaled_networks_are_left_out_where_nobody_wants_them(finished: RunFolder) -> None:
    (search,) = RunResult.load(finished.result).searches
    assert search.scaled is None
    assert search.scaled_variants == ()
    assert "Scaled networks" not in render(read_run(finished))
    assert plan_run(Parts(config()), RunFolder(finished.path / "other")).networks == 2


class KilledError(Exception):
    """Stands for the signal."""


@pytest.mark.slow
def test_a_search_that_is_killed_and_resumed_equals_the_unbroken_one(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FineTuned.keep

    def killed_at(number: int, *, kept: bool) -> None:
        def keep(self: FineTuned, arch: Arch) -> None:
            last = len(self._kept) + 1 == number
            if kept or not last:
                original(self, arch)
            if last:
                raise KilledError

        with monkeypatch.context() as patched:
            patched.setattr(FineTuned, "keep", keep)
            with pytest.raises(KilledError):
                run_in(tmp_path / "run")

    killed_at(1, kept=False)
    killed_at(2, kept=True)
    killed_at(3, kept=False)
    resumed = run_in(tmp_path / "run")
    both = [RunResult.load(folder.result).searches[0] for folder in (finished, resumed)]
    assert both[0].found.arch == both[1].found.arch
    assert both[0].search_score == both[1].search_score
    assert both[0].found.test_metric == both[1].found.test_metric
    weights = [
        torch.load(folder.search("0.7").kept, weights_only=True) for folder in (finished, resumed)
    ]
    assert weights[0]["kept"] == weights[1]["kept"]
    for name, value in weights[0]["weights"].items():
        assert torch.equal(value, weights[1]["weights"][name]), name


def _scorer(parts: Parts, path: Path | None = None, *, seed: int = 0) -> FineTuned:
    start = torch.Generator().manual_seed(seed)
    settings = NetAdaptV1().settings_class(steps=2, norm_batches=1)
    return FineTuned(
        parts.space.supernetwork(generator=start).eval(),
        parts.task,
        parts.final_training,
        settings,
        parts.config.search.evaluation,
        seed=0,
        path=path,
    )


def test_what_is_kept_is_the_network_as_it_was_judged(tmp_path: Path) -> None:
    parts = Parts(config())
    space, path = parts.space, tmp_path / "kept.pt"
    arch = space.smaller(space.full(), space.dimensions[-1])[0]
    scorer, again = _scorer(parts, path), _scorer(parts)
    (score,) = scorer([arch])
    assert again([space.full(), arch])[1] == score, "whom it is scored with makes no difference"
    scorer.keep(arch)
    again.keep(arch)
    assert scorer._score(scorer.network(arch)) == score
    (next_score,) = again([arch])
    assert next_score != score, "it is trained further, on other images"
    resumed = _scorer(parts, path)
    with pytest.raises(CheckpointError, match="another search"):
        resumed([arch])
    resumed.keep(arch)
    assert resumed([arch]) == [next_score]


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="remove it") as caught:
        _scorer(Parts(config()), path)
    assert "\n" not in str(caught.value)


def test_what_was_kept_of_other_weights_is_refused(tmp_path: Path) -> None:
    parts, path = Parts(config()), tmp_path / "kept.pt"
    scorer = _scorer(parts, path)
    scorer.keep(parts.space.full())
    with pytest.raises(CheckpointError, match="other weights"):
        _scorer(parts, path, seed=1)
