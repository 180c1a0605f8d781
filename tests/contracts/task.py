"""What every task promises. Subclass it, and say how yours is made:

    class TestFlowers(TaskContract):
        def task(self, seed: int = 0) -> Task:
            return Flowers(FlowerSettings(train_images=40, ...), seed=seed)

Make it small: splits of some 20 to 200 images.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from netadapt.search.errors import MetricError
from netadapt.search.task import Samples, Task, one_batch

Split = Callable[[Task, int], Iterator[Samples]]


def same(one: Samples, other: Samples) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def joined(*batches: Samples) -> Samples:
    return one_batch(batches)


class TaskContract(ABC):
    """A task is a pure function of its seed, gives batches, and judges batch by batch."""

    @abstractmethod
    def task(self, seed: int = 0) -> Task:
        """A small one, made anew."""

    seeded = True
    """Whether the seed decides anything about the images or their order."""

    def guesses(self, task: Task, samples: Samples) -> Tensor:
        """Outputs of some network for `samples`, neither all right nor all wrong."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(len(samples.images), task.outputs, generator=generator)

    def split_sizes(self, task: Task) -> dict[str, int]:
        return {"validation": task.validation_images, "test": task.test_images}

    def test_batches_are_a_function_of_seed_and_step(self) -> None:
        task, again = self.task(), self.task()
        assert same(task.train_batch(3, 8), again.train_batch(3, 8))
        assert same(task.train_batch(3, 8), task.train_batch(3, 8))
        assert not same(task.train_batch(3, 8), task.train_batch(4, 8))
        if self.seeded:
            assert not same(task.train_batch(3, 8), self.task(seed=1).train_batch(3, 8))

    def test_the_training_stream_does_not_depend_on_the_batch_size(self) -> None:
        task = self.task()
        halves = joined(task.train_batch(2, 6), task.train_batch(3, 6))
        assert same(halves, task.train_batch(1, 12))

    def test_an_epoch_has_every_training_image_once(self) -> None:
        """Images may be augmented: their targets, which are not, are counted."""
        task = self.task()
        first, second = (task.train_batch(epoch, task.train_images) for epoch in (0, 1))
        for epoch in (first, second):
            assert len(epoch.images) == task.train_images
        counted = [_sorted(epoch.targets) for epoch in (first, second)]
        assert torch.equal(*counted)
        if task.train_images > 20:
            assert not torch.equal(first.targets, second.targets), "not shuffled anew"
        across = task.train_batch(0, task.train_images + 3)  # an epoch's end and the next's start
        assert same(across, joined(first, Samples(second.images[:3], second.targets[:3])))

    @pytest.mark.parametrize("name", ["validation", "test"])
    def test_a_split_is_the_same_in_batches_of_any_size(self, name: str) -> None:
        task = self.task()
        count = self.split_sizes(task)[name]

        def split(task: Task, size: int) -> list[Samples]:
            return list(getattr(task, name)(size))

        whole = joined(*split(task, count))
        assert len(whole.images) == count
        for size in (7, count - 1, 2 * count):
            batches = split(task, size)
            assert [len(b.images) for b in batches[:-1]] == [size] * (len(batches) - 1)
            assert 0 < len(batches[-1].images) <= size
            assert same(joined(*batches), whole)
        assert same(joined(*split(self.task(), 7)), whole), "made anew it is the same"

    def test_the_splits_differ(self) -> None:
        task = self.task()
        splits = [one_batch(split(8)).images for split in (task.validation, task.test)]
        images = [{image.numpy().tobytes() for image in split} for split in splits]
        assert not images[0] & images[1]

    def test_calibration_images_are_as_many_as_asked_for(self) -> None:
        task = self.task()
        whole = one_batch(task.calibration(10, 10)).images
        assert whole.shape == (10, *task.input_shape)
        assert torch.equal(one_batch(task.calibration(10, 4)).images, whole)

    def test_shapes_and_formats_agree(self) -> None:
        task = self.task()
        assert task.input_shape[0] == len(task.input_format.channels)
        assert len(task.labels) in (0, task.outputs)
        assert task.name
        assert task.metric_name
        for batch in (task.train_batch(0, 4), next(task.validation(4)), next(task.test(4))):
            assert batch.images.shape == (4, *task.input_shape)
            assert batch.images.dtype == torch.float32
            assert torch.isfinite(batch.images).all()
            assert len(batch.targets) == 4

    def test_the_loss_is_a_scalar_with_a_gradient(self) -> None:
        task = self.task()
        batch = task.train_batch(0, 4)
        outputs = self.guesses(task, batch).requires_grad_()
        for smoothing in (0.0, 0.1):
            loss = task.loss(outputs, batch.targets, smoothing)
            assert loss.shape == ()
            assert math.isfinite(loss.item())
            (gradient,) = torch.autograd.grad(loss, outputs)
            assert gradient.abs().sum() > 0

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_the_metric_of_batches_is_that_of_the_whole(self, size: int) -> None:
        task = self.task()
        samples = one_batch(task.validation(64))
        outputs = self.guesses(task, samples)
        whole = task.metric()
        whole.update(outputs, samples.targets)
        parts = task.metric()
        for some, targets in zip(outputs.split(size), samples.targets.split(size), strict=True):
            parts.update(some, targets)
        assert parts.compute() == whole.compute()
        better = whole.compute() if task.higher_is_better else -whole.compute()
        assert task.score(whole.compute()) == better

    def test_a_metric_of_nothing_is_an_error(self) -> None:
        with pytest.raises(MetricError) as caught:
            self.task().metric().compute()
        assert "\n" not in str(caught.value)

    def test_settings_have_defaults_and_are_frozen(self) -> None:
        settings = type(self.task()).settings_class
        assert settings.__dataclass_params__.frozen
        assert dataclasses.replace(settings()) == settings()


def _sorted(targets: Tensor) -> Tensor:
    return targets.flatten(1).sort(0).values if targets.ndim > 1 else targets.sort().values
