"""Keys of a latency table's rows: kernels' by their fields, networks' by their content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

NETWORK = "network"
"""The type of rows of whole networks."""

_KEY = re.compile(r"(?P<type>[a-z0-9_]+)\((?P<fields>[^()\n]*)\)")
_MAX_DIGITS = 18  # of what fits into 64 bits


def parse_key(key: str) -> tuple[str, dict[str, int | str]] | None:
    """Type and fields of a kernel's key, `type(field=value, ...)`; None for any other text.

    The type need not be known. Whole numbers of up to 18 digits come as such.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    fields: dict[str, int | str] = {}
    for item in filter(None, match["fields"].split(", ")):
        name, separator, text = item.partition("=")
        if not separator or name in fields:
            return None
        number = text.isdecimal() and len(text) <= _MAX_DIGITS
        fields[name] = int(text) if number else text
    return match["type"], fields


def key_fields(key: str) -> dict[str, int | str]:
    """The fields of a kernel's key; none of a text that is no key."""
    parsed = parse_key(key)
    return {} if parsed is None else parsed[1]


def network_key(
    kernels: Sequence[str], input_shape: Sequence[int] | None, occasion: str = ""
) -> str:
    """The key of a network's row: a digest of its kernels' keys and the shape of its input.

    So the same network is the same row whatever it is called, and one arch in two spaces, or at
    two resolutions, is not.

    Parameters
    ----------
    occasion: distinguishes rows of equal kernels that are measured each by itself, e.g. before and
        after training; the program's digest where the kernels are not known.
    """
    shape = None if input_shape is None else list(input_shape)
    content = json.dumps([list(kernels), shape, occasion])
    return f"{NETWORK}({hashlib.sha256(content.encode()).hexdigest()[:32]})"
