"""From a run's configuration to the objects that the packages work with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from netadapt import devices
from netadapt.android_runner import Device, RunSpec
from netadapt.config import DeviceSection, RunConfig, TrainingSection
from netadapt.devices import HOST as HOST
from netadapt.errors import ConfigError
from netadapt.profiler.lowering import Lowering, find_lowering
from netadapt.profiler.profile import ProfileSettings
from netadapt.search import metrics
from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.searchers.base import Loop, Searcher
from netadapt.search.searchers.coordinate_descent import AnySchedule, GeometricSchedule, Schedule
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.searchers.single_layer import (
    NETADAPT_V1,
    SingleLayerCoordinateDescent,
    SingleLayerSettings,
)
from netadapt.search.space import Space
from netadapt.search.task import Task
from netadapt.search.training import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_device(section: DeviceSection) -> Device:
    """The device of a run's section; see `netadapt.devices`."""
    return devices.make_device(devices.DeviceSettings(**section.model_dump()))


def make_space(config: RunConfig) -> Space:
    return Space.load(config.space.name, bypass=config.space.bypass)


def make_task(config: RunConfig) -> Task:
    from netadapt.search.tasks.digits import ClutteredDigits

    return ClutteredDigits(
        seed=task_seed(config), channels=config.task.channels, pixels=config.task.pixels
    )


def check_fit(space: Space, task: Task) -> None:
    """Raises `ConfigError` unless networks of the space take the task's images."""
    _, *taken = space.input_shape
    if tuple(taken) != task.input_shape or space.classes != task.outputs:
        raise ConfigError(
            f"a space takes its task's images, but {space.name!r} takes {tuple(taken)} to "
            f"{space.classes} classes and {task.name!r} has {task.input_shape} and "
            f"{task.outputs}; set task.channels and task.pixels, or another space.name"
        )


def task_seed(config: RunConfig) -> int:
    """The task's own seed, or the run's."""
    return config.run.seed if config.task.seed is None else config.task.seed


def profile_settings(config: RunConfig) -> ProfileSettings:
    """How kernels and networks are timed."""
    names = [field.name for field in dataclasses.fields(ProfileSettings)]
    section = config.profile.model_dump()
    return ProfileSettings(**{name: section[name] for name in names if name in section})


def run_lowering(config: RunConfig) -> Lowering:
    """What makes the run's programs."""
    return find_lowering(profile_settings(config).recipe)


def run_spec(config: RunConfig, *, networks: bool = False) -> RunSpec:
    """How kernels are run on the device, or whole `networks`."""
    return profile_settings(config).spec(
        threads=config.device.threads,
        cpus=config.device.cpus if isinstance(config.device.cpus, tuple) else None,
        seed=config.run.seed,
        networks=networks,
    )


def training_settings(section: TrainingSection, seed: int) -> TrainingSettings:
    recipe = section.model_dump(include=set(TrainingSection.model_fields))
    return TrainingSettings(**recipe, seed=seed)


def make_sampler(config: RunConfig, space: Space) -> OrderedDropout:
    section = config.supernet
    return OrderedDropout(space, kernel_per=section.kernel_per, ramp=section.ramp)


def counted_constraints(config: RunConfig, space: Space) -> list[metrics.Constraint]:
    """What the found network must meet beside its latency."""
    section = config.search.constraints
    wanted = [
        (metrics.macs(space), section.macs),
        (metrics.params(space), section.params),
        (metrics.planned_memory(space), section.planned_memory_bytes),
    ]
    return [metrics.Constraint(metric, limit) for metric, limit in wanted if limit is not None]


def make_searcher(
    config: RunConfig, space: Space, constraints: Sequence[metrics.Constraint]
) -> Searcher:
    section, seed = config.search, config.run.seed
    loop = Loop(section.top_k if section.loop == "top_k" else 1, section.guard)
    if section.searcher == "random":
        drawn = RandomSettings(round_size=section.candidates)
        if section.evaluations is not None:
            drawn = dataclasses.replace(drawn, evaluations=section.evaluations)
        return RandomSearch(space, constraints, drawn, seed=seed, loop=loop)
    if section.searcher == "single_layer":
        single = SingleLayerSettings(make_schedule(config, NETADAPT_V1))
        return SingleLayerCoordinateDescent(space, constraints, single, seed=seed, loop=loop)
    mcd = McdSettings(
        candidates=section.candidates,
        layers=section.layers,
        schedule=make_schedule(config, Schedule()),
        similarity=section.similarity,
        evaluations=section.evaluations,
    )
    return MultiLayerCoordinateDescent(space, constraints, mcd, seed=seed, loop=loop)


def make_schedule(config: RunConfig, usual: Schedule) -> AnySchedule:
    """The run's own schedule; `usual` has what it leaves to the searcher."""
    section = config.search
    if section.approach is not None:
        return GeometricSchedule(section.approach, section.finest_step)
    return Schedule(
        section.initial_reduction or usual.initial_reduction, section.decay or usual.decay
    )
