"""A pair of picture and depth on its way to a network's input, as FastDepth's authors cut it.

Each step is theirs to the pixel (Wofk et al. 2019, `dataloaders/nyu.py` and `transforms.py` of
their release): resized by the nearest pixel, turned about the middle, cropped. numpy, Pillow and
SciPy only, so that a process that does nothing else starts at once.

Symbols: `H, W` of a picture, `P` pixels a side of a network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from netadapt.search.tasks.depth.settings import DepthAugmentation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Metres = NDArray[np.float32]

Kind = TypeVar("Kind", bound=np.generic)


class Pair(NamedTuple):
    """A picture `(H, W, 3)`, red, green and blue, and its depth `(H, W)` in metres.

    A depth of 0 is unknown.
    """

    picture: Pixels
    depth: Metres


@dataclass(frozen=True, slots=True)
class DepthView:
    """What a network gets to see of a pair.

    Parameters
    ----------
    size: P.
    resized_height: the picture's before anything else, its width in proportion.
    crop: (height, width) of the middle that is seen, in pixels of the resized picture.
    augmentation: None for pairs that are judged by.
    """

    size: int
    resized_height: int
    crop: tuple[int, int]
    augmentation: DepthAugmentation | None

    @classmethod
    def of(
        cls,
        size: int,
        resized_height: int,
        crop: tuple[int, int],
        augmentation: DepthAugmentation | None,
    ) -> DepthView:
        """With a height and a crop that were given for an input of 224 pixels."""
        share = size / 224
        height, width = (max(round(side * share), 1) for side in crop)
        resized = max(round(resized_height * share), height)
        return cls(size, resized, (height, width), augmentation)


def seen(pair: Pair, view: DepthView, key: tuple[int, ...]) -> Pair:
    """Picture `(P, P, 3)` and depth `(P, P)`; all that is random is drawn from `key`."""
    picture, depth = pair
    share = view.resized_height / picture.shape[0]
    picture, depth = _scaled(picture, share), _scaled(depth, share)
    given = view.augmentation
    if given is None:
        return Pair(_square(picture, view), _square(depth, view))
    rng = np.random.default_rng(key)
    zoom, angle = rng.uniform(1, given.zoom), rng.uniform(-1, 1) * given.rotation_deg
    mirrored = rng.random() < given.flip

    def augmented(pixels: NDArray[Kind]) -> NDArray[Kind]:
        return _square(_scaled(_turned(pixels, angle), zoom), view, mirrored=mirrored)

    return Pair(
        _jittered(augmented(picture), given.jitter, rng), augmented(depth / np.float32(zoom))
    )


def _square(pixels: NDArray[Kind], view: DepthView, *, mirrored: bool = False) -> NDArray[Kind]:
    """The middle, squeezed to `(P, P)`."""
    part = _middle(pixels, view.crop)
    return _resized(part[:, ::-1] if mirrored else part, view.size, view.size)


def _scaled(pixels: NDArray[Kind], share: float) -> NDArray[Kind]:
    height, width = (int(side * share) for side in pixels.shape[:2])
    return _resized(pixels, max(height, 1), max(width, 1))


def _resized(pixels: NDArray[Kind], height: int, width: int) -> NDArray[Kind]:
    """By the nearest pixel: a depth between two that are known would be of neither."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST), pixels.dtype)


def _turned(pixels: NDArray[Kind], angle_deg: float) -> NDArray[Kind]:
    """About the middle; 0, which is no depth and black, where there was nothing."""
    if angle_deg == 0:
        return pixels
    from scipy import ndimage

    turned: NDArray[Kind] = ndimage.rotate(
        pixels, angle_deg, reshape=False, prefilter=False, order=0
    )
    return turned


def _middle(pixels: NDArray[Kind], crop: tuple[int, int]) -> NDArray[Kind]:
    """The middle `(height, width)`, or all where the picture is smaller."""
    top, left = (
        max(round((side - wanted) / 2), 0)
        for side, wanted in zip(pixels.shape[:2], crop, strict=True)
    )
    return pixels[top : top + crop[0], left : left + crop[1]]


def _jittered(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation changed, in random order."""
    if share == 0:
        return np.ascontiguousarray(pixels)
    from PIL import Image, ImageEnhance

    image = Image.fromarray(np.ascontiguousarray(pixels))
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for number in rng.permutation(len(kinds)):
        image = kinds[number](image).enhance(rng.uniform(1 - share, 1 + share))
    return np.array(image, dtype=np.uint8)
