"""Settings of all parts: read from a table as in a run file, bounds included, without torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pydantic
import pytest

from netadapt.search.errors import InvalidSettingError
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.landing import LandingSettings, LoopSettings
from netadapt.search.searchers.base import SEARCHERS, make_searcher
from netadapt.search.searchers.coordinate_descent import GeometricSchedule, Schedule
from netadapt.search.searchers.mcd import McdSettings
from netadapt.search.searchers.random_search import RandomSettings
from netadapt.search.space import Space
from netadapt.search.task import TASKS
from netadapt.search.training import STEPS, TrainingSettings

REGISTERED = [
    registry.settings_class(name)
    for registry in (TASKS, SEARCHERS, STEPS)
    for name in registry.places
]
ALL: list[type[Any]] = [
    *REGISTERED,
    EvaluationSettings,
    LandingSettings,
    LoopSettings,
    TrainingSettings,
]


def read(kind: type[Any], table: dict[str, object]) -> Any:
    return pydantic.TypeAdapter(kind).validate_python(table)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_settings_are_read_from_a_table(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen
    assert read(kind, {}) == kind()
    assert read(kind, dataclasses.asdict(kind())) == kind()


def test_a_schedules_keys_say_which_one_it_is() -> None:
    for table, schedule in (
        ({"approach": 0.5}, GeometricSchedule(0.5)),
        ({"initial_reduction": 0.1, "decay": 0.9}, Schedule(0.1, 0.9)),
        ({"iterations": 7}, Schedule(iterations=7)),
    ):
        assert read(McdSettings, {"schedule": table}).schedule == schedule


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (TrainingSettings, {"steps": 10**10}),
        (TrainingSettings, {"learning_rate": 0}),
        (McdSettings, {"similarity": 1.0}),
        (LoopSettings, {"loop": "all"}),
        (LandingSettings, {"lowest": 0.98}),
    ],
)
def test_a_bound_is_the_same_in_a_table_and_in_python(
    kind: type[Any], table: dict[str, Any]
) -> None:
    with pytest.raises(pydantic.ValidationError):
        read(kind, table)
    with pytest.raises(InvalidSettingError) as caught:
        kind(**table)
    assert "\n" not in str(caught.value)


def test_a_searcher_takes_no_other_ones_settings() -> None:
    with pytest.raises(InvalidSettingError, match="is configured by McdSettings, got Random"):
        make_searcher("mcd", Space.load("digits"), RandomSettings())


def test_settings_need_no_torch() -> None:
    code = """
import sys
import netadapt.search.evaluation_settings, netadapt.search.landing, netadapt.search.training
from netadapt.search.searchers.base import SEARCHERS
from netadapt.search.task import TASKS
from netadapt.search.training import STEPS, TrainingSettings
for registry in (TASKS, SEARCHERS, STEPS):
    for name in registry.places:
        registry.settings_class(name)()
sys.exit(f"torch is imported" if "torch" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
