"""Cluttered digits: scikit-learn's handwritten digits, made hard enough to tell networks apart.

An image is one whole digit (8x8 source, rotated, scaled, placed anywhere inside 24x24), pieces of
other digits in the same style, and noise. The splits share no source image: neither a digit nor a
distractor of the test set was ever seen in training. With three channels every digit and every
piece has a colour of its own, which says nothing about the class.

Symbols: `B` images, `S = 1 + distractors` sprites an image, `P` pixels a side, `C` channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from netadapt.search.task import Accuracy, InputFormat, Samples, Task
from netadapt.search.tasks.settings import PIXELS, SOURCE_PIXELS, DigitsSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Words = NDArray[np.uint64]

CLASSES = 10
# Of rendered training images with the default clutter, so that inputs are about standard.
MEAN, STD = 0.175, 0.304
COLOUR_MEAN, COLOUR_STD = 0.111, 0.224
FAINTEST = 0.25
"""Of a colour's channels, where ink of the grey digits is 1."""
VALIDATION_EPOCH, TEST_EPOCH = -1, -2
"""Renderings that belong to no training epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sources:
    """Source digits of one split: `images (N, 8, 8)` with ink 1, `labels (N,)`."""

    images: Tensor
    labels: Tensor


class ClutteredDigits(Task):
    """Classification of the whole digit among distractors; metric: accuracy, 0 to 1.

    Parameters
    ----------
    settings: what images are like, and how many; None: the defaults.
    seed: decides the splits and every rendering, unless the settings have a seed of their own.
    """

    settings_class: ClassVar[type] = DigitsSettings
    metric_name = "accuracy"
    higher_is_better = True
    outputs = CLASSES
    labels = tuple(map(str, range(CLASSES)))

    def __init__(self, settings: DigitsSettings | None = None, *, seed: int = 0) -> None:
        self.settings = settings = DigitsSettings() if settings is None else settings
        self.seed = seed if settings.seed is None else settings.seed
        channels, pixels = settings.channels, settings.pixels
        self.input_shape = (channels, pixels, pixels)
        usual = (channels, pixels) == (1, PIXELS)
        self.name = "digits" if usual else f"digits of {channels}x{pixels}x{pixels}"
        self.input_format = (
            InputFormat(("ink",), (MEAN,), (STD,))
            if channels == 1
            else InputFormat(("red", "green", "blue"), (COLOUR_MEAN,) * 3, (COLOUR_STD,) * 3)
        )
        self.train_images = settings.train_images
        self.validation_images = settings.validation_images
        self.test_images = settings.test_images
        self._train, self._validation, self._test = _split(self.seed)

    def train_batch(self, step: int, size: int) -> Samples:
        first = step * size
        epochs = range(first // self.train_images, (first + size - 1) // self.train_images + 1)
        parts = []
        for epoch in epochs:
            start = max(first - epoch * self.train_images, 0)
            stop = min(first + size - epoch * self.train_images, self.train_images)
            order = np.random.default_rng((self.seed, epoch)).permutation(self.train_images)
            parts.append(self._render(self._train, epoch, order[start:stop]))
        return Samples(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def validation(self, batch_size: int) -> Iterator[Samples]:
        return self._judging(self._validation, VALIDATION_EPOCH, self.validation_images, batch_size)

    def test(self, batch_size: int) -> Iterator[Samples]:
        return self._judging(self._test, TEST_EPOCH, self.test_images, batch_size)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def metric(self) -> Accuracy:
        return Accuracy()

    def _judging(
        self, sources: _Sources, epoch: int, count: int, batch_size: int
    ) -> Iterator[Samples]:
        for begin in range(0, count, batch_size):
            yield self._render(sources, epoch, np.arange(begin, min(begin + batch_size, count)))

    def _render(self, sources: _Sources, epoch: int, indices: NDArray[np.int64]) -> Samples:
        """Image `i` shows source `i mod N`; everything else about it is drawn from its own key."""
        count, clutter = len(sources.images), self.settings.clutter
        sprites = 1 + clutter.distractors
        channels, pixels, _ = self.input_shape
        tints = sprites * channels if channels > 1 else 0
        parts = [7 * sprites, channels * pixels * pixels, tints]
        draws = _uniform(_keys(self.seed, epoch, indices), sum(parts))
        shown = torch.from_numpy(indices % count)
        placed, noise, tint = torch.split(draws, parts, 1)
        picked, angle, size, x, y, row, column = placed.view(-1, 7, sprites).unbind(1)
        source = (picked * count).long()
        source[:, 0] = shown

        # A piece is its source with the rest wiped out; the whole digit is a piece of all of it.
        side = torch.full((sprites,), clutter.piece_source_px)
        side[0] = SOURCE_PIXELS
        corner = (torch.stack((row, column), -1) * (SOURCE_PIXELS - side + 1)[:, None]).floor()
        inside = torch.arange(SOURCE_PIXELS) - corner[..., None]  # (B, S, row and column, 8)
        inside = ((inside >= 0) & (inside < side[:, None, None])).float()
        ink = sources.images[source] * inside[:, :, 0, :, None] * inside[:, :, 1, None, :]

        # From output pixels to source pixels, both in units of half an image about its centre.
        angle = (2 * angle - 1) * math.radians(clutter.rotation_deg)
        scale = clutter.min_size_px + size * (clutter.max_size_px - clutter.min_size_px)
        room = torch.ones_like(scale)  # a piece may hang over the edge, the digit may not
        room[:, 0] -= scale[:, 0] / pixels
        zoom = pixels / scale
        cos, sin = zoom * angle.cos(), zoom * angle.sin()
        dx, dy = (2 * x - 1) * room, (2 * y - 1) * room
        piece = (2 * corner + side[:, None]) / SOURCE_PIXELS - 1  # its centre: row, column
        theta = torch.stack(
            (
                *(cos, sin, piece[..., 1] - cos * dx - sin * dy),
                *(-sin, cos, piece[..., 0] + sin * dx - cos * dy),
            ),
            -1,
        ).view(-1, 2, 3)
        grid = functional.affine_grid(theta, [len(theta), 1, pixels, pixels], align_corners=False)
        drawn = functional.grid_sample(
            ink.view(-1, 1, SOURCE_PIXELS, SOURCE_PIXELS), grid, align_corners=False
        )
        images = drawn.view(-1, sprites, 1, pixels, pixels)
        if tints:
            colours = FAINTEST + (1 - FAINTEST) * tint
            images = images * colours.view(-1, sprites, channels, 1, 1)
        images = images.amax(1)
        images += (2 * noise.view(images.shape) - 1) * clutter.noise
        shape = self.input_format
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (shape.mean, shape.std))
        return Samples((images - mean) / std, sources.labels[shown])


def sample_grid(samples: Samples, rows: int = 4, columns: int = 8) -> Tensor:
    """The first images side by side for a picture: `(rows * P, columns * P)`, 0 to 1."""
    images = samples.images[: rows * columns, 0] * STD + MEAN
    pixels = images.shape[-1]
    grid = images.view(rows, columns, pixels, pixels).transpose(1, 2)
    return grid.reshape(rows * pixels, columns * pixels).clamp(0, 1)


@cache
def _split(seed: int) -> tuple[_Sources, _Sources, _Sources]:
    """Train, validation and test sources (60, 15 and 25 %), each class shared out alike."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float() / 16
    labels = torch.from_numpy(digits.target).long()
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for label in range(CLASSES):
        members = rng.permutation(np.flatnonzero(digits.target == label))
        cuts = (np.array([0.60, 0.75]) * len(members)).round().astype(int)
        for part, share in zip(parts, np.split(members, cuts), strict=True):
            part.append(share)
    train, validation, test = (
        _Sources(images[chosen], labels[chosen])
        for chosen in (rng.permutation(np.concatenate(part)) for part in parts)
    )
    return train, validation, test


def _mixed(words: Words) -> Words:
    """SplitMix64's finaliser (Steele et al. 2014): neighbours become independent words."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _keys(seed: int, epoch: int, indices: NDArray[np.int64]) -> Words:
    """One key an image, from (seed, epoch, index) alone."""
    key = _mixed(np.array([seed], np.int64).view(np.uint64) + np.uint64(1))
    key = _mixed(key + np.array([epoch], np.int64).view(np.uint64))
    return _mixed(key + indices.astype(np.uint64))


def _uniform(keys: Words, draws: int) -> Tensor:
    """`(B, draws)` fp32 numbers in [0, 1) by counting on from each key (SplitMix64)."""
    steps = np.arange(1, draws + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = _mixed(keys[:, None] + steps) >> np.uint64(40)
    return torch.from_numpy(words.astype(np.float32) * np.float32(2.0**-24))
