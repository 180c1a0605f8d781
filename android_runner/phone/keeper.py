"""A phone's settings, changed for a session and put back.

Everything that is changed on a phone is written into a journal on the phone first, so that
whoever connects next puts it back, even after this process was killed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Final

from netadapt.android_runner.errors import DeviceError, UnsupportedDeviceError
from netadapt.android_runner.phone.adb import Adb, quote
from netadapt.android_runner.phone.discovery import PhoneInfo
from netadapt.android_runner.phone.parsing import CPU_FOLDER
from netadapt.android_runner.phone.settings import PhoneSettings
from netadapt.android_runner.phone.transport import FOLDER

logger = logging.getLogger(__name__)

FIXED_PERFORMANCE_SDK: Final = 30  # Android 11
_JOURNAL = f"{FOLDER}/restore"
_FIXED = "fixed-performance"
_SETTING = re.compile(
    rf"({CPU_FOLDER}/cpu\d{{1,4}}/cpufreq/scaling_[a-z_]+) ([A-Za-z0-9_-]{{1,32}})"
)


class Keeper:
    """Changes a phone's settings for a session and puts them back.

    Attributes
    ----------
    performance: what was reached, as in `DeviceInfo.performance`.
    """

    def __init__(self, adb: Adb, info: PhoneInfo, settings: PhoneSettings) -> None:
        self._adb = adb
        self._info = info
        self._settings = settings
        self._root = ""
        self.performance = "default"

    def apply(self, cpus: Sequence[int]) -> None:
        """Put back what an earlier session left, then set what this one wants.

        Raises `UnsupportedDeviceError` where root is needed and not there.
        """
        self.restore()
        reached = []
        if self._settings.sets_clock:
            reached.append(self._set_clock(cpus))
        elif self._settings.fixed_performance and self._info.sdk >= FIXED_PERFORMANCE_SDK:
            self._note([_FIXED])
            answer = self._adb.shell("cmd power set-fixed-performance-mode-enabled true")
            if answer.exit_code == 0:
                reached.append(_FIXED)
            else:
                logger.info("no fixed-performance mode: %s", " ".join(answer.err.split())[:200])
                self._adb.ask(f"rm -f {_JOURNAL}")
        self.performance = ", ".join(reached) or "default"

    def restore(self) -> None:
        """Put back what the phone's journal lists, whoever wrote it; harmless without one."""
        found = self._adb.shell(f"cat {_JOURNAL}")
        if found.exit_code != 0:
            return
        for line in found.out.splitlines():
            if line == _FIXED:
                self._adb.shell("cmd power set-fixed-performance-mode-enabled false")
            elif setting := _SETTING.fullmatch(line):
                self._write(setting[1], setting[2])
            elif line:
                logger.warning("not put back on phone %s: %r", self._adb.serial, line[:80])
        self._adb.ask(f"rm -f {_JOURNAL}")

    def _note(self, lines: Sequence[str]) -> None:
        """Write the journal, and see that it is on the storage before anything is changed."""
        self._adb.ask(
            f"mkdir -p {FOLDER} && printf '%s\\n' {quote(list(lines))} >{_JOURNAL}.new && "
            f"mv {_JOURNAL}.new {_JOURNAL} && sync"
        )

    def _set_clock(self, cpus: Sequence[int]) -> str:
        self._root = self._find_root()
        governor, freq_khz = self._settings.governor, self._settings.freq_khz
        first_of = {core.number: core.cluster[0] for core in self._info.cores}
        wanted = []
        for policy in sorted({first_of.get(cpu, cpu) for cpu in cpus}):
            folder = f"{CPU_FOLDER}/cpu{policy}/cpufreq"
            if governor is not None:
                wanted.append((f"{folder}/scaling_governor", governor))
            if freq_khz is not None:
                # The upper limit last when it falls and first when it rises; twice does for both
                limits = [f"{folder}/scaling_{end}_freq" for end in ("max", "min", "max")]
                wanted += [(path, str(freq_khz)) for path in limits]
        paths = list(dict.fromkeys(path for path, _ in wanted))
        values = self._adb.ask(f"cat {quote(paths)}").split()
        if len(values) != len(paths):
            raise DeviceError(
                f"phone {self._adb.serial} must report its clocks, got {values!r}; "
                "leave governor and frequency alone"
            )
        before = [f"{path} {value}" for path, value in zip(paths, values, strict=True)]
        self._note([*before, *[line for line in before if line.split()[0].endswith("max_freq")]])
        for path, value in wanted:
            self._write(path, value)
        now = dict(zip(paths, self._adb.ask(f"cat {quote(paths)}").split(), strict=False))
        for path, value in dict(wanted).items():
            if now.get(path) != value:
                raise DeviceError(
                    f"phone {self._adb.serial} must take {value} for {path}, it has "
                    f"{now.get(path)}; choose one that it offers"
                )
        parts = [] if governor is None else [f"governor={governor}"]
        return " ".join([*parts, *([] if freq_khz is None else [f"freq={freq_khz}kHz"])])

    def _write(self, path: str, value: str) -> None:
        command = f"echo {quote([value])} >{quote([path])}"
        if self._root or self._adb.shell("[ $(id -u) = 0 ]").exit_code != 0:
            self._root = self._root or self._find_root()
            command = f"{self._root} {quote([command])}"
        answer = self._adb.shell(command)
        if answer.exit_code != 0:
            logger.warning("phone %s did not take %s for %s", self._adb.serial, value, path)

    def _find_root(self) -> str:
        """The words that make the next one a script run as root."""
        for words in ("sh -c", "su 0 sh -c", "su -c"):
            answer = self._adb.shell(f"{words} 'id -u' 2>/dev/null")
            if answer.exit_code == 0 and answer.out.strip() == "0":
                return words
        raise UnsupportedDeviceError(
            f"only a rooted phone lets its clock be set, {self._adb.serial} is none (or did not "
            "allow it); leave governor and frequency alone"
        )
