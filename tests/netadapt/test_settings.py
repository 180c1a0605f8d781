"""A run file's keys and the parts they set: one default each, and each gets through."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping

import pytest

from netadapt import assembly
from netadapt.android_runner import RunSpec
from netadapt.android_runner.phone import PhoneSettings
from netadapt.config import (
    DeviceSection,
    ProfileSection,
    RunConfig,
    SearchSection,
    Section,
    SupernetSection,
    TaskSection,
    TrainingSection,
    parse_config,
)
from netadapt.profiler.profile import ProfileSettings
from netadapt.profiler.sampling import SampleSettings
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.landing import LoopSettings
from netadapt.search.searchers.coordinate_descent import GeometricSchedule
from netadapt.search.searchers.mcd import McdSettings
from netadapt.search.searchers.random_search import RandomSettings
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.training import OrderedDropoutSettings, TrainingSettings

PAIRS: list[tuple[type[Section], type, dict[str, str], set[str]]] = [
    # section, the part it sets, names that differ, keys that mean another thing there
    (TrainingSection, TrainingSettings, {}, set()),
    (SupernetSection, OrderedDropoutSettings, {}, set()),
    (DeviceSection, RunSpec, {}, set()),
    (DeviceSection, PhoneSettings, {}, set()),
    (ProfileSection, RunSpec, {}, set()),
    (ProfileSection, ProfileSettings, {}, set()),
    (ProfileSection, SampleSettings, {}, set()),
    (SearchSection, McdSettings, {}, set()),
    (SearchSection, RandomSettings, {"candidates": "round_size"}, {"evaluations"}),
    (SearchSection, GeometricSchedule, {}, {"approach"}),  # None: another kind of schedule
    (SearchSection, LoopSettings, {}, set()),
    (SearchSection, EvaluationSettings, {}, set()),
    (TaskSection, DigitsSettings, {}, set()),
]


def own_defaults(part: type) -> Mapping[str, object]:
    if dataclasses.is_dataclass(part):
        return {
            field.name: field.default
            for field in dataclasses.fields(part)
            if field.default is not dataclasses.MISSING
        }
    parameters = inspect.signature(part).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("section", "part", "renamed", "another"),
    PAIRS,
    ids=[f"{section.__name__}-{part.__name__}" for section, part, *_ in PAIRS],
)
def test_a_default_is_the_same_in_a_run_file_and_in_the_part_it_sets(
    section: type[Section], part: type, renamed: dict[str, str], another: set[str]
) -> None:
    given = {
        renamed.get(name, name): field.get_default(call_default_factory=True)
        for name, field in section.model_fields.items()
        if name not in another
    }
    own = own_defaults(part)
    shared = given.keys() & own.keys()
    assert shared, "nothing is compared"
    assert {name: given[name] for name in shared} == {name: own[name] for name in shared}


def test_an_empty_run_file_makes_the_parts_as_they_are_by_themselves() -> None:
    config = RunConfig()
    assert assembly.training_settings(config.supernet) == TrainingSettings()
    assert assembly.training_settings(config.final) == TrainingSettings()
    assert assembly.profile_settings(config) == ProfileSettings()
    assert assembly.run_spec(config) == RunSpec()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer", "adamw"),
        ("learning_rate", 0.01),
        ("batch_size", 8),
        ("warmup_steps", 1),
        ("weight_decay", 0.5),
        ("label_smoothing", 0.1),
        ("steps", 50),
    ],
)
def test_every_key_of_a_training_gets_through(key: str, value: object) -> None:
    config = parse_config({"supernet": {key: value}, "final": {key: value}}, "test")
    for section in (config.supernet, config.final):
        assert getattr(assembly.training_settings(section), key) == value
