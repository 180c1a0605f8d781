"""The digits task: the same seed renders the same images, and the splits share no source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from netadapt.search.errors import InvalidSettingError, SearchError
from netadapt.search.task import InputFormat, Samples
from netadapt.search.tasks import digits
from netadapt.search.tasks.digits import Clutter, ClutteredDigits, sample_grid


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(train_images=300, validation_images=500, test_images=500)


def same(one: Samples, other: Samples) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)


def test_batches_are_functions_of_seed_and_step(task: ClutteredDigits) -> None:
    again = ClutteredDigits(train_images=300)
    assert same(task.train_batch(3, 32), again.train_batch(3, 32))
    assert not same(task.train_batch(3, 32), task.train_batch(4, 32))
    other_seed = ClutteredDigits(1, train_images=300)
    assert not same(task.train_batch(3, 32), other_seed.train_batch(3, 32))


def test_batch_size_does_not_change_the_images(task: ClutteredDigits) -> None:
    halves = [task.train_batch(step, 16) for step in (4, 5)]
    whole = task.train_batch(2, 32)
    assert same(whole, Samples(*(torch.cat(part) for part in zip(*halves, strict=True))))


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
        ClutteredDigits(channels=n, pixels=pixels, clutter=plain, validation_images=40)
        for n in (1, 3)
    )
    assert coloured.input_shape == (3, pixels, pixels)
    one, three = grey.validation(), coloured.validation()
    assert torch.equal(one.targets, three.targets)
    ink = one.images * digits.STD + digits.MEAN
    colours = three.images * digits.COLOUR_STD + digits.COLOUR_MEAN
    shares = colours.sum((2, 3)) / ink.sum((2, 3))  # of each image's ink in each channel
    assert shares.min() >= digits.FAINTEST
    assert shares.max() <= 1
    assert shares.std(1).mean() > 0.1, "colours, not greys"
    torch.testing.assert_close(colours, ink * shares[:, :, None, None], atol=1e-5, rtol=0)


def test_coloured_batches_are_normalised_and_told_from_grey_ones() -> None:
    task = ClutteredDigits(channels=3)
    images = task.train_batch(0, 1000).images
    assert images.shape == (1000, *task.input_shape)
    assert (images.mean((0, 2, 3)).abs() < 0.1).all()
    assert ((images.std((0, 2, 3)) - 1).abs() < 0.1).all()
    assert task.name != ClutteredDigits().name
    assert task.input_format.channels == ("red", "green", "blue")
    assert task.labels == tuple("0123456789")


@pytest.mark.parametrize("shape", [{"channels": 2}, {"pixels": 15}, {"pixels": 100_000}])
def test_impossible_images_are_refused(shape: dict[str, int]) -> None:
    with pytest.raises(InvalidSettingError, match="1 or 3 channels"):
        ClutteredDigits(**shape)  # type: ignore[arg-type]


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
def test_judging_splits_are_fixed(
    task: ClutteredDigits, split: Callable[[ClutteredDigits], Samples]
) -> None:
    samples = split(task)
    assert len(samples.images) == 500
    assert same(samples, split(ClutteredDigits(validation_images=500, test_images=500)))


def test_without_clutter_the_digit_is_the_source_itself() -> None:
    """Upright, twice its size, no noise: the ink under the digit is the source's, moved only."""
    plain = Clutter(rotation_deg=0, min_size_px=16, max_size_px=16, distractors=0, noise=0)
    task = ClutteredDigits(clutter=plain, validation_images=40)
    samples = task.validation()
    sources = digits._split(0)[1]
    ink = (samples.images * digits.STD + digits.MEAN).sum((1, 2, 3))
    assert torch.equal(samples.targets, sources.labels[:40])
    # Four pixels for each source pixel; the bilinear edge spreads ink, it does not create it.
    torch.testing.assert_close(ink, 4 * sources.images[:40].sum((1, 2)), rtol=0.05, atol=0)


def test_pieces_and_noise_add_ink_to_the_same_digit() -> None:
    bare = ClutteredDigits(clutter=Clutter(distractors=0, noise=0), validation_images=64)
    cluttered = ClutteredDigits(clutter=Clutter(noise=0), validation_images=64)
    more = cluttered.validation().images.sum() - bare.validation().images.sum()
    assert more > 0.1 * (bare.validation().images * digits.STD + digits.MEAN).sum() / digits.STD


def test_loss_metric_and_score(task: ClutteredDigits) -> None:
    targets = torch.arange(10)
    right = torch.eye(10) * 50
    assert task.metric(right, targets) == task.score(right, targets) == 1.0
    assert task.metric(right.roll(1, 0), targets) == 0.0
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
    samples = task.validation()
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
