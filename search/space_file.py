"""A space's file: TOML in, checked for names and types; out come the arguments of `Space`."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netadapt.search.errors import SpaceFileError, shown

SPACES = Path(__file__).parent / "spaces"


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A layer with a plain width (no bypass): the stem, the head, the hidden linear layer.

    `searched` false fixes it at the reference's width.
    """

    width: int
    max_width: int
    stride: int = 1
    searched: bool = True


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """A row of the reference's table, and how large the block may get.

    `expansion` 0: no expand layer, and a plain width instead of a bypass (the first block).
    """

    kernel_size: int
    width: int
    max_width: int
    activation: str
    stride: int
    expansion: int = 0
    max_expansion: int = 0
    se: bool = False
    searched: bool = True

    @property
    def fused_activation(self) -> str:
        """What the runtime fuses into the convolutions; h-swish is a layer of its own."""
        return "relu" if self.activation == "relu" else "none"


def read_space_text(name_or_path: str | Path) -> tuple[str, str]:
    """The text of a space's file, and where it is: one of `SPACES` by name, or a TOML file.

    Raises `SpaceFileError`.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = SPACES / f"{name_or_path}.toml"
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in SPACES.glob("*.toml")))
        raise SpaceFileError(
            f"a space is one of {known} or a TOML file, got {str(name_or_path)!r}; "
            "check the spelling"
        ) from error
    except (OSError, ValueError) as error:  # not readable, not UTF-8, no path at all
        raise _unreadable(path, error) from error


def parse_space(text: str, where: str | Path) -> dict[str, Any]:
    """The table that a space's text is; errors name it `where`. Raises `SpaceFileError`."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, or nested without end
        raise _unreadable(where, error) from error


def load_space_table(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """The parsed file of a space, and where it is. Raises `SpaceFileError`."""
    text, where = read_space_text(name_or_path)
    return parse_space(text, where), where


def _unreadable(where: str | Path, error: Exception) -> SpaceFileError:
    return SpaceFileError(
        f"a space's file is readable TOML, {where} is not ({shown(str(error))}); correct it"
    )


def space_arguments(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The arguments of `Space` from a parsed file; errors name it `where`.

    Raises `SpaceFileError`.
    """
    read = _Reader(table, where)
    arguments: dict[str, Any] = {
        "name": read.take("name", str),
        "in_channels": read.take("in_channels", int),
        "resolution": read.take("resolution", int),
        "classes": read.take("classes", int),
        "width_step": read.take("width_step", int),
        "kernel_sizes": tuple(read.many("kernel_sizes", int)),
        "bypass": read.take("bypass", bool, True),
        "dropout": _as_float(read.take("dropout", (int, float), 0.0)),
    }
    for name in ("stem", "head", "hidden"):
        layer = _Reader(read.take(name, dict), f"{where}: [{name}]")
        width = layer.take("width", int)
        arguments[name] = LayerSpec(
            width,
            layer.take("max_width", int, width),
            layer.take("stride", int) if name == "stem" else 1,
            layer.take("searched", bool, True),
        )
        layer.finish()
    blocks = []
    for index, row in enumerate(read.many("blocks", dict)):
        block = _Reader(row, f"{where}: block {index}")
        width, expansion = block.take("width", int), block.take("expansion", int, 0)
        blocks.append(
            BlockSpec(
                kernel_size=block.take("kernel_size", int),
                expansion=expansion,
                max_expansion=block.take("max_expansion", int, expansion),
                width=width,
                max_width=block.take("max_width", int, width),
                se=block.take("se", bool, False),
                activation=block.take("activation", str),
                stride=block.take("stride", int),
                searched=block.take("searched", bool, True),
            )
        )
        block.finish()
    read.finish()
    return arguments | {"blocks": tuple(blocks)}


def _as_float(value: float) -> float:
    """An integer may be larger than any float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


_REQUIRED = object()


class _Reader:
    """Takes typed values out of a TOML table and complains about what is left."""

    def __init__(self, table: dict[str, Any], where: str) -> None:
        self._left = dict(table)
        self._where = where

    def take(
        self, key: str, kind: type | tuple[type, ...], default: object = _REQUIRED
    ) -> Any:  # as many types as keys
        value = self._left.pop(key, default)
        if value is _REQUIRED:
            raise SpaceFileError(f"{self._where}: {key} is missing; add it")
        self._check(key, value, kind)
        return value

    def many(self, key: str, kind: type) -> list[Any]:
        values = self.take(key, list)
        for value in values:
            self._check(key, value, kind)
        return list(values)

    def finish(self) -> None:
        if self._left:
            raise SpaceFileError(
                f"{self._where}: {', '.join(sorted(self._left))} is not known; check the spelling"
            )

    def _check(self, key: str, value: object, kind: type | tuple[type, ...]) -> None:
        # In Python a bool is an int; in a space's file it is a mistake.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = [k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))]
            raise SpaceFileError(
                f"{self._where}: {key} is of type {' or '.join(names)}, got {shown(value)}; "
                "correct it"
            )
