"""Pairs of picture and depth in files: a folder of one's own, and NYU Depth V2's HDF5 files."""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from netadapt.android_runner.text import printable
from netadapt.search.errors import ImageError
from netadapt.search.tasks.depth.views import Pair
from netadapt.search.tasks.image_list import SUFFIXES, TEST, TRAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netadapt.search.tasks.depth.views import Metres, Pixels

FARTHEST_M: Final = 200.0
"""A depth beyond it is in another unit: a camera with a depth sensor sees tens of metres."""
HELD_OUT: Final = ("00001.h5", "00201.h5")
"""Of each scene of NYU's, as NetAdaptV2's authors hold out."""


class PairFiles(ABC):
    """Pairs by number, read when they are asked for.

    Attributes
    ----------
    root: the folder.
    train, held_out, test: numbers of the pairs to train with, those that are held out by their
        names, and those of the test folder, `None` where there is none.
    """

    def __init__(self, root: Path, max_depth_m: float) -> None:
        if not root.is_dir():
            raise ImageError(
                f"pairs lie in a folder, there is none at {printable(str(root))}; correct root"
            )
        self.root = root
        self._max_depth_m = max_depth_m
        self.train: Sequence[int] = ()
        self.held_out: Sequence[int] = ()
        self.test: Sequence[int] | None = None

    @abstractmethod
    def place(self, number: int) -> str:
        """Where pair `number` is, for people."""

    @abstractmethod
    def parts(self, number: int) -> tuple[Pixels, NDArray[Any]]:
        """Picture `(H, W, 3)` and depth `(H, W)` in metres, as the files have them.

        Raises `OSError`, `ValueError` or `KeyError` for what is none.
        """

    @abstractmethod
    def marks(self) -> Iterator[str]:
        """What tells these pairs from others: the names, in their order."""

    def read(self, number: int) -> Pair:
        """The pair. Raises `ImageError`, which names it, for one that is broken."""
        from PIL import Image

        where = self.place(number)
        try:
            picture, depth = self.parts(number)
        except (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(
                f"a pair has a whole picture and its depth, {where} has not "
                f"({printable(str(error))}); mend or remove it"
            ) from error
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.shape[:2] != depth.shape:
            raise ImageError(
                f"a picture (H, W, 3) and its depth (H, W) have one size, {where} has "
                f"{picture.shape} and {depth.shape}; make them alike, or remove the pair"
            )
        return Pair(picture, self._metres(depth, where))

    def _metres(self, depth: NDArray[Any], where: str) -> Metres:
        """With 0 for what is unknown: not finite, not above 0, or farther than what counts."""
        metres = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
        known = metres[metres > 0]
        if len(known) and np.median(known) > FARTHEST_M:
            raise ImageError(
                f"depths are in metres, those of {where} are {np.median(known):g} in the middle; "
                "for millimetres set unit_m = 0.001, or write them in metres"
            )
        metres[(metres < 0) | (metres > self._max_depth_m)] = 0
        return metres


class PairFolder(PairFiles):
    """`[train/|test/]rgb/NAME.jpg` with `depth/NAME.png` (16 bits) or `depth/NAME.npy`.

    Parameters
    ----------
    unit_m: metres that 1 of a depth in whole numbers is; fractions are metres.

    Raises `ImageError` for a folder that is none of pairs.
    """

    def __init__(self, root: Path, max_depth_m: float, unit_m: float) -> None:
        super().__init__(root, max_depth_m)
        self._unit_m = unit_m
        split = (root / TRAIN).is_dir()
        tests = [root / name for name in TEST if split and (root / name).is_dir()]
        self._pairs = list(_paired(root / TRAIN if split else root))
        self.train = range(len(self._pairs))
        if tests:
            self._pairs += _paired(tests[0])
            self.test = range(len(self.train), len(self._pairs))

    def place(self, number: int) -> str:
        return printable(str(self._pairs[number][0]))

    def marks(self) -> Iterator[str]:
        return (os.path.relpath(path, self.root) for pair in self._pairs for path in pair)

    def parts(self, number: int) -> tuple[Pixels, NDArray[Any]]:
        from PIL import Image, ImageOps

        picture_path, depth_path = self._pairs[number]
        with Image.open(picture_path) as image:
            picture = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        if depth_path.suffix == ".npy":
            depth = np.load(depth_path, allow_pickle=False)
        else:
            with Image.open(depth_path) as image:
                if image.mode not in ("I", "I;16", "I;16B", "I;16L", "F"):
                    raise ValueError(
                        f"a depth is a PNG of 16 bits or a .npy, {depth_path.name} is of mode "
                        f"{image.mode}"
                    )
                depth = np.array(image)
        if depth.dtype.kind not in "iuf":
            raise ValueError(f"a depth is of numbers, {depth_path.name} is of {depth.dtype}")
        return picture, depth.squeeze() * (self._unit_m if depth.dtype.kind in "iu" else 1.0)


def _paired(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Pictures with their depths, by name. Raises `ImageError` for one without."""
    pictures, depths = folder / "rgb", folder / "depth"
    where = printable(str(folder))
    if not (pictures.is_dir() and depths.is_dir()):
        raise ImageError(
            f"pairs lie in two folders, rgb/ and depth/, {where} has not both; make them"
        )
    by_name = {p.stem: p for p in depths.iterdir() if p.suffix.lower() in (".png", ".npy")}
    found = sorted(p for p in pictures.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise ImageError(f"a folder of pairs has one or more, {where} has none; fill it")
    for picture in found:
        if picture.stem not in by_name:
            raise ImageError(
                f"every picture has its depth, {printable(str(picture))} has none; add "
                f"depth/{printable(picture.stem)}.png or .npy, or remove it"
            )
        yield picture, by_name[picture.stem]


class NyuFiles(PairFiles):
    """`train/SCENE/*.h5` and `val/official/*.h5`: `rgb` (3, 480, 640) and `depth` (480, 640).

    As FastDepth's authors release NYU Depth V2 (32 GB); the extra `netadapt[depth]`. Raises
    `ImageError` for a folder that is none of them.
    """

    def __init__(self, root: Path, max_depth_m: float) -> None:
        super().__init__(root, max_depth_m)
        if importlib.util.find_spec("h5py") is None:
            raise ImageError(
                "NYU's pairs are HDF5 files, which h5py reads, and it is not installed; "
                "pip install 'netadapt[depth]'"
            )
        self._files = sorted((root / TRAIN).glob("*/*.h5"))
        if not self._files:
            raise ImageError(
                f"NYU's pairs lie in train/SCENE/*.h5, {printable(str(root))} has none; correct "
                "root"
            )
        held = [path.name in HELD_OUT for path in self._files]
        self.train, self.held_out = (
            [i for i, is_held in enumerate(held) if is_held == wanted] for wanted in (False, True)
        )
        tests = sorted(path for name in TEST for path in (root / name).glob("*/*.h5"))
        if tests:
            self.test = range(len(self._files), len(self._files) + len(tests))
            self._files += tests

    def place(self, number: int) -> str:
        return printable(str(self._files[number]))

    def marks(self) -> Iterator[str]:
        return (os.path.relpath(path, self.root) for path in self._files)

    def parts(self, number: int) -> tuple[Pixels, NDArray[Any]]:
        import h5py

        with h5py.File(self._files[number], "r") as file:
            missing = [key for key in ("rgb", "depth") if key not in file]
            if missing:
                raise ValueError(f"it has no {' and no '.join(missing)}")
            picture, depth = np.asarray(file["rgb"]), np.asarray(file["depth"])
        if picture.ndim != 3 or picture.shape[0] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"rgb is (3, H, W) of bytes, not {picture.shape} of {picture.dtype}")
        return np.ascontiguousarray(picture.transpose(1, 2, 0)), depth
