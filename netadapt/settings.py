"""What a run can be set to beyond what its parts are set to: the front door's own settings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.android_runner.text import shown
from netadapt.errors import ConfigError

# A text that is safe as a folder's name and as a key
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Chosen:
    """A part chosen by name, with its settings.

    Parameters
    ----------
    name: in its seam's registry, or `package.module:Class`.
    settings: of the dataclass that the part names as its `settings_class`.
    """

    name: str
    settings: Any

    @property
    def table(self) -> str:
        """What a run file calls the table of its settings: the name, of a class its own name."""
        return settings_table(self.name)


def settings_table(name: str) -> str:
    """The table of the settings of the part called `name`: `mcd`, or `Class` of a place."""
    return name.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the run is called and where its results go.

    Parameters
    ----------
    name: letters, digits, dots, dashes.
    seed: of everything random, unless a part has a seed of its own.
    folder: where results go; None: `runs/<name>`.
    trains_on: where networks are trained and judged: "auto" (a GPU where there is one), "cpu",
        "cuda" or one of several, "cuda:1". A run may be continued on another one.

    Raises `ConfigError`.
    """

    name: str = "run"
    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    folder: str | None = None
    trains_on: str = "auto"

    def __post_init__(self) -> None:
        check_bounds(self, ConfigError)
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "a run's name is up to 100 letters, digits, dots, dashes and underscores and "
                f"begins with a letter or digit, got {shown(self.name)}; rename it"
            )
        if self.folder is not None:
            check_line("run.folder", self.folder)
        check_line("run.trains_on", self.trains_on)


@dataclass(frozen=True, slots=True)
class SpaceSettings:
    """Where to search.

    Parameters
    ----------
    name: a space that comes along, or a `.toml` file (relative to the run file).
    bypass: channel-level bypass connections on or off; None: as the space has it.
    classes: of the last layer; None: as the space has them.
    resolution: height and width of the images in pixels; None: as the space has it.
    widest: the most a width may be as a multiple of the reference's; None: as the space has it.

    Raises `ConfigError`.
    """

    name: str = "digits"
    bypass: bool | None = None
    classes: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    resolution: Annotated[int, Interval(ge=1, le=4096)] | None = None
    widest: Annotated[float, Interval(ge=1, le=4)] | None = None

    def __post_init__(self) -> None:
        check_bounds(self, ConfigError)
        check_line("space.name", self.name)

    @property
    def options(self) -> dict[str, object]:
        """What is to be other than in the space's file, as `Space.load` takes it."""
        wanted = {
            name: getattr(self, name) for name in ("bypass", "classes", "resolution", "widest")
        }
        return {key: value for key, value in wanted.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ConstraintSettings:
    """What a found network must meet; at least one, all together.

    Parameters
    ----------
    latency_share: of the measured latency of the space's reference network.
    latency_ms: of the network measured whole. This and `latency_share` may be several: a network
        is then found for each of the budgets (`netadapt.runs.budgets`).
    macs, params, planned_memory_bytes: at most so many.
    metrics: limits of metrics of one's own, by `package.module:function`.

    Raises `ConfigError`.
    """

    latency_ms: float | tuple[float, ...] | None = None
    latency_share: float | tuple[float, ...] | None = None
    macs: Annotated[float, Gt(0)] | None = None
    params: Annotated[float, Gt(0)] | None = None
    planned_memory_bytes: Annotated[float, Gt(0)] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_bounds(self, ConfigError)
        for name, limit in self.metrics.items():
            if ":" not in name or not (math.isfinite(limit) and limit > 0):
                raise ConfigError(
                    "search.constraints.metrics are limits above 0 by package.module:function, "
                    f"got {shown(name)} = {limit}; correct it or leave it out"
                )
        for name in ("latency_ms", "latency_share"):
            _check_budgets(name, getattr(self, name))
        if self.latency_ms is not None and self.latency_share is not None:
            raise ConfigError(
                "latency is given once, as latency_ms or as latency_share; remove one of them"
            )
        if not self.metrics and all(
            getattr(self, name) is None
            for name in (
                *("latency_ms", "latency_share"),
                *("macs", "params", "planned_memory_bytes"),
            )
        ):
            raise ConfigError("a search needs a constraint; set latency_share = 0.5")


def check_line(key: str, text: str) -> None:
    """Raises `ConfigError` unless `text` is a line of a bearable length."""
    if not text.strip() or len(text) > _LONGEST_TEXT or not text.isprintable():
        raise ConfigError(f"{key} is one line of text, got {shown(text)}; correct it")


def several(value: float | tuple[float, ...]) -> tuple[float, ...]:
    """One number or several of a run file, as several."""
    return value if isinstance(value, tuple) else (value,)


def budget_label(value: float) -> str:
    """A number as part of a label: `0.5`, `12`."""
    return f"{value:g}"


def _check_budgets(name: str, value: float | tuple[float, ...] | None) -> None:
    if value is None:
        return
    numbers = several(value)
    sound = all(math.isfinite(number) and number > 0 for number in numbers)
    if not numbers or not sound or len(set(map(budget_label, numbers))) < len(numbers):
        raise ConfigError(
            f"{name} should be a number above 0 or a list of different ones, got "
            f"{shown(list(numbers))}; correct it or leave it out"
        )


WeightsFrom = Literal["supernet", "scratch"]


def run_folder(settings: RunSettings) -> Path:
    """Where the run's results go."""
    return Path(settings.folder or f"runs/{settings.name}")
