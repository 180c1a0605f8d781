"""A family from outside: plain stacks of 3x3 convolutions, each of one of a few widths.

Nothing of it is known to the package; a space's file names it: `family = "tests.toy_family:Stack"`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.profiler.kernels import (
    ConvNorm,
    GlobalPool,
    GlobalPoolKernel,
    Linear,
    LinearKernel,
    StandardConvKernel,
    StandardConvNorm,
)
from netadapt.search.errors import ArchError
from netadapt.search.space import Arch, Dimension, Part, Space, not_allowed
from netadapt.search.space_file import TableReader
from netadapt.search.supernet import Normalize, SuperNetwork, norm_of

STACK: dict[str, Any] = {
    "family": "tests.toy_family:Stack",
    "name": "stack",
    "in_channels": 2,
    "resolution": 8,
    "classes": 3,
    "layers": 2,
    "widths": [4, 8, 12],
    "width": 8,
}
"""A file of the family."""


@dataclass(frozen=True, slots=True)
class StackArch:
    widths: tuple[int, ...]

    def to_json(self) -> str:
        return json.dumps(self.widths)


@dataclass(frozen=True)
class Stack(Space):
    family: ClassVar[str] = "tests.toy_family:Stack"

    name: str
    in_channels: int
    resolution: int
    classes: int
    layers: int
    widths: tuple[int, ...]
    width: int

    @classmethod
    def read(cls, table: dict[str, Any], where: str) -> Self:
        read = TableReader(table, where)
        integers = ("in_channels", "resolution", "classes", "layers", "width")
        found = {key: read.take(key, int) for key in integers}
        space = cls(name=read.take("name", str), widths=tuple(read.many("widths", int)), **found)
        read.finish()
        return space

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        return tuple(Dimension(f"layers.{i}", self.widths) for i in range(self.layers))

    def full(self) -> StackArch:
        return StackArch((self.widths[-1],) * self.layers)

    def reference(self) -> StackArch:
        return StackArch((self.width,) * self.layers)

    def scaled(self, multiplier: float, kernel_size: int | None = None) -> StackArch:
        arch = StackArch((round(self.width * multiplier),) * self.layers)
        self.validate(arch)
        return arch

    def point(self, values: Sequence[int]) -> StackArch:
        return StackArch(tuple(values))

    def value(self, arch: Arch, dimension: Dimension) -> int:
        return self._own(arch).widths[self.dimensions.index(dimension)]

    def with_value(self, arch: Arch, dimension: Dimension, value: int) -> StackArch:
        if value not in dimension.values:
            raise not_allowed(dimension.name, value, dimension.values)
        own, index = self._own(arch), self.dimensions.index(dimension)
        return replace(own, widths=(*own.widths[:index], value, *own.widths[index + 1 :]))

    def validate(self, arch: Arch) -> None:
        own = self._own(arch)
        if len(own.widths) != self.layers:
            raise ArchError(f"an arch has {self.layers} layers, got {len(own.widths)}; correct it")
        for dimension, width in zip(self.dimensions, own.widths, strict=True):
            if width not in dimension.values:
                raise not_allowed(dimension.name, width, dimension.values)

    def arch_from_json(self, text: str) -> StackArch:
        try:
            arch = StackArch(tuple(json.loads(text)))
        except (ValueError, TypeError) as error:
            raise ArchError(f"an arch is a list of widths, got {text[:80]!r}; copy it") from error
        self.validate(arch)
        return arch

    def parts(self, arch: Arch) -> list[Part]:
        own, px = self._own(arch), self.resolution
        inputs = (self.in_channels, *own.widths)
        parts = [
            Part.of(f"layer {i + 1}", [StandardConvKernel(inputs[i], width, 3, 1, px, px, "relu")])
            for i, width in enumerate(own.widths)
        ]
        last = [GlobalPoolKernel(own.widths[-1], px, px), LinearKernel(inputs[-1], self.classes)]
        return [*parts, Part.of("classifier", last)]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (1, self.in_channels, self.resolution, self.resolution)

    def network(self, arch: Arch, *, generator: torch.Generator | None = None) -> StackNetwork:
        self.validate(arch)
        with torch.device("meta"):
            network = StackNetwork(self, self._own(arch))
        network.to_empty(device="cpu")
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(module.weight, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                nn.init.ones_(module.weight)
            if isinstance(module, nn.BatchNorm2d | nn.Linear):
                nn.init.zeros_(module.bias)
        return network

    def supernetwork(self, *, generator: torch.Generator | None = None) -> StackSuperNetwork:
        return StackSuperNetwork(self, self.network(self.full(), generator=generator))

    def _own(self, arch: Arch) -> StackArch:
        if not isinstance(arch, StackArch):
            raise ArchError(f"an arch of {self.name!r} is a StackArch, got {arch!r}; make one")
        return arch


class StackNetwork(nn.Module):
    def __init__(self, space: Stack, arch: StackArch) -> None:
        super().__init__()
        inputs = (space.in_channels, *arch.widths)
        for index, width in enumerate(arch.widths):
            layer = StandardConvNorm(inputs[index], width, 3, activation="relu")
            self.add_module(f"layer{index}", layer)
        self.pool = GlobalPool()
        self.classifier = Linear(inputs[-1], space.classes)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


class StackSuperNetwork(SuperNetwork):
    def compute(self, x: Tensor, archs: Arch | Sequence[Arch], normalize: Normalize) -> Tensor:
        own = [archs] if not isinstance(archs, Sequence) else archs
        if isinstance(archs, Sequence) and len(archs) != len(x):
            raise ArchError(f"there is one arch an image, got {len(archs)} for {len(x)}; add some")
        for arch in own:
            self.space.validate(arch)
        widths = torch.tensor([arch.widths for arch in own if isinstance(arch, StackArch)])
        for index in range(widths.shape[1]):
            layer = self.network.get_submodule(f"layer{index}")
            assert isinstance(layer, ConvNorm)
            filters = int(widths[:, index].max())
            weight = layer.conv.weight[:filters, : x.shape[1]]
            x = functional.conv2d(x, weight, padding=1)
            x = torch.relu(normalize(f"layer{index}", norm_of(layer), x))
            mask = torch.arange(filters) < widths[:, index, None]
            x = x * mask[:, :, None, None]
        classifier = self.network.get_submodule("classifier")
        assert isinstance(classifier, Linear)
        weight = classifier.linear.weight[:, : x.shape[1]]
        return functional.linear(x.mean((2, 3)), weight, classifier.linear.bias)
