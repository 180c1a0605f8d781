"""`netadapt.run`: what it is given stands in the run's own configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import netadapt
from netadapt.errors import ConfigError
from netadapt.search.errors import ImpossibleBudgetError
from netadapt.search.searchers.random_search import RandomSearch

TOY = Path(__file__).parent / "toy" / "run.toml"


def blocks(archs: Sequence[object]) -> list[float]:
    """A metric that no network meets a limit of 1 of."""
    return [2.0 for _ in archs]


def test_an_impossible_limit_of_ones_own_metric_ends_it_before_anything_is_made(
    tmp_path: Path,
) -> None:
    with pytest.raises(ImpossibleBudgetError, match="smallest value reached is 2"):
        netadapt.run(TOY, searcher=RandomSearch, metrics={blocks: 1.0}, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", [3, lambda settings: settings])
def test_a_part_must_be_found_again(part: object) -> None:
    with pytest.raises(ConfigError, match="at the top of a module"):
        netadapt.run(TOY, task=part)  # type: ignore[arg-type]


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"search\.mcd\.candidate: .* did you mean 'candidates'"):
        netadapt.run(TOY, options={"search": {"mcd": {"candidate": 3}}})
