"""A run's folder: which file is where, and whose it is."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from netadapt.android_runner.files import is_leftover, remove_leftovers, write_atomically
from netadapt.config import RunConfig, read_config, write_config
from netadapt.errors import RunFolderError
from netadapt.runs.budgets import budgets_of
from netadapt.search.space_file import load_space_table, read_space_text

_LOCK = ".lock"

TRAINED = "trained "
"""Begins the name of a trained network's row in the latency table."""


@dataclass(frozen=True, slots=True)
class SearchFolder:
    """The files of one of a run's searches; one for each budget."""

    path: Path

    @property
    def trials(self) -> Path:
        """Every step of the search: `netadapt.search.trials`."""
        return self.path / "trials.jsonl"

    @property
    def masking(self) -> Path:
        """How a differentiable search went: `netadapt.runs.masking_log`."""
        return self.path / "masking.jsonl"

    @property
    def architecture(self) -> Path:
        """The checkpoint of a differentiable search."""
        return self.path / "architecture.pt"

    @property
    def kept(self) -> Path:
        """The weights that a search which fine-tunes goes on from."""
        return self.path / "kept.pt"

    @property
    def training(self) -> Path:
        """Checkpoints of the final trainings: the found network and the scaled ones."""
        return self.path / "training"

    @property
    def program(self) -> Path:
        """The network for phones."""
        return self.path / "network.pte"

    @property
    def weights(self) -> Path:
        """The network's weights with its space and arch: `netadapt.runs.bundle.load_network`."""
        return self.path / "network.pt"

    @property
    def exported(self) -> Path:
        """The network for plain torch (`torch.export`)."""
        return self.path / "network.pt2"

    @property
    def examples(self) -> Path:
        """What the network makes of some images: `netadapt.runs.examples`."""
        return self.path / "examples.npz"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run; a file is there once the step that makes it is done."""

    path: Path

    @property
    def config(self) -> Path:
        """The run's configuration, every key written out."""
        return self.path / "run.toml"

    @property
    def space(self) -> Path:
        """The space's own file; what a run file names may be gone or changed by then."""
        return self.path / "space.toml"

    @property
    def table(self) -> Path:
        """The latency table."""
        return self.path / "latency.sqlite"

    @property
    def predictor(self) -> Path:
        """The predictor that was fitted to the table."""
        return self.path / "predictor.json.gz"

    @property
    def supernet(self) -> Path:
        """The super-network's checkpoint; complete after its last step."""
        return self.path / "supernet.pt"

    @property
    def training(self) -> Path:
        """The checkpoint of the reference's final training."""
        return self.path / "training"

    @property
    def metrics(self) -> Path:
        """How the trainings went: `netadapt.runs.training_log`."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The same for TensorBoard, where that is installed."""
        return self.path / "tensorboard"

    @property
    def environment(self) -> Path:
        """What else the run's figures depend on: torch's number of threads."""
        return self.path / "environment.json"

    @property
    def sessions(self) -> Path:
        """What whole networks took, session by session: `netadapt.runs.sessions`."""
        return self.path / "sessions.jsonl"

    @property
    def examples(self) -> Path:
        """The same of the reference, with the images: `netadapt.runs.examples`."""
        return self.path / "examples.npz"

    def search(self, label: str) -> SearchFolder:
        """The files of the search for the budget of that label (`netadapt.runs.budgets`)."""
        return SearchFolder(self.path / "found" / label)

    @property
    def durations(self) -> Path:
        """Wall time of the steps, part by part."""
        return self.path / "durations.jsonl"

    @property
    def result(self) -> Path:
        """What the run reached: `netadapt.runs.result`."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    def claim(self, config: RunConfig, *, adding: bool = False) -> RunConfig:
        """Make the folder this run's, or see that it is already; the configuration that holds.

        The space's file is copied into it. The budgets that hold are the folder's, of which
        `config` names some or all; `adding`: those of `config`, whatever the folder's are
        (`keep_budgets` makes them the folder's). Raises `RunFolderError` when it holds a run of
        another configuration, `SpaceFileError` where the space cannot be read.
        """
        text, _ = read_space_text(config.space.name)
        self.check(config, adding=adding)
        if not self.config.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_config(self._with_own_space(config), self.config)
        if not self.space.exists():
            write_atomically(self.space, text.encode())
        return config if adding else _with_budgets_of(config, read_config(self.config))

    def check(self, config: RunConfig, *, adding: bool = False) -> None:
        """Raises `RunFolderError` where `claim` would; changes nothing."""
        if not self.config.exists():
            self._check_ours()
            return
        differing = self._differing(config)
        if differing:
            raise RunFolderError(
                f"a run is continued with the settings it began with, {self.path} differs in "
                f"{', '.join(differing)}; give this run another folder, or remove that one"
            )
        if adding:
            return
        kept = read_config(self.config).search.constraints
        known = {budget.label for budget in budgets_of(kept)}
        for budget in budgets_of(config.search.constraints):
            if budget.label not in known:
                raise RunFolderError(
                    f"a run is continued with the budgets it has, {self.path} has "
                    f"{', '.join(sorted(known))} and not {budget.label}; add one with `netadapt "
                    f"search --from {self.path} --budget ...`, or give this run another folder"
                )

    def keep_budgets(self, config: RunConfig) -> None:
        """Make the budgets of `config` the folder's, everything else staying as it is."""
        kept = read_config(self.config)
        if kept.search.constraints != config.search.constraints:
            write_config(self._with_own_space(_with_budgets_of(kept, config)), self.config)

    def _with_own_space(self, config: RunConfig) -> RunConfig:
        """With the folder's copy of the space, unless the space is one that comes along."""
        if not config.space.name.endswith(".toml"):
            return config
        return replace(config, space=replace(config.space, name=self.space.name))

    def _differing(self, config: RunConfig) -> list[str]:
        """Keys whose values differ from this run's, but for those that decide nothing.

        Spaces are compared by what their files say: the run's own one is a copy.
        """
        old = read_config(self.config)
        before, after = old.decisive(), config.decisive()
        differing = [key for key in before | after if before.get(key) != after.get(key)]
        name = old.space.name
        copied_not_yet = Path(name) == self.space.resolve() and not self.space.exists()
        if name != config.space.name and not copied_not_yet:
            tables = [load_space_table(name)[0], load_space_table(config.space.name)[0]]
            if tables[0] != tables[1]:
                differing.append("space.name")
        return differing

    def _check_ours(self) -> None:
        if self.config.exists() or not self.path.exists():
            return
        others = (path for path in self.path.iterdir() if path.name != _LOCK)
        if not all(map(is_leftover, others)):
            raise RunFolderError(
                f"a run's folder is new, empty or a run's, {self.path} holds other files; "
                "give this run another folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while this one writes here; makes the folder.

        The system lets go of the lock when the process ends, however it does. Raises
        `RunFolderError` when another process writes here, or the folder is no run's.
        """
        self._check_ours()
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / _LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read(20).strip() or "unknown"
                raise RunFolderError(
                    f"one process at a time writes into a run's folder, {self.path} is in use by "
                    f"process {holder}; wait for its end, or give this run another folder"
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            remove_leftovers(self.path)
            yield

    def read_config(self) -> RunConfig:
        """The configuration of the run in this folder. Raises `RunFolderError` without one."""
        if not self.config.is_file():
            raise RunFolderError(
                f"a run's folder holds a run.toml, {self.path} has none; "
                "name a folder that `netadapt search` or `netadapt demo` made"
            )
        return read_config(self.config)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note the wall time of what is done within, also when it is interrupted."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            line = json.dumps({"step": step, "seconds": time.perf_counter() - begin})
            with self.durations.open("a") as file:
                file.write(f"{line}\n")
                file.flush()
                os.fsync(file.fileno())

    def durations_s(self) -> dict[str, float]:
        """Seconds by step, in the order the steps came first, parts added up."""
        total: dict[str, float] = {}
        if self.durations.exists():
            for line in self.durations.read_text(errors="replace").splitlines():
                try:
                    record = json.loads(line)
                    step, seconds = str(record["step"]), float(record["seconds"])
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    continue  # the last line of a killed run may be torn
                if math.isfinite(seconds) and seconds >= 0:
                    total[step] = total.get(step, 0.0) + seconds
        return total


def name_part(text: str) -> str:
    """A device's id or a space's name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _with_budgets_of(config: RunConfig, other: RunConfig) -> RunConfig:
    return config.with_constraints(other.search.constraints)
