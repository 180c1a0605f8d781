"""What the tasks that come along can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError

SOURCE_PIXELS = 8
PIXELS = 24

Images = Annotated[int, Interval(ge=1, le=1_000_000_000)]


@dataclass(frozen=True, slots=True)
class Clutter:
    """How hard an image of digits is.

    Parameters
    ----------
    rotation_deg: a sprite is turned by at most this, either way.
    min_size_px, max_size_px: side of a whole digit; pieces are drawn at the same scales.
    distractors: pieces of other digits in an image.
    piece_source_px: side of the square piece that a distractor is of its 8x8 source.
    noise: uniform, of plus or minus this; ink is 1, paper 0.

    Raises `InvalidSettingError`.
    """

    rotation_deg: float = 30.0
    min_size_px: float = 10.0
    max_size_px: float = 16.0
    distractors: Annotated[int, Interval(ge=0, le=1_000)] = 4
    piece_source_px: Annotated[int, Interval(ge=1, le=SOURCE_PIXELS)] = 4
    noise: float = 0.2

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if not 0 < self.min_size_px <= self.max_size_px <= PIXELS:
            raise InvalidSettingError(
                f"a digit's sizes go up from above 0 to at most {PIXELS} px, got "
                f"{self.min_size_px} to {self.max_size_px}; the image is {PIXELS} px wide"
            )


@dataclass(frozen=True, slots=True)
class DigitsSettings:
    """The digits' images.

    Parameters
    ----------
    seed: decides the splits and every rendering; None: the run's.
    channels: 1 (grey) or 3 (coloured).
    pixels: P, their side, at least the largest digit's; digits keep their size in a larger image.
    clutter: how hard they are.
    train_images: renderings in one epoch.
    validation_images, test_images: renderings in those splits.

    Raises `InvalidSettingError`.
    """

    seed: Annotated[int, Interval(ge=0, lt=2**63)] | None = None
    channels: Literal[1, 3] = 1
    pixels: Annotated[int, Ge(1), Interval(le=512)] = PIXELS
    clutter: Clutter = field(default_factory=Clutter)
    train_images: Images = 12_800
    validation_images: Images = 3_000
    test_images: Images = 4_000

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if self.pixels < self.clutter.max_size_px:
            raise InvalidSettingError(
                "digits have images from their own largest size on, "
                f"{self.clutter.max_size_px:g} px, got {self.pixels} px; the usual ones are "
                f"{PIXELS} px"
            )
