"""What a run works with: made of its configuration when first asked for, or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from netadapt.devices import make_device
from netadapt.errors import ConfigError
from netadapt.profiler.lowering import find_lowering
from netadapt.profiler.profile import provenance_of
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint, make_metric
from netadapt.search.searchers.base import make_searcher
from netadapt.search.space import Space
from netadapt.search.task import make_task
from netadapt.search.training.compute import check_compiler, compute_device
from netadapt.search.training.settings import check_supernet
from netadapt.search.training.step import STEPS

if TYPE_CHECKING:
    import torch

    from netadapt.android_runner.device import Device, RunSpec
    from netadapt.config import RunConfig
    from netadapt.profiler.lowering import Lowering
    from netadapt.profiler.table import Provenance
    from netadapt.search.searchers.base import Searcher
    from netadapt.search.task import Task
    from netadapt.search.training.settings import TrainingSettings
    from netadapt.search.training.step import SupernetStep


@dataclass(frozen=True)
class Parts:
    """The parts of one run.

    Parameters
    ----------
    config: says what they are, and everything else.
    given_space, given_device: objects that take the place of those that the configuration names.
    """

    config: RunConfig
    given_space: Space | None = None
    given_device: Device | None = None

    @cached_property
    def space(self) -> Space:
        """Raises `SpaceFileError`."""
        if self.given_space is not None:
            return self.given_space
        return Space.load(self.config.space.name, **self.config.space.options)

    @cached_property
    def task(self) -> Task:
        """Raises `PluginError`, and what the task raises."""
        chosen = self.config.task
        return make_task(chosen.name, chosen.settings, seed=self.config.run.seed)

    @cached_property
    def searcher(self) -> Searcher:
        """Raises `PluginError`, and what the searcher raises."""
        chosen = self.config.search.searcher
        return make_searcher(chosen.name, self.space, chosen.settings)

    @cached_property
    def device(self) -> Device:
        """Whether it is there shows when it is first asked something. Raises as `make_device`."""
        if self.given_device is not None:
            return self.given_device
        return make_device(self.config.device)

    @cached_property
    def step(self) -> SupernetStep:
        """What a batch teaches the super-network. Raises `PluginError`."""
        chosen = self.config.supernet.step
        kind: Any = STEPS.find(chosen.name)
        made: SupernetStep = kind.of(chosen.settings, self.space)
        return made

    @property
    def supernet_training(self) -> TrainingSettings:
        """How the super-network is trained, in steps. Raises `InvalidSettingError`."""
        check_supernet(self.config.supernet.training)
        return self.config.supernet.training.in_steps(self.task.train_images)

    @property
    def final_training(self) -> TrainingSettings:
        """How the found network and its rivals are, in steps. Raises `InvalidSettingError`."""
        return self.config.final.training.in_steps(self.task.train_images)

    @cached_property
    def lowering(self) -> Lowering:
        """How modules become programs. Raises `PluginError`, `RecipeError`."""
        return find_lowering(self.config.profile.recipe)

    @cached_property
    def compute(self) -> torch.device:
        """Where networks are trained and judged. Raises `InvalidSettingError`."""
        return compute_device(self.config.run.trains_on)

    def check_compiler(self) -> None:
        """Raises `InvalidSettingError` where a compiler is needed that does not work here."""
        if self.config.final.training.compile:
            check_compiler(self.compute)

    @property
    def provenance(self) -> Provenance:
        """What the run's rows of a latency table share. Raises what the device raises."""
        return provenance_of(self.device, self.spec(), self.lowering)

    def spec(self, *, networks: bool = False) -> RunSpec:
        """How kernels are run on the device, or whole `networks`."""
        config = self.config
        return config.profile.spec(
            threads=config.device.threads,
            cpus=config.device.pinned,
            seed=config.run.seed,
            networks=networks,
        )

    def counted_constraints(self) -> list[Constraint]:
        """What the found network must meet beside its latency."""
        wanted = self.config.search.constraints
        limits = {
            "macs": wanted.macs,
            "params": wanted.params,
            "planned_memory": wanted.planned_memory_bytes,
            **wanted.metrics,
        }
        return [
            Constraint(make_metric(name, self.space), limit)
            for name, limit in limits.items()
            if limit is not None
        ]

    def search(self, constraints: Sequence[Constraint], searcher: Searcher | None = None) -> Search:
        """The search for a network that meets all of `constraints`.

        `searcher` None: the one that the configuration names.
        """
        section = self.config.search
        return Search(
            self.searcher if searcher is None else searcher,
            constraints,
            seed=self.config.run.seed,
            landing=section.landing,
            loop=section.loop,
        )

    def with_config(self, config: RunConfig) -> Parts:
        """The same given parts, of another configuration."""
        return self if config == self.config else replace(self, config=config)

    def check_fit(self) -> None:
        """Raises `ConfigError` unless networks of the space take the task's images."""
        space, task = self.space, self.task
        _, *taken = space.input_shape
        if tuple(taken) != task.input_shape or space.classes != task.outputs:
            raise ConfigError(
                f"a space takes its task's images, but {space.name!r} takes {tuple(taken)} to "
                f"{space.classes} classes and {task.name!r} has {task.input_shape} and "
                f"{task.outputs}; set classes and resolution in [space] (or another space), or "
                f"the images in [task.{self.config.task.table}]"
            )


def check_budget(search: Search) -> None:
    """Raises `ImpossibleBudgetError` now rather than after the training."""
    next(search.requests())
