"""FastDepth (Wofk et al., ICRA 2019, arXiv 1903.03273): one image to the depth of each pixel.

As NetAdapt pruned it: an encoder like MobileNetV1's, and a decoder that adds what the encoder knew
at the same size. Its weights are random: latency does not depend on them.

Symbols: `B` images, `C` channels, `H`, `W` pixels.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

ENCODER = (
    # channels, stride
    (16, 2), (56, 1), (88, 2), (120, 1), (144, 2), (256, 1), (408, 2),
    (376, 1), (272, 1), (288, 1), (296, 1), (328, 1), (480, 2), (512, 1),
)  # fmt: skip
DECODER = (200, 256, 120, 56, 16, 1)
SKIPS = {4: 1, 3: 3, 2: 5}
"""By up-sampling of the decoder, from 1, the layer of the encoder, from 0, that is added to it."""


class FastDepth(nn.Module):
    """`(B, 3, H, W)` to metres `(B, 1, H, W)`; H and W are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        (width, stride), *_ = ENCODER
        self.encoder = nn.ModuleList([_conv(3, width, 3, stride, act=nn.ReLU6)])
        for (before, _), (width, stride) in pairwise(ENCODER):
            self.encoder.append(_separable(before, width, 3, stride, act=nn.ReLU6))
        *inner, last = pairwise((width, *DECODER))
        self.decoder = nn.ModuleList(_separable(*both, 5, act=nn.ReLU) for both in inner)
        self.depth = _conv(*last, act=nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        """The depth of each pixel."""
        kept = {}
        for number, layer in enumerate(self.encoder):
            x = kept[number] = layer(x)
        for number, layer in enumerate(self.decoder, 1):
            x = functional.interpolate(layer(x), scale_factor=2, mode="nearest")
            if number in SKIPS:
                x = x + kept[SKIPS[number]]
        depth: Tensor = self.depth(x)
        return depth


def _separable(
    before: int, width: int, kernel_size: int, stride: int = 1, *, act: type[nn.Module]
) -> nn.Sequential:
    depthwise = _conv(before, before, kernel_size, stride, groups=before, act=act)
    return nn.Sequential(depthwise, _conv(before, width, act=act))


def _conv(
    before: int,
    width: int,
    kernel_size: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    act: type[nn.Module],
) -> nn.Sequential:
    """A convolution that keeps the size (for stride 1), its norm and activation."""
    return nn.Sequential(
        nn.Conv2d(before, width, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        act(),
    )
