"""Cluttered digits: scikit-learn's handwritten digits, made hard enough to tell networks apart.

An image is one whole digit (8x8 source, rotated, scaled, placed anywhere inside 24x24), pieces of
other digits in the same style, and noise. The splits share no source image: neither a digit nor a
distractor of the test set was ever seen in training. With three channels every digit and every
piece has a colour of its own, which says nothing about the class.

Symbols: `B` images, `S = 1 + distractors` sprites an image, `P` pixels a side, `C` channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from netadapt.search.errors import InvalidSettingError
from netadapt.search.task import InputFormat, Samples, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Words = NDArray[np.uint64]

CLASSES = 10
SOURCE_PIXELS = 8
PIXELS = 24
LARGEST_PIXELS = 512
# Of rendered training images with the default clutter, so that inputs are about standard.
MEAN, STD = 0.175, 0.304
COLOUR_MEAN, COLOUR_STD = 0.111, 0.224
FAINTEST = 0.25
"""Of a colour's channels, where ink of the grey digits is 1."""
VALIDATION_EPOCH, TEST_EPOCH = -1, -2
"""Renderings that belong to no training epoch."""


@dataclass(frozen=True, slots=True)
class Clutter:
    """How hard an image is."""

    rotation_deg: float = 30.0
    """A sprite is turned by at most this, either way."""
    min_size_px: float = 10.0
    max_size_px: float = 16.0
    """Side of a whole digit; pieces are drawn at the same scales."""
    distractors: int = 4
    piece_source_px: int = 4
    """Side of the square piece that a distractor is of its 8x8 source."""
    noise: float = 0.2
    """Uniform noise of plus or minus this; ink is 1, paper 0."""

    def __post_init__(self) -> None:
        if not 0 < self.min_size_px <= self.max_size_px <= PIXELS:
            raise InvalidSettingError(
                f"a digit's sizes go up from above 0 to at most {PIXELS} px, got "
                f"{self.min_size_px} to {self.max_size_px}; the image is {PIXELS} px wide"
            )
        if self.distractors < 0 or not 0 < self.piece_source_px <= SOURCE_PIXELS:
            raise InvalidSettingError(
                f"distractors are 0 or more pieces of 1 to {SOURCE_PIXELS} source px, got "
                f"{self.distractors} of {self.piece_source_px}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Sources:
    """Source digits of one split: `images (N, 8, 8)` with ink 1, `labels (N,)`."""

    images: Tensor
    labels: Tensor


class ClutteredDigits(Task):
    """Classification of the whole digit among distractors; metric: accuracy, 0 to 1.

    Parameters
    ----------
    seed: decides the splits and every rendering.
    channels: 1 (grey) or 3 (coloured).
    pixels: P, at least the largest digit's side; digits keep their size in a larger image.
    train_images: renderings in one epoch.
    validation_images, test_images: renderings in those splits.
    """

    metric_name = "accuracy"
    higher_is_better = True
    outputs = CLASSES
    labels = tuple(map(str, range(CLASSES)))

    def __init__(
        self,
        seed: int = 0,
        *,
        channels: int = 1,
        pixels: int = PIXELS,
        clutter: Clutter | None = None,
        train_images: int = 12_800,
        validation_images: int = 3_000,
        test_images: int = 4_000,
    ) -> None:
        self.seed = seed
        self.clutter = clutter or Clutter()
        if channels not in (1, 3) or not self.clutter.max_size_px <= pixels <= LARGEST_PIXELS:
            raise InvalidSettingError(
                "digits have 1 or 3 channels and images from their own largest size, "
                f"{self.clutter.max_size_px:g}, to {LARGEST_PIXELS} px, got {channels} channels "
                f"and {pixels} px; the usual ones are 1 and {PIXELS}"
            )
        self.channels, self.pixels = channels, pixels
        self.input_shape = (channels, pixels, pixels)
        usual = (channels, pixels) == (1, PIXELS)
        self.name = "digits" if usual else f"digits of {channels}x{pixels}x{pixels}"
        self.input_format = (
            InputFormat(("ink",), (MEAN,), (STD,))
            if channels == 1
            else InputFormat(("red", "green", "blue"), (COLOUR_MEAN,) * 3, (COLOUR_STD,) * 3)
        )
        self.train_images = train_images
        self.validation_images = validation_images
        self.test_images = test_images
        self._train, self._validation, self._test = _split(seed)

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

    def calibration_images(self, count: int) -> Tensor:
        return self.train_batch(0, count).images

    def validation(self) -> Samples:
        return self._render(self._validation, VALIDATION_EPOCH, np.arange(self.validation_images))

    def test(self) -> Samples:
        return self._render(self._test, TEST_EPOCH, np.arange(self.test_images))

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        return (outputs.argmax(1) == targets).float().mean().item()

    def _render(self, sources: _Sources, epoch: int, indices: NDArray[np.int64]) -> Samples:
        """Image `i` shows source `i mod N`; everything else about it is drawn from its own key."""
        count, clutter, sprites = len(sources.images), self.clutter, 1 + self.clutter.distractors
        channels, pixels = self.channels, self.pixels
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
