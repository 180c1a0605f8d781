"""Depth from one picture: a map of metres, learnt on the pixels whose depth is known.

Every pair of the training stream is a function of (seed, its place in the stream) alone, as for
`netadapt.search.tasks.image_folder`.

Symbols: `B` pairs, `P` pixels a side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from netadapt.search.errors import InvalidSettingError
from netadapt.search.task import InputFormat, OutputMap, Samples, Task
from netadapt.search.tasks.depth.metric import DepthErrors
from netadapt.search.tasks.depth.pairs import NyuFiles, PairFiles, PairFolder
from netadapt.search.tasks.depth.rooms import Rooms
from netadapt.search.tasks.depth.settings import DepthSettings
from netadapt.search.tasks.depth.views import DepthView, seen
from netadapt.search.tasks.picture_workers import PictureWorkers, Wanted, usual_workers
from netadapt.search.tasks.stream import Ahead, Epochs, batches_ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Floats = NDArray[np.float32]

VALIDATION_SHARE: Final = 0.1
TEST_SHARE: Final = 0.2
RENDERED_HEIGHT: Final = 250
"""Of a room's picture for an input of 224 pixels; its width is 4/3 of that."""
_SPLIT, _ORDER, _PAIR = range(4, 7)
"""What is drawn from a seed; the rooms' own are other numbers."""


class Depth(Task):
    """Depth in metres from one picture; metric: root mean square error, lower is better.

    Targets are `(B, 1, P, P)` in metres, 0 where nothing is known.

    Parameters
    ----------
    settings: where the pairs come from, and what becomes of them; None: rendered rooms.
    seed: decides what is held out, the order and every augmentation, unless the settings have
        their own.

    Raises `ImageError` for a folder that is none of pairs, `InvalidSettingError`.
    """

    settings_class: ClassVar[type] = DepthSettings
    metric_name = "RMSE"
    higher_is_better = False
    outputs = 1
    labels = ()
    output_map = OutputMap("depth", "m")

    def __init__(self, settings: DepthSettings | None = None, *, seed: int = 0) -> None:
        self.settings = settings = DepthSettings() if settings is None else settings
        self.seed = seed if settings.seed is None else settings.seed
        self._source, splits = _source(settings, self.seed)
        self._train, self._validation, self._test = splits
        usual = 0 if settings.source == "rooms" else usual_workers()
        workers = usual if settings.workers is None else settings.workers
        self._workers = PictureWorkers(self._source, workers, _made_ready)
        self.input_shape = (3, settings.size, settings.size)
        self.input_format = InputFormat(("red", "green", "blue"), settings.mean, settings.std)
        self._mean, self._std = (
            255 * torch.tensor(v, dtype=torch.float32).view(-1, 1, 1)
            for v in (settings.mean, settings.std)
        )
        self.train_images, self.validation_images, self.test_images = map(len, splits)
        self.name = f"depth of {settings.source} at {settings.size} px ({self._mark()})"
        self._epochs = Epochs(self._train, (self.seed, _ORDER))
        self._ahead: Ahead[Floats] = Ahead()

    def train_batch(self, step: int, size: int) -> Samples:
        return self._samples(self._ahead.take(step, size, self._begin)())

    def validation(self, batch_size: int) -> Iterator[Samples]:
        return self._judged(self._validation, batch_size)

    def test(self, batch_size: int) -> Iterator[Samples]:
        return self._judged(self._test, batch_size)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Of each pair over its known pixels, the pairs' mean; a pair without any counts as 0.

        "l1": |d|, d the difference in metres. "berhu" (Laina et al. 2016): |d| up to c, and
        (d^2 + c^2) / 2c beyond, c a fifth of the pair's largest |d|; in the paper of the batch's,
        and pairs are summed up by themselves here so that a batch may come in parts.
        """
        del label_smoothing  # there are no labels
        known = targets > 0
        off = torch.where(known, (outputs - targets).abs(), 0).flatten(1)
        if self.settings.loss == "berhu":
            bend = 0.2 * off.detach().amax(1, keepdim=True).clamp(min=1e-6)
            off = torch.where(off <= bend, off, (off**2 + bend**2) / (2 * bend))
        # Where nothing is known `off` is 0, and stays so whichever of the two losses it is.
        count = known.flatten(1).sum(1).clamp(min=1)
        return (off.sum(1) / count).mean()

    def metric(self) -> DepthErrors:
        return DepthErrors()

    def _begin(self, first: int, size: int) -> Callable[[], Floats]:
        view = self._view(augmented=True)
        places = np.arange(first, first + size)
        return self._workers.begin(
            [
                Wanted(int(number), view, (self.seed, _PAIR, int(place)))
                for place, number in zip(places, self._epochs.numbers(places), strict=True)
            ]
        )

    def _judged(self, numbers: Numbers, batch_size: int) -> Iterator[Samples]:
        view = self._view(augmented=False)

        def begin(some: Numbers) -> Callable[[], Floats]:
            return self._workers.begin([Wanted(int(n), view) for n in some])

        for _, made in batches_ahead(numbers, batch_size, begin):
            yield self._samples(made)

    def _view(self, *, augmented: bool) -> DepthView:
        given = self.settings
        return DepthView.of(
            given.size, given.resized_height, given.crop, given.augmentation if augmented else None
        )

    def _samples(self, made: Floats) -> Samples:
        """Of `(B, 4, P, P)`: pixels from 0 to 255, and metres."""
        pixels, depths = torch.split(torch.from_numpy(made), [3, 1], 1)
        return Samples((pixels - self._mean) / self._std, depths.contiguous())

    def _mark(self) -> str:
        """Changes with the pairs and with what becomes of them, not with where they lie."""
        settings = asdict(self.settings)
        for key in ("root", "workers", "seed"):
            del settings[key]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        if isinstance(self._source, PairFiles):
            for name in self._source.marks():
                digest.update(name.encode(errors="surrogateescape") + b"\0")
        for split in (self._train, self._validation, self._test):
            digest.update(np.sort(split).tobytes())
        return digest.hexdigest()[:8]


def _made_ready(source: Rooms | PairFiles, wanted: Sequence[Wanted]) -> NDArray[Any]:
    """`(len(wanted), 4, P, P)`: red, green and blue from 0 to 255, and metres."""
    made = []
    for one in wanted:
        picture, depth = seen(source.read(one.number), one.view, one.key)
        made.append(np.concatenate((picture.transpose(2, 0, 1), depth[None])).astype(np.float32))
    return np.stack(made)


def _source(
    settings: DepthSettings, seed: int
) -> tuple[Rooms | PairFiles, tuple[Numbers, Numbers, Numbers]]:
    """Where pairs come from, and the numbers of those to train with, held out, to test with."""
    if settings.source == "rooms":
        height = max(round(RENDERED_HEIGHT * settings.size / 224), 8)
        rooms = Rooms(settings.rooms, height, height * 4 // 3, settings.max_depth_m, seed)
        held, test = (
            _first(split, wanted, name)
            for split, wanted, name in (
                (rooms.validation, settings.validation_images, "validation_images"),
                (rooms.test, settings.test_images, "test_images"),
            )
        )
        return rooms, (rooms.train, held, test)
    root = Path(settings.root).expanduser()
    files: PairFiles = (
        NyuFiles(root, settings.max_depth_m)
        if settings.source == "nyu"
        else PairFolder(root, settings.max_depth_m, settings.unit_m)
    )
    rng = np.random.default_rng((seed, _SPLIT))
    train = np.array(files.train, np.int64)
    if files.test is None:
        train, test = _drawn(train, settings.test_images, TEST_SHARE, "test_images", rng)
    else:
        test = np.array(files.test, np.int64)
        if settings.test_images is not None:
            _, test = _drawn(test, settings.test_images, 1.0, "test_images", rng, spare=0)
    if len(files.held_out) and settings.validation_images is None:
        held = np.array(files.held_out, np.int64)
    else:
        train = np.concatenate((train, np.array(files.held_out, np.int64)))
        train, held = _drawn(
            train, settings.validation_images, VALIDATION_SHARE, "validation_images", rng
        )
    return files, (train, held, test)


def _first(split: Numbers, wanted: int | None, name: str) -> Numbers:
    if wanted is not None and wanted > len(split):
        raise InvalidSettingError(
            f"{name} is at most the {len(split)} views of its rooms, got {wanted}; lower it, or "
            "raise the rooms"
        )
    return split[:wanted]


def _drawn(
    numbers: Numbers,
    wanted: int | None,
    share: float,
    name: str,
    rng: np.random.Generator,
    spare: int = 1,
) -> tuple[Numbers, Numbers]:
    """`numbers` without those that were drawn, and those, ascending; `spare` stay at least."""
    count = max(round(share * len(numbers)), 1) if wanted is None else wanted
    if count > len(numbers) - spare:
        raise InvalidSettingError(
            f"{name} is at most {max(len(numbers) - spare, 0)} of {len(numbers)} pairs, got "
            f"{count}; lower it, or add pairs"
        )
    chosen = np.zeros(len(numbers), bool)
    chosen[rng.permutation(len(numbers))[:count]] = True
    return numbers[~chosen], numbers[chosen]
