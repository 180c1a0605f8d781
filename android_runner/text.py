"""Words that came from elsewhere, fit for a terminal and a log."""

from __future__ import annotations


def printable(text: object) -> str:
    """`text` as one line that a terminal shows and does not obey.

    White space becomes single spaces; what is no visible character (escape sequences, marks that
    turn the direction of writing, halves of characters) becomes its escape, such as ``\\x1b``.
    """
    line = " ".join(str(text).split())
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in line
    )
