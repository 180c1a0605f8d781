"""What a virtual phone is like: frozen facts, from Python or from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import pydantic

from android_runner.errors import InvalidRunError

_FOLDER: Final = Path(__file__).parent / "phones"
_STRICT: Final = pydantic.ConfigDict(extra="forbid")  # a misspelt field is an error
Root = Literal["none", "su", "adb"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores that share a clock.

    cores: their numbers. frequencies_khz: the steps they run at, ascending. governor: at boot.
    sleeps_after_s: its cores are switched off at boot and after so long without work, until two
    processes want to run at once; None: never.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    cores: tuple[int, ...]
    frequencies_khz: tuple[int, ...]
    governor: str = "schedutil"
    sleeps_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """A sensor that work heats and that cools towards ``idle_c``.

    rise_c_per_s: for each second that one core works. cooling_s: time constant of cooling.
    kind: the ``type`` file's text. per_degree: in which parts of a degree the sensor tells.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: str
    idle_c: float = 30.0
    rise_c_per_s: float = 0.0
    cooling_s: float = 20.0
    per_degree: Literal[1, 10, 1000] = 1000


@dataclass(frozen=True, slots=True)
class Throttling:
    """Above ``from_c`` (the hottest zone) clocks fall by ``share_per_c`` of the maximum a degree.

    They never fall below ``lowest_share``. The kernel programs' reported latencies rise to match.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    from_c: float = 70.0
    share_per_c: float = 0.03
    lowest_share: float = 0.4


@dataclass(frozen=True, slots=True)
class Battery:
    """level_pct: charge. charging: from ``plug`` (``AC``, ``USB``). temperature_c: of the pack."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    level_pct: int = 80
    charging: bool = True
    plug: Literal["AC", "USB", "Wireless"] = "USB"
    temperature_c: float = 27.0


@dataclass(frozen=True, slots=True)
class PhoneDescription:
    """All that a virtual phone answers from.

    name: what its file is called. serial: ``ro.serialno``. abis: first the one that programs must
    have; a virtual phone can only run its host's. properties: further ``getprop`` lines, which
    win over those made from the other fields. root: ``su`` answers to ``su``, ``adb`` allows
    ``adb root`` as well. free_bytes: room for pushed files. ram_bytes: in ``/proc/meminfo``.
    max_data: the longest packet it takes. authorized: takes any key; False: asks for each new one.
    slow_down: `Program.sha256` of a program to a factor applied to what the runner reports of it.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    name: str
    serial: str
    manufacturer: str
    model: str
    device: str
    soc: str
    platform: str
    android: str
    sdk: int
    abis: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    zones: tuple[ThermalZone, ...]
    throttling: Throttling = Throttling()
    battery: Battery = Battery()
    properties: Mapping[str, str] = field(default_factory=dict)
    soc_manufacturer: str = ""
    root: Root = "none"
    free_bytes: int = 8 * 2**30
    ram_bytes: int = 4 * 2**30
    max_data: int = 1 << 20
    authorized: bool = True
    slow_down: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = sorted(core for cluster in self.clusters for core in cluster.cores)
        self._require(
            bool(numbers) and numbers == list(range(len(numbers))),
            "the cores of all clusters must be 0, 1, 2 ... once each",
            numbers,
        )
        for cluster in self.clusters:
            steps = list(cluster.frequencies_khz)
            self._require(
                bool(steps) and steps == sorted(set(steps)) and steps[0] > 0,
                "frequencies_khz must ascend from above 0",
                steps,
            )
        self._require(bool(self.abis), "abis must name at least one", self.abis)
        self._require(self.max_data >= 4096, "max_data must be at least 4096", self.max_data)
        self._require(
            0 <= self.battery.level_pct <= 100, "level_pct must be 0-100", self.battery.level_pct
        )
        self._require(
            all(factor > 0 for factor in self.slow_down.values()),
            "slow_down factors must be above 0",
            dict(self.slow_down),
        )

    def _require(self, condition: bool, rule: str, value: object) -> None:
        if not condition:
            raise InvalidRunError(
                f"phone {self.name!r}: {rule}, got {value!r}; correct the description"
            )

    @property
    def core_count(self) -> int:
        """Cores of all clusters."""
        return sum(len(cluster.cores) for cluster in self.clusters)

    @classmethod
    def load(cls, path: str | Path) -> PhoneDescription:
        """Read a TOML file whose keys are this class's fields; see ``phones/pixel_1.toml``.

        Raises `InvalidRunError` when it cannot be read or a field is unknown, missing or wrong.
        """
        path = Path(path)
        try:
            raw: dict[str, Any] = tomllib.loads(path.read_text())
            return pydantic.TypeAdapter(cls).validate_python({"name": path.stem, **raw})
        except (OSError, tomllib.TOMLDecodeError, pydantic.ValidationError) as error:
            first = " ".join(str(error).split())
            raise InvalidRunError(
                f"a phone's description must be TOML with the fields of phones/pixel_1.toml, "
                f"got {str(path)!r} ({first[:300]}); correct the file"
            ) from error

    @classmethod
    def bundled(cls, name: str) -> PhoneDescription:
        """One of `bundled_names`. Raises `InvalidRunError` for another name."""
        if name not in bundled_names():
            raise InvalidRunError(
                f"a bundled phone is one of {', '.join(bundled_names())}, got {name!r}; "
                "choose one, or name a TOML file"
            )
        return cls.load(_FOLDER / f"{name}.toml")


def bundled_names() -> list[str]:
    """The phones that come along."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))
