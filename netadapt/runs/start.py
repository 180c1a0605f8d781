"""`netadapt.run`: a whole run from Python, with parts of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netadapt.config import RunConfig, parse_config, read_config
from netadapt.console import progress as shown_progress
from netadapt.errors import ConfigError
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.run import run as run_in
from netadapt.settings import settings_table

if TYPE_CHECKING:
    from netadapt.android_runner.device import Device
    from netadapt.console import Progress
    from netadapt.runs.result import RunResult

Part = str | type
"""A part's name in its registry, `package.module:Class`, or the class itself."""


def run(
    config: RunConfig | Path | str | Mapping[str, Any] | None = None,
    *,
    task: Part | None = None,
    space: Path | str | None = None,
    searcher: Part | None = None,
    strategy: Part | None = None,
    step: Part | None = None,
    metrics: Mapping[str | Callable[..., object], float] | None = None,
    options: Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    device: Device | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Do a whole run, or what is left of it, and return its result.

    Classes are written into the run's own file by where they stand, so that the run can be resumed
    and reported from its folder alone.

    Parameters
    ----------
    config: a configuration, a run file, the document of one, or None for the defaults.
    task, searcher, strategy, step: in place of the configuration's, with their default settings
        unless `options` has others.
    space: the name of a space that comes along, or a space file.
    metrics: limits of further metrics, by `package.module:function` or the function.
    options: other values by table and key, e.g. `{"task": {"MyTask": {"pixels": 32}}}`.
    folder: where results go.
    device: an object in place of the device that the configuration names.
    progress: what is shown meanwhile; None: bars or lines on standard error.

    Raises
    ------
    ConfigError
        For a configuration that breaks a rule.
    NetadaptError
        And the other packages' errors, as the steps raise them; the same call resumes the run.
    """
    changes: dict[str, Any] = {
        "run": {"folder": None if folder is None else str(folder)},
        "task": {"name": _name(task)},
        "space": {"name": None if space is None else str(space)},
        "search": {
            "searcher": _name(searcher),
            "strategy": _name(strategy),
            "constraints": {"metrics": {_name(m): v for m, v in (metrics or {}).items()}},
        },
        "supernet": {"step": _name(step)},
    }
    made = _configuration(config).changed(changes).changed(options or {})
    parts = Parts(made, given_device=device)
    return run_in(parts, RunFolder(made.folder), progress or shown_progress())


def _configuration(config: RunConfig | Path | str | Mapping[str, Any] | None) -> RunConfig:
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, Path | str):
        return read_config(Path(config))
    return parse_config(config or {}, "the configuration")


def _name(part: object) -> str | None:
    """What a run file calls a part."""
    if part is None or isinstance(part, str):
        return part
    module, name = getattr(part, "__module__", None), getattr(part, "__qualname__", "")
    if module is None or not settings_table(f"{module}:{name}").isidentifier():
        raise ConfigError(
            "a part is given by its name or as a class or function that stands in a module, got "
            f"{part!r:.100}; define it at the top of a module"
        )
    return f"{module}:{name}"
