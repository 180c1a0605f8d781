"""`result.json`: what a finished run reached, for people and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from android_runner.files import write_atomically
from netadapt.errors import RunFolderError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkResult(_Record):
    """One trained network.

    accuracy: the task's metric on the test split.
    predicted_ms: by the predictor as it was before the search measured networks.
    measured_ms: of the trained network, lowered and timed whole.
    depth: sum over the blocks of their width's share of the largest (assumption).
    arch: as `search.space.Arch.to_json` writes it.
    kernel_sizes: "own" (the reference's) or a number for all blocks; None for the found network.
    multiplier: of the reference's widths; None for the found network.
    """

    accuracy: Annotated[float, Field(allow_inf_nan=False)]
    predicted_ms: Positive
    measured_ms: Positive
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


class RunResult(_Record):
    """A finished run.

    scaled: the most accurate of `scaled_variants`, each the smallest width multiplier of its kernel
    sizes whose measured latency is not below the found network's; None where no width is that slow.
    constraints: what had to be met, by metric name, in ms, MACs, parameters or bytes.
    budget_ms: the latency constraint; None when there was none.
    search_score: the found network's validation score with the super-network's weights.
    found_alone_ms: the found network, timed twice by itself when the search settled on it.
    durations_s: wall time of each step, resumed parts added up.
    """

    version: Literal[1] = 1
    name: str
    metric: str
    higher_is_better: bool
    budget_ms: Positive | None
    constraints: dict[str, Positive]
    reference: NetworkResult
    found: NetworkResult
    scaled: NetworkResult | None
    scaled_variants: tuple[NetworkResult, ...]
    search_score: float
    found_alone_ms: tuple[Positive, Positive]
    evaluations: int
    iterations: int
    seed: int
    task_seed: int
    netadapt_version: str
    commit: str | None
    device: DeviceResult
    durations_s: dict[str, NotNegative]

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_atomically(path, f"{self.model_dump_json(indent=2)}\n".encode())

    @classmethod
    def load(cls, path: Path) -> RunResult:
        """Raises `RunFolderError` for a file that is not there or no result."""
        try:
            return cls.model_validate_json(path.read_bytes())
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
