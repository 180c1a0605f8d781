"""What families read the texts of their archs with; everything raises `TypeError`."""

from __future__ import annotations


def integer(value: object) -> int:
    """`value`, a whole number and no truth value."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"not an integer: {value!r}")
    return value


def integer_or_none(value: object) -> int | None:
    """The same, or None."""
    return None if value is None else integer(value)
