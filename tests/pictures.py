"""Folders of pictures that are made here: a colour of its own and noise for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "green": (30, 200, 60), "red": (210, 40, 50)}


def picture(
    colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (40, 32)
) -> Image.Image:
    """Of `size` (width, height): a tint with noise, so that no two are the same."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-60, 60, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def make_folder(
    root: Path, train: int = 30, test: int = 0, size: tuple[int, int] = (40, 32)
) -> Path:
    """`root` with so many pictures of each class; in ImageNet's layout with test ones."""
    number = 0
    parts = [("train", train), ("val", test)] if test else [("", train)]
    for part, count in parts:
        for name, colour in COLOURS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                number += 1
                suffix = "png" if index % 3 == 2 else "jpg"
                picture(colour, number, size).save(folder / f"{index:03}.{suffix}", quality=90)
    return root
