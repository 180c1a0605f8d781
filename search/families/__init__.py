"""Families of networks, each a folder or a file here, found by the `family` of a space's file.

A new one is a class that derives from `netadapt.search.space.Space` and a line in `FAMILIES`, or,
from outside this package, `family = "package.module:Class"` in the file.
"""

from __future__ import annotations

from netadapt.android_runner.plugins import Registry
from netadapt.search.space import Space

FAMILIES: Registry[Space] = Registry(
    "family",
    Space,
    {
        "encoder_decoder": "netadapt.search.families.encoder_decoder:EncoderDecoderSpace",
        "inverted_residual": "netadapt.search.families.inverted_residual:InvertedResidualSpace",
    },
)

DEFAULT_FAMILY = "inverted_residual"
"""Of files that do not name one."""
