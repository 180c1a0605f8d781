"""The devices there are, as a person and a program want to see them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from netadapt.android_runner import DeviceError, HostDevice
from netadapt.console import Progress
from netadapt.text import one_line


@dataclass(frozen=True, slots=True)
class ListedCluster:
    """Cores that share a clock; max_khz is None where the device does not report it."""

    cores: tuple[int, ...]
    max_khz: int | None


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A line of `netadapt devices`.

    Attributes
    ----------
    id: what `--device` takes.
    serial: how adb calls a phone; it differs for phones on the network.
    state: `ready`, or adb's word.
    remedy: what to do when it is not ready, else "".
    runtime_version: of the runner on this machine; None for phones, which are not touched.
    asleep: cores that it has switched off at the moment.
    """

    id: str
    serial: str
    state: str
    remedy: str
    model: str
    soc: str
    os: str
    abi: str
    cores: int
    clusters: tuple[ListedCluster, ...]
    battery_pct: int | None
    charging: bool | None
    temperature_c: float | None
    runtime_version: str | None = None
    asleep: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.remedy and not self.os:
            return f"{self.id}  {self.model or 'a phone'}, {self.state}: {self.remedy}"
        facts = [self.model, *([self.soc] if self.soc != self.model else []), self.os]
        facts += [self.abi, self._cores()]
        if self.battery_pct is not None:
            facts.append(f"battery {self.battery_pct} %{' charging' if self.charging else ''}")
        if self.temperature_c is not None:
            facts.append(f"{self.temperature_c:.0f} degrees")
        if self.runtime_version:
            facts.append(f"ExecuTorch {self.runtime_version}")
        at = f" (at {self.serial})" if self.serial not in (self.id, "") else ""
        state = f"{self.state}: {self.remedy}" if self.remedy else self.state
        return one_line(f"{self.id}{at}  {', '.join(filter(None, facts))}; {state}")

    def _cores(self) -> str:
        clusters = " + ".join(
            f"{len(cluster.cores)} at {cluster.max_khz / 1e6:.2f} GHz"
            for cluster in self.clusters
            if cluster.max_khz
        )
        asleep = f"{len(self.asleep)} asleep" if self.asleep else ""
        known = ", ".join(filter(None, (clusters, asleep)))
        return f"{self.cores} core(s)" + (f" ({known})" if known else "")


def build_first(shown: Progress) -> None:
    """Compile this machine's runner, saying so, where that is still to be done.

    Raises `BuildError` where it cannot be.
    """
    from netadapt.android_runner.building.for_host import build_runner, runner_is_built

    if not runner_is_built():
        shown.say("this machine's runner is built first, once; that takes some 15 seconds")
        with shown.step("Building the runner"):
            build_runner()


def connect(address: str) -> str:
    """Have adb connect to a phone on the network; adb's answer.

    Raises `DeviceError` where it does not, `NoSuchDeviceError` for what is no ``host:port``.
    """
    from netadapt.android_runner import NoSuchDeviceError
    from netadapt.android_runner.phone import AdbServer, find_adb
    from netadapt.android_runner.phone.parsing import is_address

    if not is_address(address):
        raise NoSuchDeviceError(
            f"a phone on the network is named HOST:PORT, got {address!r}; see its wireless "
            "debugging page"
        )
    answer = one_line(AdbServer.from_environment().connect(address))
    if not answer.startswith(("connected to", "already connected to")):
        raise DeviceError(
            f"adb must connect to {address}, it did not ({answer}); switch wireless debugging on "
            f"and pair once: {find_adb().path} pair HOST:PORT"
        )
    return answer


def list_devices() -> tuple[list[ListedDevice], str]:
    """This machine and every phone that adb knows; why there are no phones, or ""."""
    from netadapt.android_runner.phone import find_adb, find_phones
    from netadapt.android_runner.phone.runners import remedy_for

    info = HostDevice().info()
    found = [
        ListedDevice(
            *(info.id, "", "ready", "", info.model, info.soc, info.os, info.abi, info.cores, ()),
            *(None, None, None, info.runtime_version),
        )
    ]
    try:
        phones = find_phones(runnable=remedy_for)
    except DeviceError as error:  # no adb: this machine is there all the same
        return found, str(error)
    if not phones:
        why = f"adb ({find_adb().path}) knows none; plug one in with USB debugging on, or name one "
        return found, f"{why}on the network with --connect HOST:PORT (docs/phone.md)"
    for phone in phones:
        battery = phone.battery
        clusters = tuple(
            ListedCluster(tuple(core.number for core in cores), cores[0].max_khz)
            for cores in phone.clusters
        )
        found.append(
            ListedDevice(
                phone.id,
                phone.serial,
                "ready" if phone.ready else phone.state if phone.state != "device" else "unusable",
                phone.remedy,
                phone.model,
                phone.soc,
                phone.os,
                phone.abi,
                len(phone.cores),
                clusters,
                battery.level_pct if battery else None,
                battery.powered if battery else None,
                phone.temperature_c,
                asleep=tuple(core.number for core in phone.cores if not core.online),
            )
        )
    return found, ""


def as_record(device: ListedDevice) -> dict[str, object]:
    """As JSON."""
    return dataclasses.asdict(device)
