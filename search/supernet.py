"""The seam of super-networks: one set of weights for all archs of a space.

Which sub-network is meant is always an argument, and so are the batch-norm statistics that were
re-estimated for it: nothing about an arch is kept in the module. `B` is images in a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels import ConvNorm
from netadapt.search.errors import ArchError, no_mixtures
from netadapt.search.mixture import Mixture
from netadapt.search.space import Arch, Space


class Norm(Protocol):
    """What is asked of a batch norm; `torch.nn.BatchNorm2d` is one."""

    weight: Any
    bias: Any
    running_mean: Tensor | None
    running_var: Tensor | None
    eps: float
    momentum: float | None


@dataclass(slots=True)
class MaskedNorm:
    """A batch norm whose output is multiplied channel by channel.

    Its scale and shift are, which gives the same: nothing of the output's size is kept for the
    gradient of the mask.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    eps: float
    momentum: float | None

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, mask: Tensor) -> Self:
        """`mask` `(channels,)`, of all of them."""
        return cls(
            norm.weight * mask,
            norm.bias * mask,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.momentum,
        )


Normalize = Callable[[str, Norm, Tensor], Tensor]
"""(convolution's name, its batch norm, input) to output."""


@dataclass(frozen=True, slots=True)
class NormStats:
    """Mean and variance of a batch norm's inputs, each `(channels,)`."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, slots=True)
class BatchNormStats:
    """Statistics of every batch norm of a sub-network, by the convolution's name.

    A sub-network with fewer channels may use them too: it takes the first.
    """

    norms: Mapping[str, NormStats]

    def of(self, name: str, channels: int) -> NormStats:
        """Those of the first `channels`. Raises `ArchError` where there are not as many."""
        found = self.norms.get(name)
        if found is None or len(found.mean) < channels:
            raise ArchError(
                f"statistics belong to the arch they are used for, got none for {channels} "
                f"channels of {name}; calibrate this arch"
            )
        return NormStats(found.mean[:channels], found.variance[:channels])

    def normalize(self, name: str, norm: Norm, x: Tensor) -> Tensor:
        """Normalise x `(B, channels, H, W)` by these statistics and the norm's scale and shift."""
        return batch_norm(norm, x, self.of(name, x.shape[1]), momentum=None)


class SuperNetwork(nn.Module, ABC):
    """Weights of all archs of `space`; `Space.supernetwork` makes one.

    A family writes `compute`. The rest holds where every weight of a sub-network is the first
    channels, and the centre of the kernel, of the weight of that name in `network`, the full
    arch's, whose convolutions with norms are `ConvNorm` modules.
    """

    def __init__(self, space: Space, network: nn.Module) -> None:
        super().__init__()
        self.space = space
        self.network = network

    @abstractmethod
    def compute(self, x: Tensor, archs: Arch | Sequence[Arch], normalize: Normalize) -> Tensor:
        """`forward` with `normalize` in place of every batch norm; resizes x to the archs' inputs.

        Raises `ArchError` for archs that do not fit.
        """

    def compute_mixture(self, x: Tensor, mixture: Mixture, normalize: Normalize) -> Tensor:
        """`mixed` with `normalize` in place of every batch norm.

        A family that a differentiable search takes writes this too. Raises `ArchError`.
        """
        raise no_mixtures("space", self.space.name, "outputs of a mixture")

    def mixed(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Outputs `(B, classes)` of images `(B, *space.input_shape[1:])` for a mixture of archs.

        One forward pass, however many archs there are; differentiable in the probabilities. Of a
        mixture that is one arch the outputs are that arch's. Raises `ArchError` for a mixture that
        does not fit, and of a family without mixtures.
        """
        return self.compute_mixture(x, mixture, self._by_buffers)

    def forward(
        self, x: Tensor, archs: Arch | Sequence[Arch], stats: BatchNormStats | None = None
    ) -> Tensor:
        """Outputs `(B, classes)` of images `(B, *space.input_shape[1:])`.

        Raises `ArchError` for archs or statistics that do not fit.

        Parameters
        ----------
        archs: one for all images (computed at its own, small size), or one an image.
        stats: statistics to normalise with in eval mode; None takes the running averages of
            training, which are a mixture of all sub-networks'. Training uses the batch's own.
        """
        if stats is not None and self.training:
            raise ArchError(
                "statistics are for eval mode, got them in training; call .eval() first"
            )
        return self.compute(x, archs, self._by_buffers if stats is None else stats.normalize)

    def _by_buffers(self, name: str, norm: Norm, x: Tensor) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        stats = NormStats(norm.running_mean[: x.shape[1]], norm.running_var[: x.shape[1]])
        return batch_norm(norm, x, stats, norm.momentum if self.training else None)

    @torch.no_grad()
    def calibrate(self, arch: Arch, images: Tensor, *, batch_size: int = 256) -> BatchNormStats:
        """The batch-norm statistics of `arch` on `images` `(N, *space.input_shape[1:])`.

        The statistics of training are those of a mixture of sub-networks and fit none of them
        (assumption, measured: a full network at 15 % accuracy reaches 91 % with its own). Means
        over batches of `batch_size`; the super-network is left as it was.
        """
        training = self.training
        collected: dict[str, NormStats] = {}
        self.eval()  # no dropout
        try:
            for batch in torch.split(images, batch_size):
                share = len(batch) / len(images)

                def collect(name: str, norm: Norm, x: Tensor, share: float = share) -> Tensor:
                    seen = NormStats(x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1]))
                    x = batch_norm(norm, x, seen, momentum=1.0)
                    if name not in collected:
                        collected[name] = NormStats(seen.mean * share, seen.variance * share)
                    else:
                        collected[name].mean.add_(seen.mean, alpha=share)
                        collected[name].variance.add_(seen.variance, alpha=share)
                    return x

                self.compute(batch, arch, collect)
        finally:
            self.train(training)
        return BatchNormStats(collected)

    @torch.no_grad()
    def extract(self, arch: Arch, stats: BatchNormStats | None = None) -> nn.Module:
        """The stand-alone network of `arch` with its weights and `stats`, in eval mode.

        On `space.fit_images(x, arch)` it gives what `forward(x, arch, stats)` gives in eval mode.
        `stats` None takes the running averages. The weights are copies.
        """
        network = self.space.network(arch, generator=torch.Generator())
        weights = self.network.state_dict()
        for name, value in network.state_dict().items():
            value.copy_(part_of_weight(weights[name], value.shape))
        for name, layer in network.named_modules():
            if stats is None or not isinstance(layer, ConvNorm):
                continue
            target = norm_of(layer)
            found = stats.of(name, target.num_features)
            assert target.running_mean is not None
            assert target.running_var is not None
            target.running_mean.copy_(found.mean)
            target.running_var.copy_(found.variance)
        return network.eval()

    @torch.no_grad()
    def write(self, weights: Mapping[str, Tensor]) -> None:
        """Put the weights of a stand-alone network of the space in the places `extract` reads.

        Every other weight stays as it is.
        """
        own = self.network.state_dict()
        for name, value in weights.items():
            part_of_weight(own[name], value.shape).copy_(value)


def calibrate(
    supernet: SuperNetwork, arch: Arch, images: Tensor, *, batch_size: int = 256
) -> BatchNormStats:
    """`supernet.calibrate(arch, images, batch_size=batch_size)`, which see."""
    return supernet.calibrate(arch, images, batch_size=batch_size)


def extract(supernet: SuperNetwork, arch: Arch, stats: BatchNormStats | None = None) -> nn.Module:
    """`supernet.extract(arch, stats)`, which see."""
    return supernet.extract(arch, stats)


def norm_of(layer: ConvNorm) -> nn.BatchNorm2d:
    """The layer's batch norm, which no layer of a super-network lacks."""
    assert layer.norm is not None
    return layer.norm


def part_of_weight(weight: Tensor, shape: Sequence[int]) -> Tensor:
    """The first channels and the centre of the kernel, as a view of `shape`."""
    index = [slice(0, size) for size in shape]
    for axis in range(2, len(shape)):
        margin = (weight.shape[axis] - shape[axis]) // 2
        index[axis] = slice(margin, margin + shape[axis])
    return weight[tuple(index)]


def batch_norm(norm: Norm, x: Tensor, stats: NormStats, momentum: float | None) -> Tensor:
    """By `stats`; with a momentum by the batch's own, which move `stats` by it, in place."""
    channels = x.shape[1]
    return functional.batch_norm(
        x,
        stats.mean,
        stats.variance,
        norm.weight[:channels],
        norm.bias[:channels],
        training=momentum is not None,
        momentum=momentum or 0.0,
        eps=norm.eps,
    )
