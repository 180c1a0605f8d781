"""How long a model takes on a device, as a whole and kernel by kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from netadapt.android_runner.device import Device
from netadapt.profiler.lowering.cache import ProgramCache
from netadapt.profiler.lowering.recipe import NATIVE_RECIPE
from netadapt.profiler.lowering.subject import Subject
from netadapt.profiler.profile import OnProgress, Profiler
from netadapt.profiler.recognition import Part
from netadapt.profiler.row import Row
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable


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


class ModelTimer:
    """Times models on one device under one set of conditions, into one table.

    Kernels are timed in the layout that they have inside a model, and the models as they are
    shipped. What the table has already is not timed again, and what is alike is timed once.

    Parameters
    ----------
    settings
        How long all is timed; their recipe is not asked for.
    threads, cpus
        Of the runtime, and the cores that it is pinned to.
    """

    def __init__(
        self,
        device: Device,
        table: LatencyTable,
        cache: ProgramCache,
        settings: ProfileSettings | None = None,
        *,
        threads: int = 1,
        cpus: tuple[int, ...] | None = None,
    ) -> None:
        settings = dataclasses.replace(settings or ProfileSettings(), recipe=NATIVE_RECIPE)
        self._kernels, self._models = (
            Profiler(
                device, table, cache, settings,
                settings.spec(threads=threads, cpus=cpus, networks=networks),
            )
            for networks in (False, True)
        )  # fmt: skip
        self._table = table

    def time(
        self,
        name: str,
        program: bytes,
        parts: Sequence[Part] = (),
        on_progress: OnProgress | None = None,
    ) -> ModelTiming:
        """Time a program as a whole, and `parts` of it each by itself.

        Raises `MeasurementError` where the whole fails to run.
        """
        kernels = [part.kernel for part in parts]
        subjects = [Subject(kernel) for kernel in kernels]
        failures = self._kernels.kernels(subjects, on_progress).failures
        why = {failure.program: failure.message for failure in failures}
        whole = self._models.whole(name, program, kernels, on_progress)
        provenance = self._models.provenance
        rows = {row.key: row for row in self._table.rows(provenance, samples=False)}
        return ModelTiming(
            threads=provenance.threads,
            ms=whole.latency_us / 1e3,
            repeat_dev=whole.repeat_dev or 0.0,
            quality=whole.quality,
            parts=tuple(_timing(part, rows.get(part.kernel.key), why) for part in parts),
        )


def _timing(part: Part, row: Row | None, why: dict[str, str]) -> PartTiming:
    if row is None:
        return PartTiming(part, None, why.get(part.kernel.key, "not measured"))
    return PartTiming(part, row.latency_us / 1e3, "" if row.quality == "ok" else row.quality)
