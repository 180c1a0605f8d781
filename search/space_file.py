"""A space's file: TOML in, a table out, and the reader that families take typed values with."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

from netadapt.android_runner.text import shown
from netadapt.search.errors import SpaceFileError

SPACES = Path(__file__).parent / "spaces"


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
        raise SpaceFileError(
            f"a space is one of {', '.join(_names())} or a TOML file, got {str(name_or_path)!r}; "
            "check the spelling"
        ) from error
    except (OSError, ValueError) as error:  # not readable, not UTF-8, no path at all
        raise _unreadable(path, error) from error


def parse_space(text: str, where: str | Path) -> dict[str, Any]:
    """The table that a space's text is; errors name it `where`. Raises `SpaceFileError`.

    With `extends = "name"`, one of `SPACES`, its keys stand where the text has none.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, or nested without end
        raise _unreadable(where, error) from error
    base = table.pop("extends", None)
    if base is None:
        return table
    if base not in _names():
        raise SpaceFileError(
            f"{where}: extends is one of {', '.join(_names())}, got {shown(base)}; check the "
            "spelling, or copy what the file is to have"
        )
    return parse_space(*read_space_text(base)) | table


def load_space_table(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """The parsed file of a space, and where it is. Raises `SpaceFileError`."""
    text, where = read_space_text(name_or_path)
    return parse_space(text, where), where


def _names() -> list[str]:
    return sorted(path.stem for path in SPACES.glob("*.toml"))


def _unreadable(where: str | Path, error: Exception) -> SpaceFileError:
    return SpaceFileError(
        f"a space's file is readable TOML, {where} is not ({shown(str(error))}); correct it"
    )


_REQUIRED = object()


class TableReader:
    """Takes typed values out of a TOML table and complains about what is left.

    Everything raises `SpaceFileError` that names the table `where`.
    """

    def __init__(self, table: dict[str, Any], where: str) -> None:
        self._left = dict(table)
        self._where = where

    def take(
        self, key: str, kind: type | tuple[type, ...], default: object = _REQUIRED
    ) -> Any:  # as many types as keys
        """The value of `key`, of this type; the default where it is not there."""
        if key in self._left:
            value = self._left.pop(key)
            self._check(key, value, kind)
            return value
        if default is _REQUIRED:
            raise SpaceFileError(f"{self._where}: {key} is missing; add it")
        return default

    def number(self, key: str, default: object = _REQUIRED) -> float:
        """A float; an integer larger than any is infinite."""
        return _as_float(self.take(key, (int, float), default))

    def many(
        self, key: str, kind: type | tuple[type, ...], default: object = _REQUIRED
    ) -> list[Any]:
        """The values of a list, each of this type."""
        values = self.take(key, list, default)
        for value in values:
            self._check(key, value, kind)
        return list(values)

    def numbers(self, key: str, default: object = _REQUIRED) -> tuple[float, ...]:
        """The floats of a list."""
        return tuple(map(_as_float, self.many(key, (int, float), default)))

    def table(self, key: str, default: dict[str, Any] | None = None) -> TableReader | None:
        """A reader of the table under `key`; None where neither it nor a default is there."""
        found = self.take(key, dict, default)
        return None if found is None else TableReader(found, f"{self._where}: [{key}]")

    def finish(self) -> None:
        """Raises for keys that nobody has taken."""
        if self._left:
            raise SpaceFileError(
                f"{self._where}: {', '.join(sorted(self._left))} is not known; check the spelling"
            )

    def refuse(self, key: str, rule: str, value: object) -> SpaceFileError:
        """What to raise for a `value` of `key` that is against the rule."""
        return SpaceFileError(f"{self._where}: {key} {rule}, got {shown(value)}; correct it")

    def _check(self, key: str, value: object, kind: type | tuple[type, ...]) -> None:
        # In Python a bool is an int; in a space's file it is a mistake.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = [k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))]
            raise SpaceFileError(
                f"{self._where}: {key} is of type {' or '.join(names)}, got {shown(value)}; "
                "correct it"
            )


def _as_float(value: float) -> float:
    """An integer may be larger than any float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
