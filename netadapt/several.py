"""Profiling several devices at once: each in a process of its own, into a table of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from netadapt.android_runner.temporary import temporary_folder
from netadapt.config import RunConfig, write_config
from netadapt.console import Progress
from netadapt.runs.folder import name_part

_STOP_S = 30.0  # what a process gets to put its phone's settings back


@dataclass(frozen=True, slots=True)
class DeviceOutcome:
    """What became of one device: the summary that its process printed, or its last words."""

    device: str
    summary: dict[str, Any] | None
    error: str


def profile_each(
    config: RunConfig,
    devices: Sequence[str],
    tables: Mapping[str, Path] | None,
    threads: Sequence[int],
    progress: Progress,
) -> list[DeviceOutcome]:
    """Fill a table for each device; one that fails leaves the others alone.

    Everything is lowered before, since all want the same programs.

    Parameters
    ----------
    tables: by device; where None, each stands in a run folder of its own, `<folder>-<device>`.
    """
    from netadapt.runs.parts import Parts
    from netadapt.runs.profiling import lower_space

    lower_space(Parts(config), progress)
    with temporary_folder("netadapt-profile-") as folder:
        children: list[_Child] = []
        try:
            for index, device in enumerate(devices):
                children.append(_Child(folder, index, device, config, tables, threads))
            readers = [child.relay(progress) for child in children]
            for child in children:
                child.process.wait()
            for reader in readers:
                reader.join(timeout=5)
        except BaseException:
            for child in children:
                child.stop()
            raise
        return [child.outcome() for child in children]


class _Child:
    """`netadapt profile` for one device."""

    def __init__(
        self,
        folder: Path,
        index: int,
        device: str,
        config: RunConfig,
        tables: Mapping[str, Path] | None,
        threads: Sequence[int],
    ) -> None:
        self.device = device
        folder_of_its_own = f"{config.folder}-{name_part(device)}"
        own = {"device": {"id": device}, "run": {"folder": folder_of_its_own}}
        run = folder / f"{index}.toml"
        write_config(config.changed(own), run)
        command = [sys.executable, "-m", "netadapt", "profile", str(run), "--json"]
        if tables is not None:
            command += ["--table", str(tables[device])]
        for count in threads:
            command += ["--threads", str(count)]
        self._output = folder / f"{index}.json"
        self._last_words = ""
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace"
            )

    def relay(self, progress: Progress) -> threading.Thread:
        """Pass on what the process prints, marked with its device."""
        assert self.process.stderr is not None
        thread = threading.Thread(
            target=self._relay, args=(self.process.stderr, progress), daemon=True
        )
        thread.start()
        return thread

    def _relay(self, lines: IO[str], progress: Progress) -> None:
        for line in lines:
            self._last_words = line.strip() or self._last_words
            progress.say(f"{self.device}: {line.rstrip()}")

    def stop(self) -> None:
        """Break it off as Ctrl-C does, which a terminal has sent it already."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def outcome(self) -> DeviceOutcome:
        """After its end."""
        if self.process.returncode == 0:
            with contextlib.suppress(ValueError):
                return DeviceOutcome(self.device, json.loads(self._output.read_text()), "")
        last_words = self._last_words.removeprefix("netadapt: ")
        return DeviceOutcome(
            self.device, None, last_words or f"exit code {self.process.returncode}"
        )
