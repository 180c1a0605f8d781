"""MobileNet-like networks: (fused) inverted residual and plain residual blocks with CBC."""

from __future__ import annotations

from netadapt.search.families.inverted_residual.arch import (
    REMOVED,
    BlockArch,
    InvertedResidualArch,
)
from netadapt.search.families.inverted_residual.space import InvertedResidualSpace

__all__ = ["REMOVED", "BlockArch", "InvertedResidualArch", "InvertedResidualSpace"]
