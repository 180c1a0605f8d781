"""Damaged versions of valid input: what disks, networks, editors and hostile senders make of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

TOKENS = (
    b"Infinity", b"-Infinity", b"NaN", b"1e999", b"-1", b"0", b"-0.0", b"9" * 400, b"1" + b"0" * 30,
    b"null", b"true", b"[]", b"{}", b'""', b'"text"', b"[[[]]]", b"[" * 3000, b'{"a":' * 1500,
    b"\x00", b"\xff\xfe", b"\x1b[31m", b"../../../etc", b"%s%n", b"\n\n", b"\\u0000", b"\\ud800",
    "٣".encode(), b"1_000", b"0x10", b"inf", b"nan", b"1979-05-27", b"'", b'"', b",", b"=", b"]",
)  # fmt: skip
"""Values that some reader somewhere did not expect, as JSON, TOML and plain text have them."""

_VALUE = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|"[^"\n]{0,200}"|true|false|null')


def mutations(valid: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged versions of `valid`, the same for the same seed.

    One to three changes each: a value replaced by another kind of value, a bit flipped, a span
    removed, doubled or moved, something put in, the end cut off.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(valid)
        for _ in range(int(rng.integers(1, 4))):
            _mutate(data, rng)
        yield bytes(data)


def _mutate(data: bytearray, rng: np.random.Generator) -> None:
    token = TOKENS[int(rng.integers(len(TOKENS)))]
    begin = int(rng.integers(len(data) + 1))
    end = min(len(data), begin + int(rng.integers(1, 24)))
    match int(rng.integers(8)):
        case 0 | 1 | 2:
            # The next value behind a random place, the first one again after the last
            value = _VALUE.search(data, begin) or _VALUE.search(data)
            if value is not None:
                data[value.start() : value.end()] = token
        case 3 if begin < len(data):
            data[begin] ^= 1 << int(rng.integers(8))
        case 4:
            del data[begin:end]
        case 5:
            data[begin:begin] = data[begin:end]
        case 6:
            del data[begin:]
        case _:
            data[begin:begin] = token
