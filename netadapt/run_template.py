"""A new run file: the template that comes along, filled in."""

from __future__ import annotations

import json
import os
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from string import Template

from netadapt.android_runner.files import write_atomically
from netadapt.config import parse_config
from netadapt.errors import ConfigError, NetadaptError, RunFolderError
from netadapt.runs.parts import Parts
from netadapt.search.space import Space

DIGITS = """\
# classes = 10                   # where they are others than the space's; resolution likewise

[task]
name = "digits"                  # what networks are trained for; image_folder is pictures of yours

[task.digits]
# channels = 3                   # coloured images; the space's in_channels must be the same
# pixels = 32                    # their side; the space's resolution must be the same"""

PICTURES = Template("""\
classes = $classes                   # as many as there are folders

[task]
name = "image_folder"            # docs/images.md

[task.image_folder]
root = $root                   # a folder for each class; relative to this file
channels = $channels
size = $size                     # the space's resolution
# crop_share = 0.875             # of the shorter side: what networks are judged by
# skip_broken = true             # leave out what cannot be decoded: netadapt data check

[task.image_folder.augmentation]
crop_area = [0.4, 1.0]           # least and most share of a picture in a random crop
flip = 0.5                       # 0 where left and right matter""")


def write_run_file(path: Path, space: str, device: str, pictures: Path | None = None) -> str:
    """Write the run file at `path`; a sentence about what its space is not fit for, or "".

    `pictures`: a folder of them to train with. Raises `ImageError` for one that is none,
    `RunFolderError` where there is a file already, `ConfigError` for a name that no run can have,
    `SpaceFileError` for a space that is none.
    """
    if path.suffix != ".toml" or path.is_dir():
        raise ConfigError(f"a run file ends in .toml, got {str(path)!r}; name it my_run.toml")
    if os.path.lexists(path):
        raise RunFolderError(
            f"init never overwrites, {path} is there already; name another file, or edit that one"
        )
    task = DIGITS
    loaded = Space.load(space)
    if pictures is not None:
        loaded, task = _with_pictures(space, pictures, path)
    if space.endswith(".toml"):  # a run file names it relative to where it is itself
        space = os.path.relpath(Path(space).resolve(), path.parent.resolve())
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem).strip("._-") or "run"
    template = Template((files("netadapt") / "examples" / "run.toml").read_text("utf-8"))
    values = {"name": name, "space": space, "device": device}
    quoted = {key: json.dumps(value) for key, value in values.items()}
    text = template.substitute(quoted | {"task": task})
    config = parse_config(tomllib.loads(text), "the options")
    try:
        if pictures is None:
            Parts(config, given_space=loaded).check_fit()
        note = ""
    except NetadaptError as error:
        note = f"this space can be profiled and fitted, but not searched: {error}"
    write_atomically(path, text.encode())
    return note


def _with_pictures(space: str, pictures: Path, path: Path) -> tuple[Space, str]:
    """The space with as many classes as there are folders, and the tables of the task."""
    from netadapt.search.tasks.image_list import list_images

    loaded = Space.load(space, classes=len(list_images(pictures).classes))
    _, channels, height, _ = loaded.input_shape
    root = os.path.relpath(pictures.resolve(), path.parent.resolve())
    values = {"classes": loaded.classes, "root": root, "channels": channels, "size": height}
    text = PICTURES.substitute({key: json.dumps(value) for key, value in values.items()})
    return loaded, text
