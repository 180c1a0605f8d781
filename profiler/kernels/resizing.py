"""Images at the size that a network takes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class Resize(nn.Module):
    """Brings images `(B, C, H, W)` to `size`, height and width in pixels.

    A network begins with it where one batch serves networks of several resolutions. No kernel: what
    is lowered takes images of its own size, and nothing is left of it.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, images: Tensor) -> Tensor:
        """See `resized`."""
        return resized(images, self.size)


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """`images` `(B, C, H, W)` at this height and width, smoothed where they shrink."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return functional.interpolate(images, tuple(size), mode="bilinear", antialias=True)
