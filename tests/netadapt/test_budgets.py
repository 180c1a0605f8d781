"""The budgets of a run file: their labels, their order, what they come to in milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from netadapt.config import parse_config, read_config, write_config
from netadapt.runs.budgets import Budget, budgets_of


def budgets(constraints: dict[str, object]) -> tuple[Budget, ...]:
    config = parse_config({"search": {"constraints": constraints}}, "test")
    return budgets_of(config.search.constraints)


def test_several_shares_are_several_budgets_the_largest_first() -> None:
    wanted = budgets({"latency_share": [0.35, 0.75, 0.5]})
    assert [budget.label for budget in wanted] == ["0.75", "0.5", "0.35"]
    assert [budget.in_ms(2.0) for budget in wanted] == [1.5, 1.0, 0.7]


def test_milliseconds_do_not_depend_on_the_reference() -> None:
    (small,) = budgets({"latency_ms": 12})
    assert small == Budget("12ms", latency_ms=12.0)
    assert small.in_ms(3.0) == 12.0


def test_a_run_without_a_latency_budget_has_one_search() -> None:
    (only,) = budgets({"macs": 4e6, "params": 1e5})
    assert only.label == "macs-params"
    assert only.in_ms(3.0) is None


@pytest.mark.parametrize("share", [0.5, [0.5], [0.75, 0.5]])
def test_a_saved_run_has_the_same_budgets(tmp_path: Path, share: object) -> None:
    document = {"search": {"constraints": {"latency_share": share}}}
    config = parse_config(document, "test")
    write_config(config, tmp_path / "run.toml")
    assert read_config(tmp_path / "run.toml") == config
