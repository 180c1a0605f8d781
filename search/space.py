"""The seam of families: what a space of architectures is to everybody who searches in it.

A *family* is a kind of networks; a *space* is one family's allowed widths, kernel sizes and so on,
read from a TOML file whose `family` key says which class reads it; an *arch* is one immutable point
of a space. Searchers, metrics, trainings and reports know the names of this module only.

A family of your own is a class that derives from `Space` and one from
`netadapt.search.supernet.SuperNetwork`; `tests/contracts/space.py` holds what they have to keep.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from netadapt.android_runner.errors import PluginError
from netadapt.android_runner.text import shown
from netadapt.search.errors import ArchError, SpaceFileError, no_mixtures
from netadapt.search.space_file import parse_space, read_space_text

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from netadapt.profiler.kernels import Kernel
    from netadapt.search.mixture import Likely, Mixture
    from netadapt.search.supernet import SuperNetwork

BYTES_PER_ELEMENT = 4
"""Activations are fp32."""

DimensionKind = Literal["width", "kernel_size", "depth", "resolution", "operation"]
"""What a dimension chooses, and so how a batch may be drawn in it.

"width" and "depth": each image another value, at no cost (channels are masked). "kernel_size":
images of equal value stand together. "operation", such as an activation: each image another one, at
the price of computing all; its values have no size. "resolution": a batch has one, for it is
resized as a whole.
"""


class Arch(Hashable, Protocol):
    """One point of a space: immutable, hashable, equal where all of its values are."""

    def to_json(self) -> str:
        """Stable one-line text; `Space.arch_from_json` reads it back."""
        ...


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something to choose in a space.

    Parameters
    ----------
    name: unique in the space, e.g. "stem" or "blocks.3.width".
    values: ascending; 0 is among them where it removes what it belongs to.
    kind: of the choice.
    """

    name: str
    values: tuple[int, ...]
    kind: DimensionKind = "width"


@dataclass(frozen=True, slots=True)
class Part:
    """A run of consecutive kernels, and what they amount to; without kernels it is left out.

    Parameters
    ----------
    name: in reports, e.g. "block 3".
    peak_elements: largest number of activation elements alive at a time.
    """

    name: str
    kernels: tuple[Kernel, ...]
    macs: int
    params: int
    peak_elements: int

    @classmethod
    def of(cls, name: str, kernels: Sequence[Kernel]) -> Self:
        """Of kernels in the order they run; a last one with two inputs joins the part's own."""
        if not kernels:
            return cls(name, (), 0, 0, 0)
        joins = len(kernels) > 1 and len(kernels[-1].input_shapes) > 1
        kept = kernels[0].input_elements if joins else 0
        alive = [k.input_elements + k.output_elements for k in kernels]
        # The first and the last kernel count the part's input as their own already.
        between = [elements + kept for elements in alive[1:-1]]
        return cls(
            name,
            tuple(kernels),
            sum(k.macs for k in kernels),
            sum(k.params for k in kernels),
            max((alive[0], *between, alive[-1])),
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """A block, or another searched layer, as a report draws it.

    Parameters
    ----------
    size_px: height of its output.
    width: 0 where it is removed.
    expansion, max_expansion: 0 where it has none.
    kernel_size, activation: None where there is nothing to choose or nothing left.
    """

    name: str
    size_px: int
    width: int
    max_width: int
    expansion: int = 0
    max_expansion: int = 0
    kernel_size: int | None = None
    stride: int = 1
    se: bool = False
    activation: str | None = None

    @property
    def removed(self) -> bool:
        """Whether nothing of it is left."""
        return self.width == 0


class Space(ABC):
    """All architectures that a file describes.

    Attributes
    ----------
    family: what a space's file calls this class: a registered name, or "package.module:Class".
    name: how runs and logs call the space.
    classes: outputs of its networks.

    Its `repr` names all that the networks depend on: a run is resumed with the same one only.
    """

    family: ClassVar[str]

    if TYPE_CHECKING:  # not at run time: dataclasses would take a property for a field's default

        @property
        def name(self) -> str:
            """How runs and logs call the space."""
            ...

        @property
        def classes(self) -> int:
            """Outputs of its networks."""
            ...

    @classmethod
    def load(cls, name_or_path: str | Path, **options: object) -> Self:
        """One of this package's spaces by name ("digits"), or a TOML file of your own.

        Parameters
        ----------
        options: keys of the file to have another value (`bypass=False`); None: the file's own.

        Raises `SpaceFileError`, also where the space's family is not this class's.
        """
        return cls.from_text(*read_space_text(name_or_path), **options)

    @classmethod
    def from_text(cls, text: str, where: str = "space", /, **options: object) -> Self:
        """Of a file's text; `options` as for `load`. Raises `SpaceFileError`."""
        table = parse_space(text, where)
        changed = {key: value for key, value in options.items() if value is not None}
        return cls.from_table(table | changed, where)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str = "space") -> Self:
        """Of a parsed file; errors name it `where`. Raises `SpaceFileError`."""
        from netadapt.search.families import DEFAULT_FAMILY, FAMILIES

        rest = dict(table)
        family = rest.pop("family", DEFAULT_FAMILY)
        if not isinstance(family, str):
            raise SpaceFileError(
                f"{where}: family is a name or package.module:Class, got {shown(family)}; "
                "correct it"
            )
        try:
            found = FAMILIES.find(family)
        except PluginError as error:
            raise SpaceFileError(f"{where}: {error}") from error
        if not issubclass(found, cls):
            raise SpaceFileError(
                f"{where}: the family is {cls.family!r}, got {found.family!r}; name another space"
            )
        return found.read(rest, where)

    @classmethod
    @abstractmethod
    def read(cls, table: dict[str, Any], where: str) -> Self:
        """Of a parsed file without its `family`. Raises `SpaceFileError` for any it can't be."""

    @property
    def options(self) -> dict[str, bool]:
        """Keys of its file that a run may set and that tell its networks apart; see `load`."""
        return {}

    # The networks there are

    @property
    @abstractmethod
    def dimensions(self) -> tuple[Dimension, ...]:
        """All that has more than one value, in the order of the layers."""

    @abstractmethod
    def full(self) -> Arch:
        """The largest network: every dimension at its largest value."""

    @abstractmethod
    def reference(self) -> Arch:
        """The network that the file describes."""

    @abstractmethod
    def scaled(self, multiplier: float, kernel_size: int | None = None) -> Arch:
        """The reference with every searched width times `multiplier`, to the nearest step.

        `kernel_size` sets all kernels of searched size to it. Raises `ArchError` where the result
        is not in the space.
        """

    @abstractmethod
    def point(self, values: Sequence[int]) -> Arch:
        """The arch with one value for each of `dimensions`, in their order, in its one form.

        What a 0 removes is removed, whatever its other values are.
        """

    def points(self, values: NDArray[np.int64]) -> Sequence[Arch]:
        """`point` of each row of `values` `(B, dimensions)`: the archs of a batch.

        A family may give a sequence that makes them only when they are looked at.
        """
        return [self.point(row) for row in values.tolist()]

    @abstractmethod
    def value(self, arch: Arch, dimension: Dimension) -> int | None:
        """Of `arch`; 0 or None of what is removed.

        Raises `ArchError` for a dimension or an arch of another space.
        """

    @abstractmethod
    def with_value(self, arch: Arch, dimension: Dimension, value: int) -> Arch:
        """`arch` with this one value changed.

        Raises `ArchError` for a value that the dimension does not have, and for one given to what
        is removed and so has no other values to go with it.
        """

    @abstractmethod
    def validate(self, arch: Arch) -> None:
        """Raises `ArchError` unless `arch` is a point of this space in its one form."""

    @abstractmethod
    def arch_from_json(self, text: str) -> Arch:
        """The arch of `Arch.to_json`'s text. Raises `ArchError` for any other, or another's."""

    def random(self, rng: np.random.Generator) -> Arch:
        """Every dimension uniformly."""
        shares = rng.random(len(self.dimensions))
        return self.point(
            [d.values[int(s * len(d.values))] for d, s in zip(self.dimensions, shares, strict=True)]
        )

    def smaller(self, arch: Arch, dimension: Dimension) -> tuple[Arch, ...]:
        """All archs that differ in this dimension only and are smaller there, largest first."""
        current = self.value(arch, dimension)
        if not current:
            return ()
        values = (v for v in reversed(dimension.values) if v < current)
        return tuple(self.with_value(arch, dimension, v) for v in values)

    def count(self) -> int:
        """Archs in the space, each form once."""
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    # What they are made of

    @abstractmethod
    def parts(self, arch: Arch) -> Sequence[Part]:
        """What runs, part after part; every arch has the same parts, some without kernels."""

    def kernels(self, arch: Arch) -> tuple[Kernel, ...]:
        """The layers of `arch` in the order they run."""
        return tuple(kernel for part in self.parts(arch) for kernel in part.kernels)

    def kernels_by_part(self, arch: Arch) -> tuple[tuple[str, tuple[Kernel, ...]], ...]:
        """The same by part."""
        return tuple((part.name, part.kernels) for part in self.parts(arch))

    def likely_kernels(self, mixture: Mixture, *, effective: bool = False) -> Sequence[Likely]:
        """What a mixture of archs may hold, place by place, each kernel with its probability.

        A place's kernels exclude each other, so a sum over kernels has as its expected value the
        sum of all kernels' times their probabilities. `effective`: of the network in which every
        width is the mixture's mean instead (FBNetV2's effective shape). A family that a
        differentiable search takes writes this. Raises `ArchError`.
        """
        raise no_mixtures("space", self.name, "kernels of a mixture")

    def macs(self, arch: Arch) -> int:
        """Multiply-accumulates for one image."""
        return sum(part.macs for part in self.parts(arch))

    def params(self, arch: Arch) -> int:
        """Trainable parameters."""
        return sum(part.params for part in self.parts(arch))

    def planned_memory_bytes(self, arch: Arch) -> int:
        """Peak of the fp32 activations alive at a time, layer after layer, nothing in place."""
        return BYTES_PER_ELEMENT * max(part.peak_elements for part in self.parts(arch))

    def depth(self, arch: Arch) -> float:
        """How deep `arch` is: here its layers with weights."""
        return sum(kernel.params > 0 for kernel in self.kernels(arch))

    def drawing(self, arch: Arch) -> tuple[Layer, ...]:
        """The network part by part for a report: here as wide as each part's output."""

        def width(part: Part) -> int:
            return part.kernels[-1].output_shape[1] if part.kernels else 0

        size_px, layers = self.input_shape_of(arch)[2], []
        for part, largest in zip(self.parts(arch), self.parts(self.full()), strict=True):
            if part.kernels:
                _, _, *size = part.kernels[-1].output_shape
                size_px = size[0] if size else 1
            layers.append(Layer(part.name, size_px, width(part), width(largest)))
        return tuple(layers)

    # Their inputs and weights

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, int, int, int]:
        """Of one image at the largest resolution, batch of 1 included."""

    def input_shape_of(self, arch: Arch) -> tuple[int, int, int, int]:
        """Of one image for the network of `arch`, batch of 1 included."""
        del arch  # a space without a choice of resolutions
        return self.input_shape

    def fit_images(self, images: Tensor, arch: Arch) -> Tensor:
        """`images` `(B, C, H, W)` of any resolution at the one that `arch` takes."""
        from netadapt.profiler.kernels import resized

        return resized(images, self.input_shape_of(arch)[2:])

    @abstractmethod
    def network(self, arch: Arch, *, generator: torch.Generator | None = None) -> nn.Module:
        """The network of `arch` in training mode, initialised from `generator` (None: torch's own).

        Input `(B, *input_shape_of(arch)[1:])`, output `(B, classes)`; in a space with several
        resolutions it resizes images of other sizes first (`kernels.Resize`). Its weights have
        names that begin with letters, as the XNNPACK backend wants. Raises `ArchError` for an arch
        that is not in the space.
        """

    @abstractmethod
    def supernetwork(self, *, generator: torch.Generator | None = None) -> SuperNetwork:
        """One set of weights for all archs, initialised from `generator` (None: torch's own)."""


def not_allowed(name: str, value: object, allowed: Sequence[object]) -> ArchError:
    """What to raise for a value of `name` that is not among those `allowed`."""
    listed = ", ".join(map(str, allowed))
    return ArchError(f"{name} is one of {listed}, got {value}; choose one of them")
