"""The budgets of a run: each is searched for by itself, in one super-network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netadapt.config import ConstraintsSection


@dataclass(frozen=True, slots=True)
class Budget:
    """What one search of a run is given: a share of the reference's latency, or milliseconds.

    label: tells the searches of a run apart and names their folders. Both others are None where
    latency has no budget.
    """

    label: str
    latency_share: float | None = None
    latency_ms: float | None = None

    def in_ms(self, reference_ms: float) -> float | None:
        """The latency to meet; `reference_ms` is what the space's reference network takes."""
        if self.latency_share is not None:
            return self.latency_share * reference_ms
        return self.latency_ms


def budgets_of(constraints: ConstraintsSection) -> tuple[Budget, ...]:
    """The budgets that a run file asks for, the largest first; at least one."""
    if constraints.latency_share is not None:
        shares = several(constraints.latency_share)
        return tuple(
            Budget(label(share), latency_share=share) for share in sorted(shares, reverse=True)
        )
    if constraints.latency_ms is not None:
        limits = several(constraints.latency_ms)
        return tuple(Budget(f"{label(ms)}ms", latency_ms=ms) for ms in sorted(limits, reverse=True))
    return (Budget("-".join(constraints.model_dump(exclude_none=True))),)


def several(value: float | tuple[float, ...]) -> tuple[float, ...]:
    """One number or several of a run file, as several."""
    return value if isinstance(value, tuple) else (value,)


def label(value: float) -> str:
    """A number as part of a label: `0.5`, `12`."""
    return f"{value:g}"
