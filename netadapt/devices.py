"""The device of a run: what `--device` and `[device]` say, and the object that measures."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from annotated_types import Interval

from netadapt.android_runner.device import Device, RunSpec
from netadapt.android_runner.phone.settings import Cluster, PhoneSettings
from netadapt.errors import ConfigError
from netadapt.profiler.replay import is_table, open_replay

if TYPE_CHECKING:
    from netadapt.android_runner.phone.device import PhoneDevice

HOST: Final = "host"
ONLY_PHONE: Final = "phone"

Kind = Literal["host", "phone", "table", "plug-in"]
Core = Annotated[int, Interval(ge=0, le=1_000_000)]

MOST_CORES: Final = 1000
_LONGEST_ID: Final = 4096
# A phone on the network is host:port, and no class has a number for a name.
_PLACE: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_USUAL: Final = RunSpec()


@dataclass(frozen=True, slots=True)
class DeviceSettings(PhoneSettings):
    """What latencies are measured on; those of `PhoneSettings` are of phones alone.

    Parameters
    ----------
    id: `host` is this machine, `phone` the only phone there is, a path that ends in `.sqlite` a
        latency table that is played back (`t.sqlite#2`: its second provenance),
        `package.module:Class` somebody's own device; anything else is a phone's serial or
        `host:port` (`netadapt devices`).
    threads: of the runtime.
    cpus: cores to pin to, or a phone's `big` or `little` ones; None takes the device's default.
    options: of a device of one's own: the fields of the dataclass that its class names as
        `settings_class`.

    Raises `ConfigError`, and `InvalidRunError` for values out of bounds.
    """

    id: str = HOST
    threads: Annotated[int, Interval(ge=1, le=MOST_CORES)] = _USUAL.threads
    cpus: tuple[Core, ...] | Cluster | None = None
    options: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        PhoneSettings.__post_init__(self)  # super() does not know a class with slots
        if not self.id.strip() or not self.id.isprintable() or len(self.id) > _LONGEST_ID:
            raise ConfigError(
                f"device.id names a device in one line, got {self.id[:80]!r}; see "
                "`netadapt devices`"
            )
        if self.options and device_kind(self.id) != "plug-in":
            raise ConfigError(
                f"device.options are of a device package.module:Class, {self.id!r} is none; leave "
                "them out"
            )
        if isinstance(self.cpus, str):
            if self.cpus not in ("big", "little"):
                raise ConfigError(
                    f"device.cpus are core numbers, big or little, got {self.cpus!r}; name cores"
                )
        elif self.cpus is not None:
            self._check_cores(self.cpus)

    def _check_cores(self, cpus: tuple[int, ...]) -> None:
        if not 1 <= len(cpus) <= MOST_CORES or any(
            type(cpu) is not int or not 0 <= cpu <= 1_000_000 for cpu in cpus
        ):
            raise ConfigError(
                f"device.cpus are core numbers from 0 on, got {list(cpus)[:8]!r}; name others"
            )
        if len(set(cpus)) != len(cpus):
            raise ConfigError("device.cpus must be distinct core numbers; name each core once")
        if len(cpus) < self.threads:
            raise ConfigError(
                f"device.cpus must be at least as many as threads ({self.threads}), got "
                f"{len(cpus)}; name more cores"
            )

    @property
    def phone(self) -> PhoneSettings:
        """Those that are of phones."""
        names = [each.name for each in dataclasses.fields(PhoneSettings)]
        return PhoneSettings(**{name: getattr(self, name) for name in names})

    @property
    def pinned(self) -> tuple[int, ...] | None:
        """The cores named by number; None leaves the choice to the device."""
        return self.cpus if isinstance(self.cpus, tuple) else None


def device_kind(name: str) -> Kind:
    """What a device's name means; see `DeviceSettings`."""
    if name == HOST:
        return "host"
    if is_table(name):
        return "table"
    return "plug-in" if _PLACE.fullmatch(name) else "phone"


def make_device(settings: DeviceSettings) -> Device:
    """Make the device of a run. A phone is one object however often it is asked for.

    Whether a phone is there shows when it is first asked something. Raises `ConfigError`,
    `PluginError` for what is no class of a device, and what opening a table raises.
    """
    match device_kind(settings.id):
        case "host":
            from netadapt.android_runner.runner.host import HostDevice

            return HostDevice()
        case "table":
            return open_replay(settings.id)
        case "plug-in":
            return _plugged_in(settings.id, settings.options)
        case "phone":
            cluster: Cluster = "little" if settings.cpus == "little" else "big"
            return _phone(settings.id, settings.phone, cluster)


@functools.cache
def _phone(name: str, settings: PhoneSettings, cluster: Cluster) -> PhoneDevice:
    from netadapt.android_runner.phone.device import PhoneDevice

    return PhoneDevice(None if name == ONLY_PHONE else name, settings, cluster=cluster)


def _plugged_in(place: str, options: Mapping[str, object]) -> Device:
    from netadapt.android_runner.plugins import load_class
    from netadapt.checked import validated

    kind = load_class(place, Device, "device")
    wanted = getattr(kind, "settings_class", None)
    known = [each.name for each in dataclasses.fields(wanted)] if wanted is not None else []
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(
            f"device.options of {place} are {', '.join(known) or 'none'}, got {unknown[0]!r}; "
            "correct or leave it out"
        )
    made = kind() if wanted is None else kind(validated(wanted, options, "device.options"))
    assert isinstance(made, Device)
    return made
