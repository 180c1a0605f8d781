"""What a virtual phone is like: frozen facts, from Python or from a TOML file."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import pydantic

from netadapt.android_runner.errors import InvalidRunError
from netadapt.virtual_phone.wire import MAX_DATA

_FOLDER: Final = Path(__file__).parent / "phones"
_STRICT: Final = pydantic.ConfigDict(extra="forbid")  # a misspelt field is an error
_NAME: Final = re.compile(r"[^\W_][\w .+-]{0,63}")
_SERIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LARGEST: Final = 2**53
Root = Literal["none", "su", "adb"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores that share a clock.

    Parameters
    ----------
    cores: their numbers.
    frequencies_khz: the steps they run at, ascending.
    governor: at boot.
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

    Parameters
    ----------
    rise_c_per_s: for each second that one core works.
    cooling_s: time constant of cooling.
    kind: the ``type`` file's text.
    per_degree: in which parts of a degree the sensor reports.
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
    """What the phone reports of its battery.

    Parameters
    ----------
    level_pct: charge.
    charging: from ``plug`` (``AC``, ``USB``).
    temperature_c: of the pack.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    level_pct: int = 80
    charging: bool = True
    plug: Literal["AC", "USB", "Wireless"] = "USB"
    temperature_c: float = 27.0


@dataclass(frozen=True, slots=True)
class PhoneDescription:
    """All that a virtual phone answers from.

    Parameters
    ----------
    name: what its file is called.
    serial: ``ro.serialno``; both name its folder.
    abis: first the one that programs must have; a virtual phone can only run its host's.
    properties: further ``getprop`` lines, which win over those made from the other fields.
    root: ``su`` answers to ``su``, ``adb`` allows ``adb root`` as well.
    free_bytes: room for pushed files.
    ram_bytes: in ``/proc/meminfo``.
    zones_readable: whether policy lets the shell and its programs read ``/sys/class/thermal``; else
        only Android's services report temperatures.
    max_data: the longest packet it takes.
    authorized: knows its owner's adb keys and asks about others; False: asks about each new one.
    slow_down: a program's SHA-256 (`Program.sha256`) to a factor on what the runner reports of it.
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
    zones_readable: bool = False
    free_bytes: int = 8 * 2**30
    ram_bytes: int = 4 * 2**30
    max_data: int = 1 << 20
    authorized: bool = True
    slow_down: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._require(
            _NAME.fullmatch(self.name) is not None,
            "name must be 1 to 64 letters, digits, spaces and ._+- after the first",
            self.name,
        )
        self._require(
            _SERIAL.fullmatch(self.serial) is not None,
            "serial must be 1 to 64 of A-Z, a-z, 0-9, and ._- after the first",
            self.serial,
        )
        for number in _numbers(dataclasses.asdict(self)):
            self._require(abs(number) <= _LARGEST, "a number must be within +-2**53", number)
        self._require(
            all(zone.cooling_s > 0 for zone in self.zones), "cooling_s must be above 0", self.zones
        )
        self._require(
            0 < self.throttling.lowest_share <= 1,
            "lowest_share must be above 0 and at most 1",
            self.throttling.lowest_share,
        )
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
        self._require(
            4096 <= self.max_data <= MAX_DATA, f"max_data must be 4096-{MAX_DATA}", self.max_data
        )
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
                f"phone {self.name[:64]!r}: {rule}, got {_shown(value)}; correct the description"
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
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, InvalidRunError):
                raise
            first = " ".join(str(error).split())
            raise InvalidRunError(
                f"a phone's description must be TOML with the fields of phones/pixel_1.toml, "
                f"got {str(path)!r} ({first[:300]!r}); correct the file"
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


def _shown(value: object) -> str:
    try:
        return repr(value)[:200]
    except ValueError:  # Python writes out no number of thousands of digits
        return "a number of thousands of digits"


def _numbers(value: object) -> Iterator[float]:
    match value:
        case dict():
            for each in value.values():
                yield from _numbers(each)
        case tuple() | list():
            for each in value:
                yield from _numbers(each)
        case int() | float():
            yield value


def bundled_names() -> list[str]:
    """The phones that come along."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))
