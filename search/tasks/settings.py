"""What the tasks that come along can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

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


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What a training image goes through (none of it, one in the middle of judging).

    Parameters
    ----------
    crop_area: (least, most) share of the picture that a random crop has; (1, 1) with `crop_ratio`
        (1, 1) is the largest centred square, moved at random.
    crop_ratio: (least, most) width over height of the crop, drawn evenly on a logarithmic scale.
    flip: probability of being mirrored left to right.
    randaugment: operations of RandAugment (Cubuk et al. 2020) after the crop, 0 for none; by
        torchvision, the extra `netadapt[images]`.
    magnitude: of these operations, of 30.
    erasing: probability that a random rectangle is noise (Zhong et al. 2017; 2 to 33 % of the
        area, ratio 0.3 to 3.3, as there).
    mixup: alpha of mixup (Zhang et al. 2018) of pairs of images, 0 for none.
    cutmix: alpha of CutMix (Yun et al. 2019) of pairs of images, 0 for none; with both, half of
        the pairs get either.

    Raises `InvalidSettingError`.
    """

    crop_area: tuple[Share, Share] = (0.08, 1.0)
    crop_ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.75, 1.3333)
    flip: Share = 0.5
    randaugment: Annotated[int, Interval(ge=0, le=20)] = 0
    magnitude: Annotated[int, Interval(ge=0, le=30)] = 9
    erasing: Share = 0.0
    mixup: Annotated[float, Ge(0)] = 0.0
    cutmix: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        for name, pair in (("crop_area", self.crop_area), ("crop_ratio", self.crop_ratio)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise InvalidSettingError(
                    f"{name} goes up from above 0, got {pair}; give the least and the most"
                )


@dataclass(frozen=True, slots=True)
class ImageFolderSettings:
    """Pictures in folders, one folder a class.

    Parameters
    ----------
    root: a folder with `train/CLASS/...` and `val/CLASS/...` or `test/CLASS/...` (ImageNet's
        layout), or with the classes themselves, or a file that `netadapt data pack` wrote. A
        relative one starts at the run file.
    size: height and width of a network's input, in pixels.
    channels: 3, red, green and blue; 1, grey.
    mean, std: of the pixels, from 0 to 1, that inputs are normalised by; one a channel, or one.
    crop_share: share of the shorter side that the square that is judged by has.
    validation_images: held out of the training folder, of each class alike, drawn by the seed;
        None: a tenth.
    test_images: None: all of the test folder, or, where there is none, a fifth of each class.
    seed: decides what is held out, the order and every crop; None: the run's.
    skip_broken: leave out images that cannot be decoded, which are looked for once; else the first
        ends the run.
    workers: processes that decode; None: one for each core; 0: this one does.
    augmentation: what training images go through.

    Raises `InvalidSettingError`.
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)

    root: str = ""
    size: Annotated[int, Interval(ge=1, le=4096)] = 224
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_share: Annotated[float, Interval(gt=0, le=1)] = 0.875
    validation_images: Images | None = None
    test_images: Images | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**63)] | None = None
    skip_broken: bool = False
    workers: Annotated[int, Interval(ge=0, le=1_000)] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels) and values not in (
                IMAGENET_MEAN,
                IMAGENET_STD,
            ):
                raise InvalidSettingError(
                    f"images of {self.channels} channel(s) have as many values of {name}, or one, "
                    f"got {values}; correct {name}"
                )
        if min(self.std) <= 0:
            raise InvalidSettingError(
                f"a std is above 0, got {self.std}; the usual ones are {IMAGENET_STD}"
            )

    def per_channel(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """`values` with one a channel; three for grey images become their mean."""
        if len(values) == self.channels:
            return values
        return (sum(values) / len(values),) * self.channels
