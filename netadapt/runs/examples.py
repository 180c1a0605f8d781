"""A few test images and what the trained networks make of them, where outputs are maps.

Kept in the run's folder for its report: pictures, truth and the reference's outputs once, and the
found network's for each search.

Symbols: `K` images, `H, W` pixels of an output.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from netadapt.android_runner.files import write_atomically
from netadapt.errors import RunFolderError
from netadapt.search.evaluation import eval_mode
from netadapt.search.task import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import nn

    from netadapt.runs.folder import RunFolder
    from netadapt.search.task import InputFormat, Task

    Floats = NDArray[np.float32]

EXAMPLES: Final = 4
"""Test images that a report shows, evenly spread over the split."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What the networks of a run make of the same images.

    Parameters
    ----------
    pictures: `(K, H, W, C)`, from 0 to 1, C 1 or 3.
    truth: `(K, H, W)`, not a number where nothing is known.
    reference: `(K, H, W)`, of the reference network.
    found: the same of the found network of each search, by its label.
    """

    pictures: Floats
    truth: Floats
    reference: Floats
    found: Mapping[str, Floats]


def keep_examples(
    folder: RunFolder,
    task: Task,
    test: Iterable[Samples],
    reference: nn.Module,
    found: Mapping[str, nn.Module],
) -> None:
    """Write what a report shows of these networks, on the CPU; nothing for a task without maps.

    `test` is the task's test split.
    """
    if task.output_map is None:
        return
    images, targets = _chosen(test, task.test_images)
    pictures = _pictures(images, task.input_format)
    truth = targets[:, 0].numpy()
    known = np.where(truth > 0, truth, np.float32("nan"))
    _write(folder.examples, pictures=pictures, truth=known, output=_output(reference, images))
    for label, network in found.items():
        _write(folder.search(label).examples, output=_output(network, images))


def read_examples(folder: RunFolder, labels: Sequence[str]) -> Examples | None:
    """What was kept of the searches of these labels; None where there is nothing to show.

    Raises `RunFolderError` for a file that is none of ours.
    """
    if not folder.examples.exists():
        return None
    first = _read(folder.examples, "pictures", "truth", "output")
    files = {label: folder.search(label).examples for label in labels}
    found = {
        label: _read(path, "output")["output"] for label, path in files.items() if path.exists()
    }
    maps = (first["truth"], first["output"], *found.values())
    shapes = {each.shape for each in maps}
    if len(shapes) > 1 or first["pictures"].ndim != 4 or first["truth"].ndim != 3:
        raise _not_ours(folder.examples, f"arrays of {sorted(shapes)}")
    return Examples(first["pictures"], first["truth"], first["output"], found)


def _chosen(test: Iterable[Samples], total: int) -> Samples:
    """Evenly spread over the test split of `total` images."""
    count = min(EXAMPLES, total)
    places = {(2 * i + 1) * total // (2 * count) for i in range(count)}
    single = (one for batch in test for one in zip(*batch, strict=True))
    chosen = [one for place, one in enumerate(single) if place in places]
    images, targets = (torch.stack(parts) for parts in zip(*chosen, strict=True))
    return Samples(images, targets)


def _pictures(images: torch.Tensor, format_: InputFormat) -> Floats:
    low, high = format_.pixel_range
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (format_.mean, format_.std))
    pixels = ((images * std + mean - low) / (high - low)).clamp(0, 1)
    made: Floats = pixels.permute(0, 2, 3, 1).numpy()
    return made


def _output(network: nn.Module, images: torch.Tensor) -> Floats:
    with torch.no_grad(), eval_mode(network):
        made: Floats = network(images)[:, 0].numpy()
    return made


def _write(path: Path, **arrays: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    halves: dict[str, Any] = {name: each.astype(np.float16) for name, each in arrays.items()}
    np.savez_compressed(data, **halves)
    write_atomically(path, data.getvalue())


def _read(path: Path, *names: str) -> dict[str, Floats]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.float32) for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _not_ours(path, f"{type(error).__name__}: {str(error)[:100]}") from error


def _not_ours(path: Path, found: Any) -> RunFolderError:
    return RunFolderError(
        f"{path} holds pictures and maps for the report, got {found}; remove the file, the run is "
        "whole without it"
    )
