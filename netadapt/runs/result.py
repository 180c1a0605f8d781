"""`result.json`: what a finished run reached, for people and scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from netadapt.android_runner.files import write_atomically
from netadapt.errors import RunFolderError

VERSION: Literal[2] = 2

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkResult(_Record):
    """One trained network.

    Parameters
    ----------
    test_metric: the task's metric on the test split.
    test_others: other figures of the same outputs, by name, where the metric has any.
    test_images: so many images an accuracy is a share of; None for another metric.
    predicted_ms: by the predictor as it was before the search measured networks.
    latency_ratio: the trained network's latency, lowered and timed whole, over the reference's in
        the same session of the device; 1 for the reference. What a share of it is held against.
    measured_ms: `latency_ratio` times the reference's latency, which the run measured once, before
        its first search, among kernels of the table (`netadapt.runs.network_timer`), so that
        figures of sessions at different levels of the clock, budgets added later among them, are
        comparable.
    measured_spread: half-width of the 90 % interval around `latency_ratio`, as a share of it; for
        the reference, around its milliseconds, which all others have in common.
    depth: sum over the blocks of their width's share of the largest (assumption).
    arch: as `netadapt.search.space.Arch.to_json` writes it.
    kernel_sizes: "own" (the reference's) or a number for all blocks; None for the found network.
    multiplier: of the reference's widths; None for the found network.
    """

    test_metric: Finite
    test_others: dict[str, Finite] = Field(default_factory=dict)
    test_images: Count | None
    predicted_ms: Positive
    measured_ms: Positive
    measured_spread: NotNegative
    latency_ratio: Positive | None
    macs: Count
    params: Count
    planned_memory_bytes: Count
    depth: NotNegative
    arch: str
    kernel_sizes: str | None = None
    multiplier: Positive | None = None


class DeviceResult(_Record):
    """What the latencies were measured on; as in the latency table's provenance."""

    id: str
    model: str
    soc: str
    os: str
    abi: str
    runtime_version: str
    runner_sha256: str
    precision: str
    threads: int
    cpus: str


class SearchOutcome(_Record):
    """What came of one budget of a run.

    Parameters
    ----------
    label: the budget's (`netadapt.runs.budgets`); the search's files are in `found/<label>`.
    budget_ms: the latency constraint; None when there was none.
    latency_share: as which share of the reference's latency it was given, None when it was not.
    constraints: what had to be met, by metric name, in ms, MACs, parameters or bytes.
    scaled: the most accurate of `scaled_variants`, each the smallest width multiplier of its kernel
        sizes whose measured latency is not below the found network's; None where no width is that
        slow.
    search_score: the found network's validation score with the super-network's weights.
    search_lead: by how much the loss of the next best candidate of the same iteration was above the
        found network's on the same images, and the standard error of that; None where scores are no
        losses, or there was no other.
    found_alone_ms: the found network, timed twice when the search settled on it, before training.
    """

    label: Annotated[str, Field(min_length=1)]
    budget_ms: Positive | None
    latency_share: Positive | None
    constraints: dict[str, Positive]
    found: NetworkResult
    scaled: NetworkResult | None
    scaled_variants: tuple[NetworkResult, ...]
    search_score: float
    search_lead: tuple[float, NotNegative] | None = None
    found_alone_ms: tuple[Positive, Positive]
    evaluations: int
    iterations: int


class RunResult(_Record):
    """A finished run.

    Parameters
    ----------
    searches: one for each budget, the largest first.
    torch_threads: that the trainings and searches used; with others, weights differ a little.
    durations_s: wall time of each step, resumed parts added up.
    """

    version: Literal[2] = VERSION
    name: str
    metric: str
    higher_is_better: bool
    reference: NetworkResult
    searches: Annotated[tuple[SearchOutcome, ...], Field(min_length=1)]
    seed: int
    task_seed: int
    torch_threads: Count
    netadapt_version: str
    commit: str | None
    device: DeviceResult
    durations_s: dict[str, NotNegative]

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_atomically(path, f"{self.model_dump_json(indent=2)}\n".encode())

    @classmethod
    def load(cls, path: Path) -> RunResult:
        """Raises `RunFolderError` for a file that is not there or no result of this version."""
        try:
            content = path.read_bytes()
            _check_version(path, content)
            return cls.model_validate_json(content)
        except FileNotFoundError as error:
            raise RunFolderError(
                f"a finished run has a result, found none at {path}; let the run finish first"
            ) from error
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(map(str, problem["loc"])) or "the file"
            raise RunFolderError(
                f"a result reads as this version writes it, in {path} {key} does not: "
                f"{problem['msg']}; remove the file and run again"
            ) from error


def _check_version(path: Path, content: bytes) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return  # what is wrong with it is said when it is validated
    if isinstance(document, dict) and document.get("version", VERSION) != VERSION:
        raise RunFolderError(
            f"this version reads results of version {VERSION}, {path} has version "
            f"{document['version']!r}; read it with the netadapt that wrote it, or give this run "
            "another folder"
        )
