"""Looking through folders of pictures, and packing them: what `netadapt data` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from netadapt.errors import ConfigError
from netadapt.search.errors import ImageError
from netadapt.search.tasks.image_list import ImageList, Listed, list_images, write_list
from netadapt.search.tasks.picture_workers import PictureWorkers, usual_workers
from netadapt.text import one_line

OnProgress = Callable[[int, int], None]
PACK = ".arrow"


@dataclass(frozen=True, slots=True)
class Check:
    """What is in a folder of pictures.

    Parameters
    ----------
    train, test: pictures of each class; `test` is empty where there is no folder of test images.
    broken: why each picture that cannot be decoded cannot, by its place.
    """

    root: Path
    train: dict[str, int]
    test: dict[str, int]
    broken: dict[str, str]

    @property
    def pictures(self) -> int:
        """All of them."""
        return sum(self.train.values()) + sum(self.test.values())


def check_images(root: Path, workers: int | None, on_progress: OnProgress) -> Check:
    """Decode every picture once. Raises `ImageError` for a folder that is none of pictures."""
    images = list_images(root)
    broken = {}
    for done, (number, why) in enumerate(_workers(images, workers).problems(range(len(images)))):
        if why is not None:
            broken[images.place(number)] = one_line(why)
        on_progress(done + 1, len(images))
    counts = [Counter(images.labels[images.test == test].tolist()) for test in (False, True)]
    train, test = (
        {name: count[number] for number, name in enumerate(images.classes)} for count in counts
    )
    return Check(images.root, train, test if images.has_test else {}, broken)


def pack_images(
    root: Path,
    out: Path,
    side: int,
    workers: int | None,
    on_progress: OnProgress,
    *,
    skip_broken: bool = False,
) -> dict[str, str]:
    """Write all pictures of a folder into one file, with a shorter side of at most `side` pixels.

    Returns why each picture that was left out could not be decoded, by its place. Raises
    `ImageError` for the first of these unless `skip_broken`; no file is written then.
    """
    if out.suffix != PACK:
        raise ConfigError(f"a pack's name ends in {PACK}, got {str(out)!r}; rename it")
    images = list_images(root)
    if images.packed:
        raise ConfigError(f"folders are packed, {root} is a pack already; name the folder")
    broken: dict[str, str] = {}

    def packed() -> Iterator[Listed]:
        shrunk = _workers(images, workers).shrunk(range(len(images)), side)
        for done, (number, data) in enumerate(shrunk):
            if isinstance(data, bytes):
                yield images.listed(number, data)
            elif skip_broken:
                broken[images.place(number)] = one_line(str(data))
            else:
                raise ImageError(
                    f"a picture must be whole, {images.place(number)} is not ({data}); mend or "
                    "remove it, or leave out what is broken with --skip-broken"
                )
            on_progress(done + 1, len(images))

    write_list(out, packed(), images.classes, has_test=images.has_test, packed=True)
    return broken


def _workers(images: ImageList, workers: int | None) -> PictureWorkers:
    return PictureWorkers(images, usual_workers() if workers is None else workers)
