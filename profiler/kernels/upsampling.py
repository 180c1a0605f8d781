"""Up-sampling to twice the height and width.

The backend has bilinear up-sampling; nearest is lowered as a product with ones, which is exact
(`netadapt.profiler.rewrites`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Self

from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels.base import Kernel, Shape

if TYPE_CHECKING:
    from netadapt.profiler.graph import Node

UPSAMPLINGS: Final = ("nearest", "bilinear")
"""By name; a space's dimension has places in here, from 1."""

_NEAREST = (
    *("StaticTranspose", "StaticTranspose", "StaticReshape", "Multiply", "StaticReshape"),
    *("StaticTranspose", "StaticTranspose"),
)
"""Out of the backend's layout, pixels last and apart, times ones, and back again."""


class Upsample(nn.Module):
    """`(B, C, H, W)` to `(B, C, 2H, 2W)`; bilinear with half-pixel centres."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in UPSAMPLINGS:
            raise ValueError(f"an up-sampling is one of {UPSAMPLINGS}, got {mode!r}; choose one")
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "nearest":
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class UpsampleKernel(Kernel):
    """`(1, C, H, W)` to `(1, C, 2H, 2W)`."""

    type_name: ClassVar[str] = "upsample"
    module_type: ClassVar[type[nn.Module]] = Upsample

    mode: str
    channels: int
    height: int
    width: int

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((1, self.channels, self.height, self.width),)

    @property
    def output_shape(self) -> Shape:
        return (1, self.channels, 2 * self.height, 2 * self.width)

    def module(self) -> nn.Module:
        return Upsample(self.mode).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, Upsample)
        (_, channels, height, width) = inputs[0]
        return cls(module.mode, channels, height, width)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        ops = tuple(node.op for node in nodes[: len(_NEAREST)])
        mode = "bilinear" if ops[0] == "StaticResizeBilinear2D" else "nearest"
        before = nodes[0].inputs[0][1].dims
        if len(before) != 4 or (mode == "nearest" and ops != _NEAREST):
            return ()
        (_, height, width, channels) = before
        return [cls(mode, channels, height, width)]
