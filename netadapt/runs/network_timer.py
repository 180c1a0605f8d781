"""Whole networks' latencies on a device, as shares of the space's reference network.

The reference is timed once for all, among kernels that the latency table has, which takes the
clock's level of that moment out of it. From then on every session of the device holds the reference
too, and a network takes its share of the reference's latency in that session: a budget that is such
a share is compared within one session, one in milliseconds across sessions through the reference.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from netadapt.profiler.beside import NORMAL_90, Beside
from netadapt.profiler.errors import MeasurementError
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.lowering import ShapedNetwork, Subject, lower_networks
from netadapt.profiler.profile import OnProgress, Profiler, ProfileSummary
from netadapt.profiler.table import LatencyTable, Provenance
from netadapt.runs.parts import Parts
from netadapt.runs.sessions import DeviceSession, NetworkTiming, SessionLog
from netadapt.search.network import build_network
from netadapt.search.space import Arch, Space

logger = logging.getLogger(__name__)

COMPANIONS = 16
"""Kernels of the table that the reference is timed among, at most."""

FEWEST_COMPANIONS = 4
"""With fewer, nothing shows the clock's level, and the reference's latency is taken as it comes."""

MOST_DEVIATION = 0.05
"""Kernels that deviate by more (half of them) were not measured on one level, nor on two."""

CONFIRM_COMPANIONS = 3
"""Kernels beside a search's result, so that no round hangs on two programs alone."""


class NetworkTimer:
    """Times whole networks on a device; what a session of this run holds is not timed again."""

    def __init__(
        self,
        parts: Parts,
        table: LatencyTable,
        sessions: Path | None = None,
    ) -> None:
        """Times networks of the run's space into its table.

        Parameters
        ----------
        sessions: the file that they are kept in.
        """
        self._space = parts.space
        self._table = table
        self._profiler = Profiler(
            parts.device,
            table,
            settings=parts.config.profile,
            spec=parts.spec(networks=True),
        )
        self._log = SessionLog(sessions)
        self._companions: list[tuple[Subject, float]] | None = None

    @property
    def provenance(self) -> Provenance:
        """What the rows share that its measurements become."""
        return self._profiler.provenance

    def reference(self) -> tuple[float, float]:
        """Milliseconds of the space's reference network, and their `measured_spread`.

        Timed when first asked for. Raises `MeasurementError` when it fails to run.
        """
        reference = self._space.reference().to_json()
        for session in self._log:
            if session.purpose == "reference":
                return session.reference_ms, session.networks[reference].spread
        companions = self._known_kernels(COMPANIONS)
        subjects = [subject for subject, _ in companions]
        network = untrained(self._space, self._space.reference())
        timed = self._beside({reference: network}, reference, subjects)
        own = timed[reference]
        estimates_ms = [us / timed[s.name].ratio / 1e3 for s, us in companions if s.name in timed]
        reference_ms, spread = own.timing.latency_us / 1e3, own.spread
        if len(estimates_ms) >= FEWEST_COMPANIONS:
            median_ms = statistics.median(estimates_ms)
            deviation = statistics.median(abs(ms / median_ms - 1) for ms in estimates_ms)
            if deviation <= MOST_DEVIATION:
                reference_ms = median_ms
                # A normal deviation is 1.48 median ones; a median of n has 1.25 / sqrt(n) of it.
                spread = NORMAL_90 * 1.48 * 1.25 * deviation / len(estimates_ms) ** 0.5
            else:
                logger.warning(
                    "kernels of the table that the reference was timed among deviate by %.0f %% "
                    "from each other, so its latency is taken as it came; was the device busy "
                    "while it was profiled?",
                    100 * deviation,
                )
        timing = NetworkTiming(own.timing.latency_us, 1.0, spread, own.timing.quality)
        self._keep("reference", reference_ms, own, {reference: timing})
        return reference_ms, spread

    def measured(self, archs: Sequence[Arch]) -> list[float]:
        """Milliseconds of each arch's network: its share of the reference's, in one session.

        Raises `MeasurementError` when one fails to run.
        """
        reference_ms, _ = self.reference()
        known = self._known()
        unseen = {a.to_json(): untrained(self._space, a) for a in archs if a.to_json() not in known}
        if unseen:
            known |= self._session("networks", unseen)
        return [known[arch.to_json()].ratio * reference_ms for arch in archs]

    def twice(self, arch: Arch) -> tuple[float, float]:
        """Milliseconds of the arch's network in two sessions of their own, whatever is known."""
        reference_ms, _ = self.reference()
        name = arch.to_json()
        companions = [subject for subject, _ in self._known_kernels(CONFIRM_COMPANIONS)]
        networks = {name: untrained(self._space, arch)}
        first, second = (
            self._session("confirm", networks, companions=companions)[name].ratio for _ in range(2)
        )
        return first * reference_ms, second * reference_ms

    def together(
        self,
        networks: Mapping[str, ShapedNetwork],
        base: str,
        on_progress: OnProgress | None = None,
    ) -> dict[str, NetworkTiming]:
        """Trained networks by name, timed anew in one session; `base` names the reference."""
        return self._session("final", networks, base, on_progress=on_progress)

    def programs(self, archs: Sequence[Arch]) -> list[bytes]:
        """The programs of the archs' networks, lowered in parallel where the cache has none."""
        return lower_networks(
            [untrained(self._space, arch) for arch in archs],
            self._profiler.cache,
            lowering=self._profiler.lowering,
            workers=self._profiler.settings.workers,
        )

    def archs(self, archs: Sequence[Arch], on_progress: OnProgress | None = None) -> ProfileSummary:
        """See that the table has the networks of `archs`, weights as they are before training."""
        networks = {arch.to_json(): untrained(self._space, arch) for arch in archs}
        summary = self._profiler.networks(networks, on_progress)
        if summary.failures:
            failure = summary.failures[0]
            raise MeasurementError(
                f"a network must run on the device to be timed, {failure.program} failed "
                f"({failure.kind}: {failure.message}); see `netadapt devices`"
            )
        if summary.flagged:
            logger.warning(
                "%d network(s) could not be timed twice alike; close other programs for "
                "steadier latencies",
                summary.flagged,
            )
        return summary

    def _session(
        self,
        purpose: str,
        networks: Mapping[str, ShapedNetwork],
        base: str | None = None,
        companions: Sequence[Subject] = (),
        on_progress: OnProgress | None = None,
    ) -> dict[str, NetworkTiming]:
        """Time `networks` and keep the session; the reference is `base`, or comes on top."""
        reference_ms, _ = self.reference()
        if base is None:
            base = self._space.reference().to_json()
            networks = {base: untrained(self._space, self._space.reference())} | dict(networks)
        occasion = "trained" if purpose == "final" else ""
        timed = self._beside(networks, base, companions, on_progress, occasion)
        timings = {
            name: NetworkTiming(
                timed[name].timing.latency_us,
                timed[name].ratio,
                timed[name].spread,
                timed[name].timing.quality,
            )
            for name in networks
        }
        self._keep(purpose, reference_ms, timed[base], timings)
        return timings

    def _beside(
        self,
        networks: Mapping[str, ShapedNetwork],
        base: str,
        companions: Sequence[Subject],
        on_progress: OnProgress | None = None,
        occasion: str = "",
    ) -> dict[str, Beside]:
        return self._profiler.beside(
            networks,
            base,
            companions,
            on_progress,
            occasion=occasion,
        )

    def _keep(
        self,
        purpose: str,
        reference_ms: float,
        base: Beside,
        timings: Mapping[str, NetworkTiming],
    ) -> None:
        timing = base.timing
        started_at = timing.pooled.conditions.started_at
        self._log.append(
            DeviceSession(purpose, started_at, timing.sentinel_us, reference_ms, timings)
        )

    def _known(self) -> dict[str, NetworkTiming]:
        """What earlier sessions say of networks; the first one counts."""
        known: dict[str, NetworkTiming] = {}
        for session in self._log:
            if session.purpose in ("reference", "networks"):
                known = dict(session.networks) | known
        return known

    def _known_kernels(self, count: int) -> list[tuple[Subject, float]]:
        """Kernels of the table with their microseconds, at even ranks by latency."""
        if self._companions is None:
            rows = [
                row
                for row in self._table.rows(self.provenance)
                if row.kernels is None and row.quality == "ok"
            ]
            rows.sort(key=lambda row: row.latency_us)
            subjects = [(Subject(Kernel.from_key(r.key), r.copies), r.latency_us) for r in rows]
            cached = [pair for pair in subjects if self._profiler.program(pair[0])]
            self._companions = _at_even_ranks(cached, COMPANIONS)
        return _at_even_ranks(self._companions, count)


def untrained(space: Space, arch: Arch) -> ShapedNetwork:
    """The arch's network at its resolution, with the same weights each time.

    So its program is found in the cache.
    """
    network = build_network(space, arch, generator=torch.Generator().manual_seed(0))
    return ShapedNetwork(network, space.input_shape_of(arch))


def _at_even_ranks(
    ordered: Sequence[tuple[Subject, float]], count: int
) -> list[tuple[Subject, float]]:
    if not ordered:
        return []
    ranks = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[rank] for rank in ranks.tolist()]
