"""Words that came from elsewhere, fit for a terminal and a log."""

from __future__ import annotations

LONGEST_SHOWN = 120


def shown(value: object) -> str:
    """A value as an error shows it: one line of bounded length, whatever somebody has written."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no integers of some 4,300 digits or more
        return "a value too long to show"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def printable(text: object) -> str:
    r"""`text` as one line that a terminal shows and does not obey.

    White space becomes single spaces; what is no visible character (escape sequences, marks that
    turn the direction of writing, halves of characters) becomes its escape, such as ``\x1b``.
    """
    line = " ".join(str(text).split())
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in line
    )
