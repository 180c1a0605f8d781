"""What is lowered and timed: a kernel, a chain of it, or a whole network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netadapt.profiler.kernels import Kernel, Shape
from netadapt.profiler.lowering.seam import Lowering


@dataclass(frozen=True, slots=True)
class Subject:
    """What is lowered and timed alone: `copies` of a kernel one after the other.

    One copy is the kernel itself. Chains of a kernel that keeps its shape carry the cost of the
    layout change at their ends once, so that two lengths tell it from the kernel's own time.
    """

    kernel: Kernel
    copies: int = 1

    def __post_init__(self) -> None:
        if self.copies < 1 or (self.copies > 1 and not self.kernel.keeps_shape):
            raise ValueError(
                "a chain has at least 1 copy of a kernel that keeps its shape, "
                f"got {self.copies} of {self.kernel.key}"
            )

    @property
    def name(self) -> str:
        """Readable and unique, e.g. `linear(in_features=64, out_features=64) x3`."""
        return self.kernel.key if self.copies == 1 else f"{self.kernel.key} x{self.copies}"

    def cache_key(self, lowering: Lowering) -> str:
        """Content of the program to come: its kernel, length, recipe and compiler versions."""
        return hashlib.sha256("\n".join((self.name, *lowering.stamp)).encode()).hexdigest()

    def module(self) -> nn.Module:
        """The module to lower, weights seeded."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if self.copies == 1:
                return self.kernel.module()
            return _Chain(self.kernel, self.copies).eval()


@dataclass(frozen=True, slots=True)
class ShapedNetwork:
    """A network and the shape of its input, batch of 1 included."""

    module: nn.Module
    input_shape: Shape


class _Chain(nn.Module):
    def __init__(self, kernel: Kernel, copies: int) -> None:
        super().__init__()
        # Named attributes, not a Sequential: an XNNPACK pass fails on names that begin with a digit
        for i in range(copies):
            self.add_module(f"copy{i}", kernel.module())

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x
