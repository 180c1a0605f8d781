"""A recipe: how a module becomes a program, as a value that every row of a table carries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from netadapt.android_runner.text import shown
from netadapt.profiler.errors import RecipeError

DEFAULT_RECIPE = "xnnpack-fp32"
NATIVE_RECIPE = "xnnpack_native-fp32"
"""The same backend, with kernels by themselves in the layout that it computes in."""

_WORD = re.compile(r"[a-z0-9_]{1,40}")
_TEXT = re.compile(r"(?P<backend>[a-z0-9_]+)-(?P<precision>[a-z0-9_]+)-(?P<version>[0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What programs must share to be comparable: backend, precision, version.

    `str` gives its text, e.g. `xnnpack-fp32-1`, `parse` reads it. A change that alters the bytes of
    programs is a new version: it makes cached programs stale and keeps rows apart.

    Parameters
    ----------
    backend: what executes the program, e.g. `xnnpack`; lower-case letters, digits, underscores.
    precision: of its arithmetic, e.g. `fp32`; the same characters.
    version: 1 or more; 0 where nobody recorded one.

    Raises `RecipeError` for other values.
    """

    backend: str
    precision: str
    version: int

    def __post_init__(self) -> None:
        words = (self.backend, self.precision)
        if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in words) or not (
            isinstance(self.version, int) and 0 <= self.version < 1_000_000
        ):
            raise RecipeError(
                "a recipe has a backend and a precision of lower-case letters, digits and "
                f"underscores, and a version from 0, got {shown((*words, self.version))}; "
                "e.g. Recipe('xnnpack', 'fp32', 1)"
            )

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"

    @property
    def name(self) -> str:
        """What a run file calls it, whatever its version: `xnnpack-fp32`."""
        return f"{self.backend}-{self.precision}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The recipe whose text this is. Raises `RecipeError` for any other text."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise RecipeError(
                f"a recipe's text reads backend-precision-version, got {shown(text)}; "
                "e.g. xnnpack-fp32-1"
            )
        return cls(match["backend"], match["precision"], int(match["version"]))


UNKNOWN_RECIPE = Recipe("unknown", "unknown", 0)
"""Of latencies that somebody else measured and did not say how."""
