"""The digits task: the same seed renders the same images, and the splits share no source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from netadapt.android_runner.errors import PluginError
from netadapt.search.errors import InvalidSettingError, SearchError
from netadapt.search.task import (
    TASKS,
    Accuracy,
    InputFormat,
    KeptBatches,
    Samples,
    Task,
    make_task,
    one_batch,
)
from netadapt.search.tasks import digits
from netadapt.search.tasks.digits import ClutteredDigits, sample_grid
from netadapt.search.tasks.settings import Clutter, DigitsSettings
from tests.contracts.task import TaskContract, same


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=300, **JUDGED))


JUDGED = {"validation_images": 500, "test_images": 500}


def validation(settings: DigitsSettings) -> Samples:
    return one_batch(ClutteredDigits(settings).validation(64))


class TestDigits(TaskContract):
    def task(self, seed: int = 0) -> Task:
        small = DigitsSettings(train_images=60, validation_images=41, test_images=50)
        return ClutteredDigits(small, seed=seed)


class TestColouredDigits(TaskContract):
    def task(self, seed: int = 0) -> Task:
        small = DigitsSettings(None, 3, 25, Clutter(), 60, 41, 50)
        return ClutteredDigits(small, seed=seed)


class Backwards(ClutteredDigits):
    """Somebody else's task, as a run file names it; lower is better."""

    higher_is_better = False


def test_a_task_is_made_by_its_name_or_by_its_place() -> None:
    assert TASKS.settings_class("digits") is ClutteredDigits.settings_class is DigitsSettings
    one = make_task("digits", seed=3)
    assert isinstance(one, ClutteredDigits)
    assert one.seed == 3
    assert make_task("digits", DigitsSettings(seed=5), seed=3).seed == 5
    other = make_task(f"{__name__}:Backwards", DigitsSettings(pixels=30), seed=0)
    assert isinstance(other, Backwards)
    assert other.input_shape == (1, 30, 30)
    assert other.score(0.25) == -0.25
    with pytest.raises(
        PluginError, match=r"a task is one of depth, digits, image_folder or package\.module:Class"
    ):
        make_task("flowers", seed=0)


def test_a_small_split_is_made_once_and_a_large_one_each_time() -> None:
    made = []

    def make() -> Iterator[Samples]:
        made.append(1)
        yield from (Samples(torch.full((2, 1), i), torch.zeros(2)) for i in range(3))

    bytes_of_all = 3 * (2 * 8 + 2 * 4)
    for limit, times in ((bytes_of_all, 1), (bytes_of_all - 1, 3)):
        made.clear()
        batches = KeptBatches(make, limit / 2**20)
        assert next(iter(batches)).images[0] == 0, "an interrupted pass spoils nothing"
        made.clear()
        for _ in range(3):
            assert [int(b.images[0]) for b in batches] == [0, 1, 2]
        assert len(made) == times


def test_an_accuracy_is_what_one_mean_over_all_would_be() -> None:
    outputs = torch.randn(997, 10, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(10, (997,), generator=torch.Generator().manual_seed(1))
    metric = Accuracy()
    for some, wanted in zip(outputs.split(100), targets.split(100), strict=True):
        metric.update(some, wanted)
    assert metric.compute() == (outputs.argmax(1) == targets).float().mean().item()


def test_a_batch_spans_epochs_and_every_epoch_is_rendered_anew(task: ClutteredDigits) -> None:
    stream = task.train_batch(0, 700)  # 300 + 300 + 100
    singles = torch.cat([task.train_batch(step, 100).images for step in range(7)])
    assert torch.equal(stream.images, singles)
    first, second = stream.images[:300], stream.images[300:600]
    counts = [torch.bincount(labels, minlength=10) for labels in stream.targets[:600].split(300)]
    assert torch.equal(*counts)  # the same sources, never the same image
    assert len(torch.cat((first, second)).flatten(1).unique(dim=0)) == 600


def test_images_are_normalised_and_classes_balanced(task: ClutteredDigits) -> None:
    batch = task.train_batch(0, 1000)
    assert batch.images.shape == (1000, *task.input_shape)
    assert batch.images.dtype == torch.float32
    assert abs(batch.images.mean().item()) < 0.1
    assert abs(batch.images.std().item() - 1) < 0.1
    shares = torch.bincount(batch.targets, minlength=task.outputs) / 1000
    assert shares.min() > 0.05
    assert shares.max() < 0.15


@pytest.mark.parametrize("pixels", [24, 25, 33])
def test_coloured_digits_are_the_grey_ones_in_colours(pixels: int) -> None:
    plain = Clutter(distractors=0, noise=0)
    grey, coloured = (
        ClutteredDigits(DigitsSettings(None, n, pixels, plain, validation_images=40))
        for n in (1, 3)
    )
    assert coloured.input_shape == (3, pixels, pixels)
    one, three = next(grey.validation(40)), next(coloured.validation(40))
    assert torch.equal(one.targets, three.targets)
    ink = one.images * digits.STD + digits.MEAN
    colours = three.images * digits.COLOUR_STD + digits.COLOUR_MEAN
    shares = colours.sum((2, 3)) / ink.sum((2, 3))  # of each image's ink in each channel
    assert shares.min() >= digits.FAINTEST
    assert shares.max() <= 1
    assert shares.std(1).mean() > 0.1, "colours, not greys"
    torch.testing.assert_close(colours, ink * shares[:, :, None, None], atol=1e-5, rtol=0)


def test_coloured_batches_are_normalised_and_told_from_grey_ones() -> None:
    task = ClutteredDigits(DigitsSettings(channels=3))
    images = task.train_batch(0, 1000).images
    assert images.shape == (1000, *task.input_shape)
    assert (images.mean((0, 2, 3)).abs() < 0.1).all()
    assert ((images.std((0, 2, 3)) - 1).abs() < 0.1).all()
    assert task.name != ClutteredDigits().name
    assert task.input_format.channels == ("red", "green", "blue")
    assert task.labels == tuple("0123456789")


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ({"channels": 2}, "channels is one of 1, 3, got 2"),
        ({"pixels": 15}, "from their own largest size on, 16 px, got 15 px"),
        ({"pixels": 100_000}, "pixels is at most 512, got 100000"),
        ({"seed": -1}, "seed is at least 0"),
        ({"train_images": 0}, "train_images is at least 1"),
    ],
)
def test_impossible_images_are_refused(shape: dict[str, int], what: str) -> None:
    with pytest.raises(InvalidSettingError, match=what):
        DigitsSettings(**shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mean", "std"), [((0.1,), (0.2, 0.2)), ((0.1, 0.1), (0.2, 0.0)), ((0.1, float("nan")), (1, 1))]
)
def test_an_input_format_has_a_mean_and_a_std_for_each_channel(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(InvalidSettingError, match="for each channel"):
        InputFormat(("left", "right"), mean, std)


def test_splits_share_no_source() -> None:
    parts = digits._split(0)
    sources = [{image.numpy().tobytes() for image in part.images} for part in parts]
    assert [len(part.images) for part in parts] == pytest.approx([1078, 270, 449], abs=5)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not sources[one] & sources[other]


@pytest.mark.parametrize("split", [ClutteredDigits.validation, ClutteredDigits.test])
def test_judging_splits_do_not_depend_on_the_training_set(
    task: ClutteredDigits, split: Callable[[ClutteredDigits, int], Iterator[Samples]]
) -> None:
    samples = one_batch(split(task, 128))
    assert len(samples.images) == 500
    other = ClutteredDigits(DigitsSettings(**JUDGED))
    assert same(samples, one_batch(split(other, 100)))


def test_without_clutter_the_digit_is_the_source_itself() -> None:
    """Upright, twice its size, no noise: the ink under the digit is the source's, moved only."""
    plain = Clutter(rotation_deg=0, min_size_px=16, max_size_px=16, distractors=0, noise=0)
    samples = validation(DigitsSettings(clutter=plain, validation_images=40))
    sources = digits._split(0)[1]
    ink = (samples.images * digits.STD + digits.MEAN).sum((1, 2, 3))
    assert torch.equal(samples.targets, sources.labels[:40])
    # Four pixels for each source pixel; the bilinear edge spreads ink, it does not create it.
    torch.testing.assert_close(ink, 4 * sources.images[:40].sum((1, 2)), rtol=0.05, atol=0)


def test_pieces_and_noise_add_ink_to_the_same_digit() -> None:
    bare, cluttered = (
        validation(DigitsSettings(clutter=clutter, validation_images=64)).images
        for clutter in (Clutter(distractors=0, noise=0), Clutter(noise=0))
    )
    more = cluttered.sum() - bare.sum()
    assert more > 0.1 * (bare * digits.STD + digits.MEAN).sum() / digits.STD


def test_loss_metric_and_score(task: ClutteredDigits) -> None:
    targets = torch.arange(10)
    right = torch.eye(10) * 50
    for outputs, expected in ((right, 1.0), (right.roll(1, 0), 0.0)):
        metric = task.metric()
        metric.update(outputs, targets)
        assert metric.compute() == task.score(metric.compute()) == expected
    assert task.loss(right, targets).item() == pytest.approx(0, abs=1e-6)
    assert task.loss(right, targets, label_smoothing=0.1) > 1


def test_draws_are_uniform_and_independent() -> None:
    keys = digits._keys(0, 0, np.arange(64))
    draws = digits._uniform(keys, 256)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert draws.mean().item() == pytest.approx(0.5, abs=0.01)
    assert draws.var().item() == pytest.approx(1 / 12, rel=0.03)
    correlation = torch.corrcoef(draws) - torch.eye(64)
    assert correlation.abs().max() < 0.3  # neighbouring images; 5 standard errors of 1/16


def test_sample_grid_lays_images_out_row_by_row(task: ClutteredDigits) -> None:
    samples = next(task.validation(6))
    grid = sample_grid(samples, rows=2, columns=3)
    assert grid.shape == (48, 72)
    fourth = samples.images[3, 0] * digits.STD + digits.MEAN
    torch.testing.assert_close(grid[24:, :24], fourth.clamp(0, 1))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"min_size_px": 20.0, "max_size_px": 10.0}, "20.0 to 10.0"),
        ({"max_size_px": 30.0}, "30.0"),
        ({"distractors": -1}, "-1"),
        ({"piece_source_px": 9}, "9"),
    ],
)
def test_impossible_clutter_is_refused(settings: dict[str, float], word: str) -> None:
    with pytest.raises(InvalidSettingError, match=word) as caught:
        Clutter(**settings)  # type: ignore[arg-type]
    assert isinstance(caught.value, SearchError)
    assert "\n" not in str(caught.value)
