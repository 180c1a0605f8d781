"""What a training can be set to, bounds included. No torch here: a run file is read without it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError

Optimizer = Literal["adamw", "sgd", "rmsprop"]
LearningRateSchedule = Literal["cosine", "linear", "constant", "exponential"]
Precision = Literal["fp32", "bf16"]
KernelPer = Literal["image", "step"]
Law = Literal["uniform", "macs", "budget"]
ShareOfTraining = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How weights are learnt. The defaults are the digits task's (assumptions).

    Parameters
    ----------
    steps: batches of `batch_size` images in all.
    optimizer: "sgd" with Nesterov's momentum, "adamw", or "rmsprop" in TensorFlow's form.
    learning_rate: at its peak, which it rises to linearly over `warmup_steps`.
    schedule: how it falls to 0 from there: along half a cosine, linearly, or not at all; or
        exponentially: by the factor `decay` every `decay_steps` steps.
    epochs, decay_epochs, warmup_epochs: instead of `steps`, `decay_steps` and `warmup_steps`, in
        times that all training images are seen; `in_steps` turns them into steps.
    weight_decay: on matrices and filters only, not on biases and normalisation.
    momentum: of SGD and RMSprop; AdamW keeps its usual averages.
    label_smoothing: handed to the task's loss.
    norm_batches: batches that a network's batch-norm statistics are re-estimated on in the end;
        0 leaves training's running averages.
    accumulate: a step's images go through in so many parts, whose gradients are added up: for
        less memory. Batch norms see a part at a time.
    ema: what is trained in the end is the average of all steps, each keeping this share of it
        (`netadapt.search.training.average`); 0: the last step's weights.
    precision: what is computed with: "bf16" is torch's automatic mixed precision, weights and
        judging stay fp32.
    channels_last: the memory layout of images and filters.
    compile: by torch.compile, which needs a compiler and a while before the first step; plain
        networks only (`check_supernet`).
    checkpoint_every_steps: a kill loses at most as many.

    Raises `InvalidSettingError`.
    """

    steps: Annotated[int, Interval(ge=1, le=1_000_000_000)] = 800
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 64
    optimizer: Optimizer = "sgd"
    learning_rate: Annotated[float, Gt(0)] = 0.2
    schedule: LearningRateSchedule = "cosine"
    decay: Annotated[float, Interval(gt=0, le=1)] = 0.97
    decay_steps: Annotated[int, Interval(ge=1, le=1_000_000_000)] = 1000
    warmup_steps: Annotated[int, Interval(ge=0, le=1_000_000_000)] = 40
    epochs: Annotated[float, Interval(gt=0, le=1_000_000)] | None = None
    decay_epochs: Annotated[float, Interval(gt=0, le=1_000_000)] | None = None
    warmup_epochs: Annotated[float, Interval(ge=0, le=1_000_000)] | None = None
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    norm_batches: Annotated[int, Interval(ge=0, le=1_000_000)] = 32
    accumulate: Annotated[int, Interval(ge=1, le=65_536)] = 1
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    precision: Precision = "fp32"
    channels_last: bool = True
    compile: bool = False
    checkpoint_every_steps: Annotated[int, Interval(ge=1, le=1_000_000_000)] = 100

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        in_steps = self.epochs is None and self.warmup_epochs is None
        if in_steps and self.warmup_steps >= self.steps:
            raise InvalidSettingError(
                f"the warm-up is shorter than the training, got {self.warmup_steps} of "
                f"{self.steps} steps; lower warmup_steps"
            )
        if self.batch_size % self.accumulate:
            raise InvalidSettingError(
                f"a batch is accumulated of equal parts, got {self.batch_size} images in "
                f"{self.accumulate} parts; correct accumulate"
            )

    def in_steps(self, images: int) -> TrainingSettings:
        """The same with all lengths in steps, of a task with so many training images.

        Raises `InvalidSettingError` for a warm-up that is not shorter than the training.
        """
        lengths = {"steps": self.epochs, "decay_steps": self.decay_epochs}
        found = {
            name: max(1, round(epochs * images / self.batch_size))
            for name, epochs in lengths.items()
            if epochs is not None
        }
        if self.warmup_epochs is not None:
            found["warmup_steps"] = round(self.warmup_epochs * images / self.batch_size)
        none = {"epochs": None, "decay_epochs": None, "warmup_epochs": None}
        return replace(self, **found, **none)  # type: ignore[arg-type]  # each of its own type

    def shortened(self, steps: int) -> TrainingSettings:
        """So many steps only, without a warm-up, to try what a training does."""
        none = {"epochs": None, "decay_epochs": None, "warmup_epochs": None}
        return replace(self, steps=steps, warmup_steps=0, **none)  # type: ignore[arg-type]  # of its own type

    def learning_rate_at(self, step: int) -> float:
        """Of the `step`-th step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "exponential":
            return self.learning_rate * self.decay ** (
                (step - self.warmup_steps) // self.decay_steps
            )
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * (1 - done if self.schedule == "linear" else 1)


def check_supernet(settings: TrainingSettings) -> None:
    """Raises `InvalidSettingError` for what is no way to train a super-network."""
    if settings.compile:
        raise InvalidSettingError(
            "compile is for plain networks, a super-network's shapes change with every batch and "
            "torch's compiler fails on them, got compile = true of a super-network; set it in "
            "[final] alone"
        )


@dataclass(frozen=True, slots=True)
class OrderedDropoutSettings:
    """Which sub-network each image of a batch trains (NetAdaptV2's ordered dropout).

    Parameters
    ----------
    kernel_per: "image" gives each image kernel sizes of its own, "step" the whole batch the same
        (assumption: the paper, which is not at hand, may do either).
    ramp: (from, to), shares of the training between which ordered dropout sets in. Before the
        first all images see the full network; then each choice of each image is drawn with a
        probability that grows to 1 at the second, and is the full network's otherwise (assumption,
        measured: a small network in training from scratch does not get off the ground when all
        images see random archs, because the batch norms' statistics are those of a mixture in
        which the archs' differences drown the images'). (0, 0) draws everything from the start.
    law: how widths and depths are drawn. "uniform": each by itself. "macs": so that the images'
        multiply-accumulates spread evenly as far as widths and depths reach; kernel sizes and
        resolutions stay uniform. "budget": so that their mean is `budget_share`
        (`netadapt.search.sampling_law`; assumptions).
    budget_share: of the reference's multiply-accumulates; counts for "budget" alone.
    removal: probability that a block that can be removed is; None: as often as the law draws any 0
        of its width and expansion, so the more often the fewer values they have.

    Raises `InvalidSettingError`.
    """

    kernel_per: KernelPer = "image"
    ramp: tuple[ShareOfTraining, ShareOfTraining] = (0.2, 0.6)
    law: Law = "uniform"
    budget_share: Annotated[float, Gt(0)] = 0.5
    removal: Annotated[float, Interval(ge=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if len(self.ramp) != 2 or not 0 <= self.ramp[0] <= self.ramp[1] <= 1:
            raise InvalidSettingError(
                f"a ramp's two shares ascend within [0, 1], got {self.ramp}; (0.2, 0.6) is usual"
            )


@dataclass(frozen=True, slots=True)
class DistillationSettings:
    """How much of the loss is agreement with a teacher (Hinton et al. 2015; numbers assumed).

    Parameters
    ----------
    weight: share of the teacher's part in the loss; the labels' part has the rest.
    temperature: both sides' outputs are divided by it before their softmax; the teacher's part is
        multiplied by its square, so that gradients keep their size (section 2 of the paper).
    sampling: of a super-network, which sub-networks are the students.

    Raises `InvalidSettingError`.
    """

    weight: Annotated[float, Interval(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Gt(0)] = 1.0
    sampling: OrderedDropoutSettings = field(default_factory=OrderedDropoutSettings)

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


@dataclass(frozen=True, slots=True)
class SandwichSettings:
    """The sandwich rule: each batch trains the largest, the smallest and some random networks.

    Yu and Huang 2019, "Universally Slimmable Networks", section 3.

    Parameters
    ----------
    random: sub-networks a batch beside the largest and the smallest.
    distil: the others learn the largest one's outputs instead of the labels (in-place
        distillation, section 3.3).
    temperature: as in `DistillationSettings`.

    Raises `InvalidSettingError`.
    """

    random: Annotated[int, Interval(ge=0, le=1_000)] = 2
    distil: bool = True
    temperature: Annotated[float, Gt(0)] = 1.0

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
