"""Pictures of one's own: a folder for each class, in ImageNet's layout or plain.

Every image of the training stream is a function of (seed, its place in the stream) alone, so that
any number of workers, a resumed training and any share of a batch see the same images. Nothing but
the batches under way is in memory.

Symbols: `B` images, `P` pixels a side, `C` channels, `K` classes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.paths import cache_folder
from netadapt.search.errors import ImageError, InvalidSettingError
from netadapt.search.task import Accuracy, InputFormat, Samples, Task
from netadapt.search.tasks.image_list import ImageList, list_images
from netadapt.search.tasks.picture_workers import PictureWorkers, Wanted, usual_workers
from netadapt.search.tasks.pictures import View
from netadapt.search.tasks.settings import Augmentation, ImageFolderSettings
from netadapt.search.tasks.stream import Ahead, Epochs, batches_ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Pixels = NDArray[np.uint8]

logger = logging.getLogger(__name__)

VALIDATION_SHARE: Final = 0.1
TEST_SHARE: Final = 0.2
_SPLIT, _ORDER, _IMAGE, _PAIR = range(4)
"""What is drawn from a seed: one key never serves two purposes."""


class ImageFolder(Task):
    """Classification of pictures; metric: accuracy (top-1), 0 to 1.

    Parameters
    ----------
    settings: where the pictures are, and what becomes of them.
    seed: decides what is held out, the order and every crop, unless the settings have their own.

    Raises `ImageError` for a folder that is none of pictures, `InvalidSettingError`.
    """

    settings_class: ClassVar[type] = ImageFolderSettings
    metric_name = "accuracy"
    higher_is_better = True

    def __init__(self, settings: ImageFolderSettings, *, seed: int = 0) -> None:
        self.settings = settings
        self.seed = seed if settings.seed is None else settings.seed
        if not settings.root:
            raise InvalidSettingError(
                "pictures lie in a folder, root names none; set root in [task.image_folder]"
            )
        self.images = images = list_images(Path(settings.root).expanduser())
        workers = usual_workers() if settings.workers is None else settings.workers
        self._workers = PictureWorkers(images, workers)
        left_out = self._broken() if settings.skip_broken else frozenset()
        self._train, self._validation, self._test = _splits(images, settings, self.seed, left_out)
        self.input_shape = (settings.channels, settings.size, settings.size)
        names = ("red", "green", "blue") if settings.channels == 3 else ("grey",)
        mean, std = (settings.per_channel(v) for v in (settings.mean, settings.std))
        self.input_format = InputFormat(names, mean, std)
        self._mean, self._std = (
            255 * torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (mean, std)
        )
        self.outputs = len(images.classes)
        self.labels = images.classes
        self.train_images = len(self._train)
        self.validation_images = len(self._validation)
        self.test_images = len(self._test)
        self.name = f"{images.root.name} of {'x'.join(map(str, self.input_shape))} ({self._mark()})"
        self._epochs = Epochs(self._train, (self.seed, _ORDER))
        self._ahead: Ahead[Pixels] = Ahead()

    def train_batch(self, step: int, size: int) -> Samples:
        first = step * size
        begun = self._ahead.take(step, size, self._begin)
        stream = self._paired(first, size)
        images = self._normalised(begun())
        targets = torch.from_numpy(self._labels(stream))
        if not self._mixes:
            return Samples(images, targets)
        images, targets = self._mixed(stream[0], images, targets)
        begin = first - int(stream[0])
        return Samples(images[begin : begin + size], targets[begin : begin + size])

    def validation(self, batch_size: int) -> Iterator[Samples]:
        return self._judged(self._validation, batch_size)

    def test(self, batch_size: int) -> Iterator[Samples]:
        return self._judged(self._test, batch_size)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy; targets are numbers of classes `(B,)`, or shares of them `(B, K)`."""
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def metric(self) -> Accuracy:
        return Accuracy()

    @property
    def _mixes(self) -> bool:
        return bool(self.settings.augmentation.mixup or self.settings.augmentation.cutmix)

    def _paired(self, first: int, size: int) -> Numbers:
        """Places in the stream that images `first` to `first + size` are made of.

        Images are mixed with their neighbour in the stream, so a batch that begins or ends amid a
        pair needs one more there; its share of the stream stays what it is.
        """
        last = first + size
        return (
            np.arange(first - first % 2, last + last % 2) if self._mixes else np.arange(first, last)
        )

    def _begin(self, first: int, size: int) -> Callable[[], Pixels]:
        view = self._view(self.settings.augmentation)
        places = self._paired(first, size)
        return self._workers.begin(
            [
                Wanted(int(number), view, (self.seed, _IMAGE, int(place)))
                for place, number in zip(places, self._epochs.numbers(places), strict=True)
            ]
        )

    def _labels(self, places: Numbers) -> Numbers:
        return self.images.labels[self._epochs.numbers(places)].astype(np.int64)

    def _judged(self, numbers: Numbers, batch_size: int) -> Iterator[Samples]:
        view = self._view(None)

        def begin(some: Numbers) -> Callable[[], Pixels]:
            return self._workers.begin([Wanted(int(n), view) for n in some])

        for some, pixels in batches_ahead(numbers, batch_size, begin):
            labels = torch.from_numpy(self.images.labels[some].astype(np.int64))
            yield Samples(self._normalised(pixels), labels)

    def _view(self, augmentation: Augmentation | None) -> View:
        settings = self.settings
        return View(settings.size, settings.channels, settings.crop_share, augmentation)

    def _normalised(self, pixels: Pixels) -> Tensor:
        """`(B, P, P, C)` from 0 to 255 as `(B, C, P, P)` of about mean 0 and deviation 1."""
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32)
        return (images - self._mean) / self._std

    def _mixed(self, first: int, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours mixed with each other, and their targets as shares `(B, K)`."""
        shares = functional.one_hot(targets, self.outputs).float()
        mixed, mixed_shares = images.clone(), shares.clone()
        for one in range(0, len(images), 2):
            rng = np.random.default_rng((self.seed, _PAIR, (int(first) + one) // 2))
            pair, other = [one, one + 1], [one + 1, one]
            kept, box = _mixing(self.settings.augmentation, self.settings.size, rng)
            if box is None:
                mixed[pair] = kept * images[pair] + (1 - kept) * images[other]
            else:
                rows, columns = box
                mixed[pair, :, rows, columns] = images[other, :, rows, columns]
            mixed_shares[pair] = kept * shares[pair] + (1 - kept) * shares[other]
        return mixed, mixed_shares

    def _broken(self) -> frozenset[int]:
        """Pictures that cannot be decoded, each named.

        They are looked for once for a list, and kept beside it; from then on it is they alone that
        are looked at again: one of them may have been mended.
        """
        images = self.images
        content = f"{images.root.resolve()} {images.digest()}".encode(errors="surrogateescape")
        kept = hashlib.sha256(content).hexdigest()[:24]
        place = cache_folder() / "images" / f"{kept}.broken.json"
        try:
            known: list[int] | None = list(map(int, json.loads(place.read_text())))
        except (OSError, ValueError, TypeError):
            logger.info("looking for broken pictures among %d, once", len(images))
            known = None
        workers = self._workers if known is None else PictureWorkers(images, 0)
        found = []
        for number, why in workers.problems(range(len(images)) if known is None else known):
            if why is not None:
                logger.warning("left out: %s (%s); mend or remove it", images.place(number), why)
                found.append(number)
        if found != known:
            write_atomically(place, json.dumps(found).encode())
        return frozenset(found)

    def _mark(self) -> str:
        """Changes with the pictures and with what becomes of them, not with where they lie."""
        settings = asdict(self.settings)
        for key in ("root", "workers", "seed", "skip_broken"):
            del settings[key]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(self.images.digest().encode())
        for split in (self._train, self._validation, self._test):
            digest.update(np.sort(split).tobytes())
        return digest.hexdigest()[:8]


def _mixing(
    given: Augmentation, size: int, rng: np.random.Generator
) -> tuple[float, tuple[slice, slice] | None]:
    """The share of an image that is its own, and the box of the rest; None blends all of it."""
    cuts = bool(given.cutmix) and (not given.mixup or rng.random() < 0.5)
    alpha = given.cutmix if cuts else given.mixup
    kept = float(rng.beta(alpha, alpha))
    if not cuts:
        return kept, None
    side = np.sqrt(1 - kept) * size
    centre = rng.uniform(0, size, 2)
    low = (centre - side / 2).clip(0, size).astype(int)
    high = (centre + side / 2).clip(0, size).astype(int)
    rows, columns = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cut = (rows.stop - rows.start) * (columns.stop - columns.start)
    return 1 - cut / size**2, (rows, columns)


def _splits(
    images: ImageList, settings: ImageFolderSettings, seed: int, left_out: frozenset[int]
) -> tuple[Numbers, Numbers, Numbers]:
    """Numbers of the pictures to train with, held out, and to test with; each class alike."""
    whole = np.ones(len(images), bool)
    whole[list(left_out)] = False
    from_train = np.flatnonzero(whole & ~images.test)
    rng = np.random.default_rng((seed, _SPLIT))
    test = np.flatnonzero(whole & images.test)
    if not images.has_test:
        from_train, test = _drawn(
            images, from_train, settings.test_images, TEST_SHARE, "test_images", rng
        )
    elif settings.test_images is not None:
        if settings.test_images > len(test):
            raise _too_many("test_images", settings.test_images, len(test), images)
        _, test = _drawn(images, test, settings.test_images, 1.0, "test_images", rng, spare=0)
    train, validation = _drawn(
        images,
        from_train,
        settings.validation_images,
        VALIDATION_SHARE,
        "validation_images",
        rng,
    )
    for what, split in (("validation", validation), ("test", test)):
        if not len(split):
            raise ImageError(
                f"a split has a picture or more, that of {what} of {images.root} has none; add "
                "pictures: a class of one has it for training alone"
            )
    return train, validation, test


def _drawn(
    images: ImageList,
    numbers: Numbers,
    wanted: int | None,
    share: float,
    name: str,
    rng: np.random.Generator,
    spare: int = 1,
) -> tuple[Numbers, Numbers]:
    """`numbers` without those that were drawn, and those; every class keeps `spare` at least.

    Of `wanted` pictures, or of a share of each class, each class has its due by the largest
    remainder.
    """
    labels = images.labels[numbers]
    counts = np.bincount(labels, minlength=len(images.classes))
    room = np.maximum(counts - spare, 0)
    total = round(share * len(numbers)) if wanted is None else wanted
    total = min(total, int(room.sum())) if wanted is None else total
    if total > room.sum():
        raise _too_many(name, total, int(room.sum()), images)
    due = total * counts / max(len(numbers), 1)
    taken = np.minimum(due.astype(int), room)
    while taken.sum() < total:
        left = np.where(taken < room, due - taken, -np.inf)
        taken[int(left.argmax())] += 1
    chosen = np.zeros(len(numbers), bool)
    order = rng.permutation(len(numbers))
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    for start, count in zip(starts, taken, strict=True):
        chosen[by_class[start : start + count]] = True
    return numbers[~chosen], numbers[chosen]


def _too_many(name: str, wanted: int, most: int, images: ImageList) -> InvalidSettingError:
    return InvalidSettingError(
        f"{name} is at most {most} of the pictures in {images.root}, got {wanted}; lower it"
    )
