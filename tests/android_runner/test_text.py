"""Text of phones and files on its way to a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Pixel 6a", "Pixel 6a"),
        ("größe ☃ 電話", "größe ☃ 電話"),
        (" two\r\n lines\t ", "two lines"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202etxt.exe", r"abc\u202etxt.exe"),
        ("half \udc80", r"half \udc80"),
        ("a\u00a0b", "a b"),
        ("", ""),
        (7, "7"),
    ],
)
def test_a_terminal_shows_it_and_obeys_nothing(text: object, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_every_text_is_one_line_that_any_terminal_takes(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
