"""One picture's way from its file to pixels: decoded, cut, augmented; of its key alone.

Pillow and numpy only, so that a process that does nothing else starts at once; torch is imported
where RandAugment is asked for.

Symbols: `P` pixels a side, `C` channels.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from netadapt.android_runner.text import printable
from netadapt.search.errors import ImageError
from netadapt.search.tasks.settings import Augmentation

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Pixels = NDArray[np.uint8]

_CROP_ATTEMPTS: Final = 10
_ERASED: Final = (0.02, 0.33)
_ERASED_RATIO: Final = (0.3, 3.3)
_MOST_PIXELS: Final = 2**28
_QUALITY: Final = 92


@dataclass(frozen=True, slots=True)
class View:
    """What a network gets to see of a picture: `(P, P, C)`.

    Parameters
    ----------
    size: P.
    channels: C, 3 or 1.
    crop_share: as in `ImageFolderSettings`, for pictures that are not augmented.
    augmentation: None for those.
    """

    size: int
    channels: int
    crop_share: float
    augmentation: Augmentation | None


def render(data: bytes, view: View, key: tuple[int, ...]) -> Pixels:
    """Pixels `(P, P, C)` of a picture's file; all that is random is drawn from `key`.

    Raises `ImageError` for what is no picture, or only part of one.
    """
    with _opened(data) as image:
        return _seen(image, view, key)


def problem(data: bytes) -> str | None:
    """Why a picture's file cannot be decoded; None where it can."""
    try:
        render(data, View(8, 3, 1.0, None), ())
    except ImageError as error:
        return printable(str(error.__cause__ or error))
    return None


def shrunk(data: bytes, side: int) -> bytes:
    """A picture's file, made smaller where its shorter side has more than `side` pixels.

    It is upright and a JPEG then, of the quality that cameras take; else it is as it was. Raises
    `ImageError` for what is no picture, or only part of one.
    """
    from PIL import Image

    with _opened(data) as image:
        share = side / min(image.size)
        if share >= 1:
            image.load()
            return data
        if image.format == "JPEG":
            image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))
        upright = _eight_bits(_upright(image)).convert("RGB")
        share = side / min(upright.size)
        size = (round(upright.width * share), round(upright.height * share))
        sink = io.BytesIO()
        upright.resize(size, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=_QUALITY)
        return sink.getvalue()


@contextmanager
def _opened(data: bytes) -> Iterator[Image]:
    """A picture's file; what goes wrong with it within is an `ImageError`."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file's oddities that do no harm
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"it has {image.width} x {image.height} pixels")
                yield image
    except (OSError, ValueError, SyntaxError, ArithmeticError, Image.DecompressionBombError) as e:
        raise ImageError(f"a picture is a whole JPEG, PNG or the like, this is none ({e})") from e


def _seen(image: Image, view: View, key: tuple[int, ...]) -> Pixels:
    from PIL import Image

    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    width, height = image.size[::-1] if turned else image.size
    rng = np.random.default_rng(key)
    augmentation = view.augmentation
    box = (
        _judged_box(width, height, view.crop_share)
        if augmentation is None
        else _random_box(width, height, augmentation, rng)
    )
    if image.format == "JPEG":
        # Decoded at a half, a quarter or an eighth where that still has the pixels that are asked
        # for: the crop may be small, so it counts by itself.
        share = view.size / min(box[2] - box[0], box[3] - box[1])
        before = image.size
        if share < 1:
            image.draft(None, (math.ceil(before[0] * share), math.ceil(before[1] * share)))
        scale = (image.size[0] / before[0], image.size[1] / before[1])
    else:
        scale = (1.0, 1.0)
    upright = _upright(image)
    if turned:
        scale = scale[::-1]
    x0, y0, x1, y1 = box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]
    cut = (x0, y0, min(x1, upright.width), min(y1, upright.height))
    mode = "RGB" if view.channels == 3 else "L"
    shown = _eight_bits(upright).convert(mode)
    shown = shown.resize((view.size, view.size), Image.Resampling.BICUBIC, box=cut)
    if augmentation is not None:
        if rng.random() < augmentation.flip:
            shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if augmentation.randaugment:
            shown = _rand_augmented(shown, augmentation, int(rng.integers(2**63)))
    pixels = np.array(shown, dtype=np.uint8).reshape(view.size, view.size, view.channels)
    if augmentation is not None and rng.random() < augmentation.erasing:
        _erase(pixels, rng)
    return pixels


def _upright(image: Image) -> Image:
    """Turned as the camera says that it was held."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _eight_bits(image: Image) -> Image:
    """With pixels from 0 to 255: Pillow cuts off what 16-bit greys have beyond."""
    from PIL import Image

    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image, dtype=np.float64)
        most = 1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 65_535.0
        return Image.fromarray((values / most * 255).clip(0, 255).astype(np.uint8))
    if image.mode == "P":  # its transparent colour would be lost, and complained about
        return image.convert("RGBA")
    return image


Box = tuple[float, float, float, float]


def _judged_box(width: int, height: int, share: float) -> Box:
    """The centred square that has this share of the shorter side."""
    side = share * min(width, height)
    return _at(width, height, side, side, 0.5, 0.5)


def _random_box(width: int, height: int, given: Augmentation, rng: np.random.Generator) -> Box:
    """A random part of the picture (Szegedy et al. 2015), the largest centred one as a last resort.

    As torchvision's `RandomResizedCrop` draws it, but for whole pixels.
    """
    for _ in range(_CROP_ATTEMPTS):
        area = width * height * rng.uniform(*given.crop_area)
        ratio = _drawn_ratio(given.crop_ratio, rng)
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            return _at(width, height, w, h, rng.random(), rng.random())
    least, most = given.crop_ratio
    ratio = min(max(width / height, least), most)
    w = min(width, height * ratio)
    return _at(width, height, w, w / ratio, 0.5, 0.5)


def _drawn_ratio(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def _at(width: int, height: int, w: float, h: float, x: float, y: float) -> Box:
    left, top = max(x * (width - w), 0.0), max(y * (height - h), 0.0)
    return left, top, min(left + w, float(width)), min(top + h, float(height))


def _rand_augmented(image: Image, given: Augmentation, seed: int) -> Image:
    import torch

    operation = _rand_augment(given.randaugment, given.magnitude)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return operation(image)


@functools.cache
def _rand_augment(operations: int, magnitude: int) -> Callable[[Image], Image]:
    from netadapt.search.torchvision_import import torchvision_transforms

    made: Callable[[Image], Image] = torchvision_transforms().RandAugment(operations, magnitude)
    return made


def _erase(pixels: Pixels, rng: np.random.Generator) -> None:
    """Fill a random rectangle with noise; where none of ten fits, nothing."""
    height, width, channels = pixels.shape
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*_ERASED)
        ratio = _drawn_ratio(_ERASED_RATIO, rng)
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            noise = rng.integers(0, 256, (h, w, channels), dtype=np.uint8)
            pixels[top : top + h, left : left + w] = noise
            return
