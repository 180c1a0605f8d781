"""What a run hands over: one trained network as three files that need nothing of the run.

`network.pte` for phones, with all that an app must know as methods beside `forward` (`constants`);
`network.pt2` for plain torch (`torch.export.load`); `network.pt`, the weights with the space and
the arch that rebuild the network here (`load_network`). `docs/deploy.md` shows how each is used.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from netadapt.android_runner.files import write_atomically
from netadapt.errors import RunFolderError
from netadapt.profiler.lowering import Constant, lower
from netadapt.search.errors import SearchError
from netadapt.search.network import build_network
from netadapt.search.space import Arch, Space
from netadapt.search.task import LAYOUT, InputFormat

if TYPE_CHECKING:
    from netadapt.profiler.lowering import Lowering, ProgramCache
    from netadapt.runs.folder import SearchFolder
    from netadapt.search.task import Task

ABOUT = "netadapt.json"
"""In `network.pt2`: the constants as JSON."""


@dataclass(frozen=True, slots=True)
class SavedNetwork:
    """What `network.pt` holds; `network` is in eval mode."""

    space: Space
    arch: Arch
    network: nn.Module
    input_format: InputFormat
    labels: tuple[str, ...]


def constants(space: Space, arch: Arch, task: Task) -> dict[str, Constant]:
    """What somebody who runs the network must know, by the name of the program's method.

    input_shape: of one image, e.g. 1, 3, 24, 24. input_layout: what its axes are, "NCHW".
    input_channels: what each channel is, e.g. "red", "green", "blue".
    input_range: what the darkest and the brightest value of a pixel count as.
    input_mean, input_std: of each channel; the network takes (pixel - mean) / std.
    labels: what each output stands for; left out where the task has no names for them.
    """
    shape = task.input_format
    known: dict[str, Constant] = {
        "input_shape": list(space.input_shape_of(arch)),
        "input_layout": LAYOUT,
        "input_channels": list(shape.channels),
        "input_range": list(map(float, shape.pixel_range)),
        "input_mean": list(map(float, shape.mean)),
        "input_std": list(map(float, shape.std)),
    }
    return known | ({"labels": list(task.labels)} if task.labels else {})


def save_bundle(
    folder: SearchFolder,
    space: Space,
    space_text: str,
    options: Mapping[str, object],
    arch: Arch,
    network: nn.Module,
    task: Task,
    lowering: Lowering,
    cache: ProgramCache | None = None,
) -> None:
    """Write the three files of the trained `network` of `arch`, each whole or not at all.

    The program's `forward` is the one that was timed: what is added to it stands beside it.

    Parameters
    ----------
    space_text, options: the space's file, and what a run has other than the file, as `Space.load`
        takes it; `network.pt` carries both.
    lowering: of the timed programs.
    cache: as in `lower`; the run's own knows the timed program's layers.

    Raises `LoweringError` where the network cannot be
    lowered.
    """
    about = constants(space, arch, task)
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    plain.eval()
    buffer = io.BytesIO()
    torch.save(
        {
            "space": space.name,
            "space_toml": space_text,
            "options": dict(options),
            "arch": arch.to_json(),
            "state_dict": plain.state_dict(),
            "input_format": asdict(task.input_format),
            "labels": list(task.labels),
        },
        buffer,
    )
    write_atomically(folder.weights, buffer.getvalue())
    write_atomically(folder.exported, _exported(plain, space.input_shape_of(arch), about))
    example = torch.zeros(space.input_shape_of(arch))
    program = lower(plain, (example,), about, lowering=lowering, cache=cache)
    write_atomically(folder.program, program)


def load_network(path: Path) -> SavedNetwork:
    """The network of a run's `network.pt`, built anew; needs nothing else of the run.

    Raises `RunFolderError` for a file that is not there or no such network.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        space = Space.from_text(saved["space_toml"], str(path), **saved["options"])
        arch = space.arch_from_json(saved["arch"])
        network = build_network(space, arch)
        network.load_state_dict(saved["state_dict"])
        given = {name: tuple(value) for name, value in saved["input_format"].items()}
        input_format, labels = InputFormat(**given), tuple(map(str, saved["labels"]))
    except FileNotFoundError as error:
        raise RunFolderError(
            f"a run's network is in its folder once it is done, found none at {path}; "
            "name the network.pt of a finished run"
        ) from error
    except SearchError as error:
        raise RunFolderError(
            f"a run's network is one of its space, {path} is not ({error}); run again"
        ) from error
    except Exception as error:  # torch.load raises whatever the broken part of the file led to
        raise RunFolderError(
            f"a run's network reads as this version writes it, {path} does not "
            f"({type(error).__name__}); name the network.pt of a run of this version"
        ) from error
    return SavedNetwork(space, arch, network.eval(), input_format, labels)


def _exported(network: nn.Module, shape: Sequence[int], about: dict[str, Constant]) -> bytes:
    """For any number of images at a time."""
    images = torch.zeros(2, *shape[1:])  # one image would fix it to one
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(network, (images,), dynamic_shapes=({0: batch},), strict=False)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={ABOUT: json.dumps(about)})
    return buffer.getvalue()
