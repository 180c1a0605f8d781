"""The plain network of an arch, whatever its family."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from netadapt.search.space import Arch, Space


def build_network(
    space: Space, arch: Arch, *, generator: torch.Generator | None = None
) -> nn.Module:
    """`space.network(arch, generator=generator)`, which see."""
    return space.network(arch, generator=generator)
