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


def write_run_file(path: Path, space: str, device: str) -> str:
    """Write the run file at `path`; a sentence about what its space is not fit for, or "".

    Raises `RunFolderError` where there is a file already, `ConfigError` for a name that no run can
    have, `SpaceFileError` for a space that is none.
    """
    if path.suffix != ".toml" or path.is_dir():
        raise ConfigError(f"a run file ends in .toml, got {str(path)!r}; name it my_run.toml")
    if os.path.lexists(path):
        raise RunFolderError(
            f"init never overwrites, {path} is there already; name another file, or edit that one"
        )
    loaded = Space.load(space)
    if space.endswith(".toml"):  # a run file names it relative to where it is itself
        space = os.path.relpath(Path(space).resolve(), path.parent.resolve())
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem).strip("._-") or "run"
    template = Template((files("netadapt") / "examples" / "run.toml").read_text("utf-8"))
    values = {"name": name, "space": space, "device": device}
    text = template.substitute({key: json.dumps(value) for key, value in values.items()})
    config = parse_config(tomllib.loads(text), "the options")
    try:
        Parts(config, given_space=loaded).check_fit()
        note = ""
    except NetadaptError as error:
        note = f"this space can be profiled and fitted, but not searched: {error}"
    write_atomically(path, text.encode())
    return note
