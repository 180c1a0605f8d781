"""The budgets of a run: each is searched for by itself, in one super-network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netadapt.settings import budget_label as label
from netadapt.settings import several

if TYPE_CHECKING:
    from netadapt.settings import ConstraintSettings


COUNTED = ("macs", "params", "planned_memory_bytes")


@dataclass(frozen=True, slots=True)
class Budget:
    """What one search of a run is given: a share of the reference's latency, or milliseconds.

    Both are None where latency has no budget.

    Parameters
    ----------
    label: distinguishes the searches of a run and names their folders.
    """

    label: str
    latency_share: float | None = None
    latency_ms: float | None = None

    def in_ms(self, reference_ms: float) -> float | None:
        """The latency to meet; `reference_ms` is what the space's reference network takes."""
        if self.latency_share is not None:
            return self.latency_share * reference_ms
        return self.latency_ms


def budgets_of(constraints: ConstraintSettings) -> tuple[Budget, ...]:
    """The budgets that a run file asks for, the largest first; at least one."""
    if constraints.latency_share is not None:
        shares = several(constraints.latency_share)
        return tuple(
            Budget(label(share), latency_share=share) for share in sorted(shares, reverse=True)
        )
    if constraints.latency_ms is not None:
        limits = several(constraints.latency_ms)
        return tuple(Budget(f"{label(ms)}ms", latency_ms=ms) for ms in sorted(limits, reverse=True))
    counted = [name for name in COUNTED if getattr(constraints, name) is not None]
    metrics = [name.rpartition(":")[2] for name in constraints.metrics]
    return (Budget("-".join((*counted, *metrics))),)
