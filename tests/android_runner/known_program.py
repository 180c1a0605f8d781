"""The program that `netadapt runner check` runs, as a module; run this file to lower it anew.

It goes through what real programs go through: XNNPACK convolutions (1x1, depthwise), additions, a
linear layer, and a portable operator beside XNNPACK (the constants of hard-sigmoid).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

FILE = Path(__file__).parents[2] / "android_runner" / "runner" / "known" / "program.pte"


class Known(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.reduce = nn.Conv2d(8, 4, 1)
        self.grow = nn.Conv2d(4, 8, 1)
        self.classify = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = nn.functional.hardswish(self.expand(x))
        x = x + torch.relu(self.depthwise(x))
        squeezed = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        x = x * nn.functional.hardsigmoid(self.grow(squeezed))
        return self.classify(x.mean((2, 3))), x


def lower() -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    torch.manual_seed(0)
    module = Known().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(module, (torch.zeros(1, 3, 12, 12),))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(lower())
