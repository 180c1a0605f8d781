"""How fast pictures are made ready for training, and whether they are always the same.

    python -m benchmarks.image_folder [--quick]

Makes JPEGs of all kinds in the cache (64 to 2,000 pixels, grey, CMYK, progressive, turned by their
EXIF, 1 % of them cut off), and goes through them as a training at 224 does.

`images_per_s_per_core`: of processor time of the process that decodes, random-resized crop, flip
and normalisation included. `speedup_2_workers`: by the clock, two against one. `rss_mb`: the most
memory of the process that trains, and of a worker beside it, torch included. `batches_equal`: those
of 0, 1 and 2 workers, of 2 shares of a batch, and of a training resumed at step 3, to the bit.
`index_s`: for the list of a folder of `index_files` empty files in 1,000 classes.
"""

from __future__ import annotations

import io
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.common import parser, print_result, say, work_folder
from netadapt.search.task import Samples, one_batch
from netadapt.search.tasks.image_folder import ImageFolder
from netadapt.search.tasks.image_list import list_images
from netadapt.search.tasks.settings import ImageFolderSettings

SIZE = 224
BATCH = 64
CLASSES = 10
INDEX_CLASSES = 1_000


def main() -> None:
    """Make the pictures, go through them, print the figures."""
    quick = parser(__doc__).parse_args().quick
    torch.set_num_threads(1)
    count, index_files = (120, 2_000) if quick else (3_000, 1_300_000)
    root = make_pictures(work_folder("image_folder") / f"pictures-{count}", count)
    batch, steps = (16, 3) if quick else (BATCH, 20)
    task = _task(root, 0)
    cpu_s = time.process_time()
    for step in range(steps):
        task.train_batch(step, batch)
    cpu_s = time.process_time() - cpu_s
    seconds = {workers: _seconds(root, workers, steps, batch) for workers in (1, 2)}
    say(f"{steps * batch / cpu_s:.0f} images a second and core; {seconds} s by workers")
    equal = _equal(root, batch)
    made, listed = _index_s(work_folder("image_folder") / f"empty-{index_files}", index_files)
    say(f"{index_files} empty files: made in {made:.0f} s, listed in {listed:.1f} s")
    print_result(
        {
            "benchmark": "image_folder",
            "pictures": len(task.images),
            "left_out": len(task.images)
            - (task.train_images + task.validation_images + task.test_images),
            "images_per_s_per_core": round(steps * batch / cpu_s, 1),
            "speedup_2_workers": round(seconds[1] / seconds[2], 3),
            "rss_mb": round(_rss_mb(resource.RUSAGE_SELF), 1),
            "worker_rss_mb": round(_rss_mb(resource.RUSAGE_CHILDREN), 1),
            "batches_equal": equal,
            "index_files": index_files,
            "index_s": round(listed, 2),
            "batch": batch,
            "steps": steps,
        }
    )


def _task(root: Path, workers: int) -> ImageFolder:
    settings = ImageFolderSettings(root=str(root), size=SIZE, workers=workers, skip_broken=True)
    return ImageFolder(settings, seed=0)


def _seconds(root: Path, workers: int, steps: int, batch: int) -> float:
    """By the clock, for the batches behind the first, which starts the workers."""
    task = _task(root, workers)
    task.train_batch(0, batch)
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        task.train_batch(step, batch)
    return time.perf_counter() - begin


def _equal(root: Path, batch: int) -> bool:
    expected = [_task(root, 0).train_batch(step, batch) for step in range(5)]

    def whole(task: ImageFolder, steps: range) -> Iterator[Samples]:
        return (task.train_batch(step, batch) for step in steps)

    ranks = [_task(root, 0) for _ in range(2)]
    found = [
        *(list(whole(_task(root, workers), range(5))) for workers in (1, 2)),
        [*expected[:3], *whole(_task(root, 1), range(3, 5))],  # resumed
        [
            one_batch(r.train_batch(2 * step + n, batch // 2) for n, r in enumerate(ranks))
            for step in range(5)
        ],
    ]
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        for batches in found
        for a, b in zip(expected, batches, strict=True)
    )


def make_pictures(root: Path, count: int, largest_px: int = 2_000) -> Path:
    """Pictures of all kinds in `root`, by class, made where they are not there yet."""
    done = root / ".done"
    if done.exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    say(f"making {count} pictures in {root}")
    for number in range(count):
        folder = root / f"class{number % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.jpg").write_bytes(_jpeg(number, largest_px))
    done.touch()
    return root


def _jpeg(number: int, largest_px: int) -> bytes:
    """A picture of its number: smooth shapes with some noise, as photographs have."""
    rng = np.random.default_rng(number)
    width, height = (int(n) for n in np.exp(rng.uniform(np.log(64), np.log(largest_px), 2)))
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(0, 24, (min(height, 256), min(width, 256), 3), dtype=np.uint8)
    grain = Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST)
    image = Image.blend(image, grain, 0.15)
    kind = number % 20
    options: dict[str, object] = {"quality": 90, "progressive": kind < 3}
    if kind == 3:
        image = image.convert("L")
    elif kind == 4:
        image = image.convert("CMYK")
    elif kind == 5:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    sink = io.BytesIO()
    image.save(sink, "JPEG", **options)
    data = sink.getvalue()
    return data[: len(data) // 2] if number % 100 == 99 else data


def _index_s(root: Path, count: int) -> tuple[float, float]:
    """Seconds to make so many empty files, 0 where they are there, and to list them."""
    done = root / ".done"
    begin = time.perf_counter()
    if not done.exists():
        shutil.rmtree(root, ignore_errors=True)
        for number in range(INDEX_CLASSES):
            folder = root / f"n{number:08}"
            folder.mkdir(parents=True)
            for index in range(count // INDEX_CLASSES):
                (folder / f"n{number:08}_{index}.JPEG").touch()
        done.touch()
    made_s = time.perf_counter() - begin
    changed = root / f"n{INDEX_CLASSES - 1:08}" / ".changed"
    changed.touch()
    changed.unlink()  # so that they are listed anew
    begin = time.perf_counter()
    listed = list_images(root)
    seconds = time.perf_counter() - begin
    if len(listed) != count // INDEX_CLASSES * INDEX_CLASSES:
        raise SystemExit(f"{len(listed)} files were listed, not {count}")
    return made_s, seconds


def _rss_mb(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1024


if __name__ == "__main__":
    main()
