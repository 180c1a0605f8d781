"""How long a model takes on a device, as a whole and kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netadapt.profiler.lowering.subject import Subject
from netadapt.profiler.profile import OnProgress, Profiler
from netadapt.profiler.recognition import Part
from netadapt.profiler.row import Row


@dataclass(frozen=True, slots=True)
class PartTiming:
    """A kernel of a model and what it takes by itself.

    Parameters
    ----------
    part : Part
    ms : float, or None
        None where it cannot be timed by itself.
    doubt : str
        Why two runs of it are not believed, or why there is no time; "" where all is well.
    """

    part: Part
    ms: float | None
    doubt: str


@dataclass(frozen=True, slots=True)
class ModelTiming:
    """A model on a device.

    Parameters
    ----------
    threads : int
    ms : float
        Of the whole model.
    repeat_dev : float
        Its second run against the first, as a share.
    quality : str
        "ok", or why its two runs are not believed.
    parts : tuple of PartTiming
        Empty where they were not asked for.
    """

    threads: int
    ms: float
    repeat_dev: float
    quality: str
    parts: tuple[PartTiming, ...]

    @property
    def sum_ms(self) -> float:
        """Of all parts by themselves, as far as they could be timed."""
        return sum(timing.ms or 0.0 for timing in self.parts)


def time_model(
    profiler: Profiler,
    name: str,
    program: bytes,
    parts: Sequence[Part],
    on_progress: OnProgress | None = None,
    *,
    networks: Profiler | None = None,
) -> ModelTiming:
    """Time a program, and `parts` of it each by itself, into the profiler's table.

    What the table has already is not timed again, and what is alike is timed once.

    Parameters
    ----------
    profiler
        Of kernels in the layout that they have inside the model.
    networks
        The same for the whole, with more rounds; None takes `profiler`.

    Raises `MeasurementError` where the whole fails to run.
    """
    kernels = [part.kernel for part in parts]
    failures = profiler.kernels([Subject(kernel) for kernel in kernels], on_progress).failures
    why = {failure.program: failure.message for failure in failures}
    whole = (networks or profiler).whole(name, program, kernels, on_progress)
    rows = {row.key: row for row in profiler.table.rows(profiler.provenance, samples=False)}
    found = [_timing(part, rows.get(part.kernel.key), why) for part in parts]
    return ModelTiming(
        threads=profiler.provenance.threads,
        ms=whole.latency_us / 1e3,
        repeat_dev=whole.repeat_dev or 0.0,
        quality=whole.quality,
        parts=tuple(found),
    )


def _timing(part: Part, row: Row | None, why: dict[str, str]) -> PartTiming:
    if row is None:
        return PartTiming(part, None, why.get(part.kernel.key, "not measured"))
    return PartTiming(part, row.latency_us / 1e3, "" if row.quality == "ok" else row.quality)
