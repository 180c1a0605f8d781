"""One point of a space of inverted residuals, and its text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from netadapt.search.errors import ArchError


@dataclass(frozen=True, slots=True)
class BlockArch:
    """One block of an arch.

    Parameters
    ----------
    width: M, filters of the project layer; 0 for a removed block.
    expansion: E; 0 for a removed block and for one that has no expand layer.
    kernel_size: k of the depthwise or dense convolution; None for a removed block.
    """

    width: int
    expansion: int
    kernel_size: int | None

    @property
    def removed(self) -> bool:
        return self.width == 0


REMOVED = BlockArch(0, 0, None)
"""The one form of a block that is not there."""


@dataclass(frozen=True, slots=True)
class InvertedResidualArch:
    """One point of a space; hashable.

    Parameters
    ----------
    stem, head, hidden: widths; 0 where the space has no such layer.
    resolution: height of the input in pixels; None where the space has one resolution only.
    """

    stem: int
    blocks: tuple[BlockArch, ...]
    head: int
    hidden: int
    resolution: int | None = None

    def to_json(self) -> str:
        """Stable one-liner: `{"stem": 16, "blocks": [[width, expansion, kernel], ...], ...}`."""
        record: dict[str, object] = {
            "stem": self.stem,
            "blocks": [[b.width, b.expansion, b.kernel_size] for b in self.blocks],
            "head": self.head,
            "hidden": self.hidden,
        }
        if self.resolution is not None:
            record["resolution"] = self.resolution
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of `to_json`'s text. Raises `ArchError`; whether a space has it is `validate`'s."""
        try:
            record = json.loads(text)
            blocks = tuple(
                BlockArch(_integer(width), _integer(expansion), _integer_or_none(kernel))
                for width, expansion, kernel in record["blocks"]
            )
            stem, head, hidden = (_integer(record[name]) for name in ("stem", "head", "hidden"))
            resolution = _integer_or_none(record.get("resolution"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArchError(
                f"an arch reads as `Arch.to_json` writes it, got {text[:200]!r} "
                f"({type(error).__name__}); take it from a trial log unchanged"
            ) from error
        return cls(stem, blocks, head, hidden, resolution)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"not an integer: {value!r}")
    return value


def _integer_or_none(value: object) -> int | None:
    return None if value is None else _integer(value)
