"""One point of a space of inverted residuals, and its text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from netadapt.search.errors import ArchError
from netadapt.search.families.arch_text import integer, integer_or_none
from netadapt.search.families.inverted_residual.activations import ACTIVATIONS


@dataclass(frozen=True, slots=True)
class BlockArch:
    """One block of an arch.

    Parameters
    ----------
    width: M, filters of the project layer; 0 for a removed block.
    expansion: E; 0 for a removed block and for one that has no expand layer.
    kernel_size: k of the depthwise or dense convolution; None for a removed block.
    se, activation: whether it has squeeze-excite, and its activation; None where the space has one
        choice only, and for a removed block.
    """

    width: int
    expansion: int
    kernel_size: int | None
    se: bool | None = None
    activation: str | None = None

    @property
    def removed(self) -> bool:
        return self.width == 0

    @classmethod
    def of_numbers(
        cls, width: int, expansion: int, kernel_size: int, se: int, activation: int
    ) -> Self:
        """Of the values of its dimensions; 0 of what the space has no choice of."""
        operations = named("se", se), named("activation", activation)
        return cls(width, expansion, kernel_size, *operations)

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """The inverse of `of_numbers`; all 0 of a removed block."""
        operations = numbered("se", self.se), numbered("activation", self.activation)
        return (self.width, self.expansion, self.kernel_size or 0, *operations)


REMOVED = BlockArch(0, 0, None)
"""The one form of a block that is not there."""

OPERATIONS: dict[str, tuple[object, ...]] = {"se": (False, True), "activation": ACTIVATIONS}
"""What a dimension of this kind chooses from: its values are places in here, from 1."""


def named(attribute: str, number: int) -> Any:
    """The operation that such a value stands for; None of 0, where there is no choice."""
    return OPERATIONS[attribute][number - 1] if number else None


def numbered(attribute: str, operation: object) -> int:
    """The inverse of `named`."""
    return 0 if operation is None else OPERATIONS[attribute].index(operation) + 1


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
        """Stable one-liner: `{"stem": 16, "blocks": [[width, expansion, kernel], ...], ...}`.

        Squeeze-excite and activation follow in a block whose space has a choice of them.
        """
        record: dict[str, object] = {
            "stem": self.stem,
            "blocks": [_listed(block) for block in self.blocks],
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
            blocks = tuple(_block(*values) for values in record["blocks"])
            stem, head, hidden = (integer(record[name]) for name in ("stem", "head", "hidden"))
            resolution = integer_or_none(record.get("resolution"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArchError(
                f"an arch reads as `Arch.to_json` writes it, got {text[:200]!r} "
                f"({type(error).__name__}); take it from a trial log unchanged"
            ) from error
        return cls(stem, blocks, head, hidden, resolution)


def _listed(block: BlockArch) -> list[object]:
    chosen = block.se is not None or block.activation is not None
    operations = [block.se, block.activation] if chosen else []
    return [block.width, block.expansion, block.kernel_size, *operations]


def _block(
    width: object, expansion: object, kernel: object, se: object = None, activation: object = None
) -> BlockArch:
    if not isinstance(se, bool | None) or not isinstance(activation, str | None):
        raise TypeError(f"not a block's operations: {se!r}, {activation!r}")
    return BlockArch(integer(width), integer(expansion), integer_or_none(kernel), se, activation)
