"""`--dry-run` of a whole run: how much there is left to do, and nothing made."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from netadapt.config import demo_config, read_config
from netadapt.runs.folder import RunFolder
from netadapt.runs.forecast import RunForecast, plan_run
from netadapt.runs.parts import Parts
from netadapt.runs.profile_plan import roughly
from tests.command_line import exit_code

TOY = Path(__file__).parent / "toy" / "run.toml"


def test_a_run_is_planned_and_not_begun(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("search", str(TOY), "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    config = read_config(TOY)
    assert plan["folder"] == "runs/toy"
    assert plan["supernet_steps"] == config.supernet.training.steps
    assert plan["network_steps"] == config.final.training.steps
    assert plan["networks"] == 1 + 1 + 3
    assert plan["profile"]["networks"] == config.sample.networks
    candidates = config.search.searcher.settings.candidates
    assert plan["evaluations"] % candidates == 0
    assert plan["measured"] == plan["evaluations"] // candidates * config.search.loop.top_k
    assert plan["seconds"] > plan["profile"]["seconds"] > 0
    assert list(here.iterdir()) == []
    assert exit_code("search", str(TOY), "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("runs/toy: ")
    assert "programs to measure" in lines[0]
    assert "in all about " in lines[-1]
    assert list(here.iterdir()) == []


def test_what_is_done_is_not_counted(here: Path) -> None:
    config = read_config(TOY)
    folder = RunFolder(here / "run")
    folder.claim(config)
    fresh = plan_run(Parts(config), folder)
    torch.save({"step": 5}, folder.supernet)
    folder.predictor.touch()
    begun = plan_run(Parts(config), folder)
    assert begun.profile is None
    assert begun.supernet_steps == fresh.supernet_steps - 5
    folder.result.touch()
    assert plan_run(Parts(config), folder).finished
    assert plan_run(Parts(config), folder).lines() == ["finished; nothing is left to do"]


def test_several_budgets_share_all_but_their_searches(here: Path) -> None:
    toy = read_config(TOY)
    both = toy.changed({"search": {"constraints": {"latency_share": [0.8, 0.7]}}})
    two, one = (plan_run(Parts(config), RunFolder(here / "run")) for config in (both, toy))
    assert two.networks == one.networks + 4
    assert two.supernet_steps == one.supernet_steps
    assert two.evaluations > one.evaluations


def test_another_runs_folder_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(here / "mine").claim(demo_config())
    assert exit_code("search", str(TOY), "--folder", "mine", "--dry-run") == 2
    assert "give this run another folder" in capsys.readouterr().err


def test_the_demo_is_planned_where_it_would_be(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("demo", "--folder", "elsewhere", "--dry-run") == 0
    assert "elsewhere: train the super-network: 800 steps" in capsys.readouterr().out
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2, "about 10 s"), (44, "about 40 s"), (171, "about 3 min"), (7900, "about 2 h 12 min")],
)
def test_estimates_are_no_finer_than_they_are_worth(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


def test_a_searcher_without_a_forecast_is_named_as_such() -> None:
    plan = RunForecast(False, None, "train the super-network", 8, None, None, 5, 6, 60.0)
    assert "cannot be said before" in plan.lines()[2]
    some = dataclasses.replace(plan, evaluations=20, measured=4)
    assert "20 networks judged" in some.lines()[2]
