"""Parts from outside, one for each seam; the package knows none of them.

A run file names them, as `tests/test_from_outside.py` does: a task of stripes, an evolution as
searcher, a strategy that trains each network by itself, a step that learns from the hardest images,
a metric, a recipe without a backend, and a device whose clock counts bytes. A family of their kind
is `tests/toy_family.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np
import torch
from annotated_types import Gt, Interval
from torch import Tensor
from torch.nn import functional

from netadapt.android_runner import (
    DeviceInfo,
    Failure,
    HostDevice,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.bounds import check_bounds
from netadapt.profiler.lowering import Lowering, Recipe
from netadapt.profiler.lowering.seam import Constant, quiet, refusal
from netadapt.runs.strategy import Strategy
from netadapt.search.archs import larger
from netadapt.search.driver import SearchProgress, SearchResult, open_log, run_search
from netadapt.search.errors import InvalidSettingError, MetricError
from netadapt.search.evaluation import evaluate_network
from netadapt.search.network import build_network
from netadapt.search.searchers.base import Aims, Round, Rounds, Searcher
from netadapt.search.searchers.drafts import Draft, Loads, meets
from netadapt.search.supernet import SuperNetwork
from netadapt.search.task import InputFormat, KeptBatches, Samples, Task
from netadapt.search.training import StepInput, SupernetStep, TrainingSettings, train_network
from netadapt.search.training.step import described

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.search.space import Arch, Space


# A task


@dataclass(frozen=True, slots=True)
class StripesSettings:
    train_images: Annotated[int, Interval(ge=3, le=10_000)] = 48
    judged_images: Annotated[int, Interval(ge=3, le=10_000)] = 24
    noise: Annotated[float, Interval(ge=0, le=10)] = 0.5

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


class ErrorRate:
    """Share of images that are taken for something else."""

    def __init__(self) -> None:
        self._wrong = 0
        self._images = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._wrong += int((outputs.argmax(1) != targets).sum())
        self._images += len(targets)

    def compute(self) -> float:
        if not self._images:
            raise MetricError("an error rate is of 1 image or more, got none; count batches in")
        return self._wrong / self._images

    def others(self) -> dict[str, float]:
        return {"mistaken images": float(self._wrong)}


class Stripes(Task):
    """Which way do the stripes run: across, down, or aslant? The fewer errors the better."""

    settings_class: ClassVar[type] = StripesSettings
    name = "stripes"
    metric_name = "error rate"
    higher_is_better = False
    input_shape = (2, 8, 8)
    input_format = InputFormat(("infrared", "ultraviolet"), (0.0, 0.0), (1.0, 1.0), (-1.0, 1.0))
    outputs = 3
    labels = ("across", "down", "aslant")

    def __init__(self, settings: StripesSettings, *, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.train_images = settings.train_images
        self.validation_images = self.test_images = settings.judged_images

    def train_batch(self, step: int, size: int) -> Samples:
        drawn = []
        for position in range(step * size, (step + 1) * size):
            epoch, place = divmod(position, self.train_images)
            order = np.random.default_rng((self.seed, epoch)).permutation(self.train_images)
            drawn.append(self._image("train", epoch, int(order[place])))
        return _stacked(drawn)

    def validation(self, batch_size: int) -> Iterator[Samples]:
        return self._split("validation", batch_size)

    def test(self, batch_size: int) -> Iterator[Samples]:
        return self._split("test", batch_size)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def metric(self) -> ErrorRate:
        return ErrorRate()

    def _split(self, name: str, size: int) -> Iterator[Samples]:
        for begin in range(0, self.settings.judged_images, size):
            end = min(begin + size, self.settings.judged_images)
            yield _stacked([self._image(name, 0, index) for index in range(begin, end)])

    def _image(self, split: str, epoch: int, index: int) -> tuple[Tensor, int]:
        rng = np.random.default_rng((self.seed, *split.encode(), epoch, index))
        target = index % self.outputs
        row, column = np.indices(self.input_shape[1:])
        along = (row, column, row + column)[target]
        stripes = np.sin(2 * np.pi * (along / 4 + rng.random()))
        image = stripes + self.settings.noise * rng.standard_normal(self.input_shape)
        return torch.from_numpy(image.astype(np.float32)), target


def _stacked(drawn: Sequence[tuple[Tensor, int]]) -> Samples:
    return Samples(torch.stack([image for image, _ in drawn]), torch.tensor([t for _, t in drawn]))


# A searcher


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    evaluations: Annotated[int, Interval(ge=1, le=10_000)] = 24
    children: Annotated[int, Interval(ge=1, le=1_000)] = 8
    rate: Annotated[float, Gt(0), Interval(le=1)] = 0.3

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


class Evolution(Searcher):
    """Children of the network that was kept last: some values drawn anew, then fitted."""

    settings: EvolutionSettings
    settings_class: ClassVar[type] = EvolutionSettings

    @property
    def best_of(self) -> int:
        return self.settings.evaluations

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        parent, spent = self.space.reference(), 0
        seen: set[Arch] = set()
        while True:
            floors = aims.floors(parent)
            drafts: dict[Arch, Draft] = {}
            for _ in range(4 * self.settings.children):
                draft = self._fitted(self._child(parent, rng), aims, floors, rng)
                if draft.arch not in seen and meets(draft.loads, floors):
                    drafts[draft.arch] = draft
                if len(drafts) == self.settings.children:
                    break
            seen |= set(drafts)
            left = -(-max(self.settings.evaluations - spent, 0) // self.settings.children)
            outcome = yield Round(tuple(drafts.values()), floors, left)
            parent, spent = outcome.arch, outcome.spent

    def _child(self, parent: Arch, rng: np.random.Generator) -> Arch:
        values = []
        for dimension in self.space.dimensions:
            kept = self.space.value(parent, dimension) or dimension.values[-1]
            anew = int(rng.choice(dimension.values))
            values.append(anew if rng.random() < self.settings.rate else kept)
        return self.space.point(values)

    def _fitted(self, arch: Arch, aims: Aims, limits: Loads, rng: np.random.Generator) -> Draft:
        """Shrunk at random until it is within the limits, then grown as long as it is."""
        (loads,) = aims.loads([arch])
        order = [self.space.dimensions[i] for i in rng.permutation(len(self.space.dimensions))]
        for dimension in order:
            options = () if meets(loads, limits) else self.space.smaller(arch, dimension)
            for option, row in zip(options, aims.loads(options) if options else (), strict=True):
                arch, loads = option, row
                if meets(row, limits):
                    break
        for dimension in order if meets(loads, limits) else ():
            options = larger(self.space, arch, dimension)
            for option, row in zip(options, aims.loads(options) if options else (), strict=True):
                if meets(row, limits):
                    arch, loads = option, row
                    break
        return Draft(arch, loads)


# A training step


@dataclass(frozen=True, slots=True)
class HardestSettings:
    share: Annotated[float, Gt(0), Interval(le=1)] = 0.5

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


class Hardest(SupernetStep):
    """The loss of those images of a batch that are lost most on; a network, or a random one."""

    settings_class: ClassVar[type] = HardestSettings

    def __init__(self, settings: HardestSettings, space: Space) -> None:
        self._settings = settings
        self._space = space

    @classmethod
    def of(cls, settings: HardestSettings, space: Space) -> Self:
        return cls(settings, space)

    def __call__(self, given: StepInput, /) -> Tensor:
        images, targets = given.batch
        several = isinstance(given.module, SuperNetwork)
        outputs = given.module(images, *[self._space.random(given.rng)] * several)
        losses = torch.stack(
            [
                given.task.loss(output[None], target[None], given.label_smoothing)
                for output, target in zip(outputs, targets, strict=True)
            ]
        )
        return losses.topk(max(1, round(self._settings.share * len(losses)))).values.mean()

    def describe(self) -> str:
        return described("hardest", self._settings)


# A strategy


@dataclass(frozen=True, slots=True)
class TrainEachSettings:
    training: TrainingSettings = dataclasses.field(
        default_factory=lambda: TrainingSettings(
            steps=2, batch_size=12, warmup_steps=0, norm_batches=2
        )
    )


class TrainEach(Strategy):
    """No super-network: what the searcher proposes is trained a little from new weights."""

    settings: TrainEachSettings
    settings_class: ClassVar[type] = TrainEachSettings
    prepares: ClassVar[str] = "draw the judged images"

    def prepare(self, context: Context) -> None:
        task = context.task
        self._judged = KeptBatches(lambda: task.validation(task.validation_images))

    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        search, timer = context.search(budget_ms), context.timer
        with (
            open_log(context.search_folder(budget).trials, search, context.inputs()) as log,
            context.progress.step(f"Searching {budget.label}") as update,
        ):

            def on_progress(progress: SearchProgress) -> None:
                update(progress.scored, max(search.searcher.best_of or 0, progress.scored))

            def evaluate(archs: Sequence[Arch]) -> list[float]:
                return [self.score(context, arch) for arch in archs]

            return run_search(
                search,
                evaluate,
                timer.measured,
                log,
                on_progress,
                confirm=timer.twice,
                batch_size=1,
            )

    def score(self, context: Context, arch: Arch) -> float:
        network, task = self.network(context, arch), context.task
        train_network(
            network,
            task,
            self.settings.training,
            context.parts.step,
            seed=context.config.run.seed,
        )
        return task.score(evaluate_network(network, task, self._judged))

    def network(self, context: Context, arch: Arch) -> nn.Module:
        start = torch.Generator().manual_seed(context.config.run.seed)
        return build_network(context.space, arch, generator=start)


# A metric


class Channels:
    """How many channels all layers have together; made of the space, called with archs."""

    name = "channels"
    unit = "channels"

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        widths = [d for d in self._space.dimensions if d.kind == "width"]
        return [float(sum(self._space.value(a, d) or 0 for d in widths)) for a in archs]


# A recipe


class Portable(Lowering):
    """No backend: ExecuTorch's own operators run everything."""

    recipe = Recipe("portable_ops", "fp32", 3)

    def to_program(
        self, exported: ExportedProgram, constants: Mapping[str, Constant] | None = None
    ) -> bytes:
        with quiet():
            from executorch.exir import to_edge

            try:
                edge = to_edge(exported, constant_methods=dict(constants or {}) or None)
                return bytes(edge.to_executorch().buffer)
            except Exception as error:
                raise refusal("ExecuTorch", exported, error) from error


# A device


@dataclass(frozen=True, slots=True)
class ByBytesSettings:
    us_per_kb: Annotated[float, Gt(0)] = 50.0

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


class ByBytes:
    """This machine runs the programs; what its clock says is made up, by the programs' sizes."""

    settings_class = ByBytesSettings

    def __init__(self, settings: ByBytesSettings) -> None:
        self._us_per_kb = settings.us_per_kb
        self._host = HostDevice()

    def info(self) -> DeviceInfo:
        host = self._host.info()
        clock = f"{host.build_options} {self._us_per_kb:g}us-per-kB"
        return dataclasses.replace(host, id="by-bytes", kind="plug-in", build_options=clock)

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return self._host.cpus(spec)

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        us = {program.name: self._us_per_kb * len(program.data) / 1e3 for program in programs}
        sentinel_us = self._us_per_kb * len(spec.sentinel.data) / 1e3 if spec.sentinel else 0.0

        def told(answer: Measurement | Failure) -> Measurement | Failure:
            if isinstance(answer, Failure):
                return answer
            rounds = tuple((us[answer.program],) * len(samples) for samples in answer.rounds_us)
            steady = (sentinel_us,) * len(answer.conditions.sentinel_us)
            conditions = dataclasses.replace(answer.conditions, sentinel_us=steady)
            return dataclasses.replace(answer, rounds_us=rounds, conditions=conditions)

        return map(told, self._host.run(programs, spec, on_progress))
