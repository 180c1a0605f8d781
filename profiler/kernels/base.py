"""What a kernel is: one layer as the runtime executes it, known by its shapes alone.

Symbols: `B` batch (always 1 on the device), `C` channels, `H`, `W` height and width.

A kernel type is one frozen dataclass with integer or text fields. Deriving from `Kernel` registers
it; its file holds everything about it: shapes, MACs, parameters, features, the module that runs it
and how a module of a network is recognised as this kernel.
"""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from profiler.errors import UnknownKernelError

if TYPE_CHECKING:
    from collections.abc import Iterator

Shape = tuple[int, ...]

_TYPES: dict[str, type[Kernel]] = {}
_KEY = re.compile(r"(?P<type>[a-z0-9_]+)\((?P<fields>[a-z0-9_=, ]*)\)")


@dataclass(frozen=True)
class Kernel(ABC):
    """One layer as the runtime executes it; equality and hash go by type and fields."""

    type_name: ClassVar[str]
    module_type: ClassVar[type[nn.Module]]
    """The module class that runs this kernel alone, and by which a network's layer is known."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "type_name" in cls.__dict__:
            if cls.type_name in _TYPES:
                raise TypeError(f"kernel type {cls.type_name!r} is registered twice")
            _TYPES[cls.type_name] = cls

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise ValueError(
                    f"a kernel's {field.name} is at least 1, got {value} for "
                    f"{type(self).type_name}; a removed layer has no kernel"
                )

    @cached_property
    def key(self) -> str:
        """Stable text form, e.g. `linear(in_features=64, out_features=10)`; see `from_key`."""
        fields = (f"{f.name}={getattr(self, f.name)}" for f in dataclasses.fields(self))
        return f"{type(self).type_name}({', '.join(fields)})"

    @staticmethod
    def from_key(key: str) -> Kernel:
        """The kernel whose `key` this is. Raises `UnknownKernelError` for any other text."""
        return _parse(key)

    @property
    @abstractmethod
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs, batch of 1 included."""

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """Shape of the single output, batch of 1 included."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products; element-wise work counts 0."""
        return 0

    @property
    def params(self) -> int:
        """Trainable parameters, the normalisation's scale and shift included; 0 without any."""
        return 0

    @abstractmethod
    def module(self) -> nn.Module:
        """The module that runs this kernel alone, normalisation folded, in eval mode."""

    @classmethod
    @abstractmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        """The kernel that `module` is when it is given inputs of these shapes."""

    @property
    def input_elements(self) -> int:
        """Elements of all inputs together."""
        return sum(math.prod(shape) for shape in self.input_shapes)

    @property
    def output_elements(self) -> int:
        return math.prod(self.output_shape)

    @property
    def keeps_shape(self) -> bool:
        """One input, of the output's shape: copies of the kernel can be chained."""
        return self.input_shapes == (self.output_shape,)

    @property
    def carries_layout_cost(self) -> bool:
        """Whether the kernel, lowered alone, moves its tensors between NCHW and NHWC.

        The runtime computes convolutions and pooling in NHWC; element-wise kernels take any order.
        """
        return True

    def features(self) -> dict[str, float]:
        """What a predictor may know: every field, plus work and traffic, unscaled."""
        shape = {
            field.name: float(value)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), int)
        }
        return shape | {
            "macs": float(self.macs),
            "input_elements": float(self.input_elements),
            "output_elements": float(self.output_elements),
            "weights": float(self.params),
        }

    def example_inputs(self, seed: int = 0) -> tuple[Tensor, ...]:
        """Seeded standard-normal inputs of `input_shapes`, fp32."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(shape, generator=generator) for shape in self.input_shapes)


def kernel_types() -> dict[str, type[Kernel]]:
    """Every registered kernel type by its name."""
    return dict(_TYPES)


@lru_cache(maxsize=1 << 16)
def _parse(key: str) -> Kernel:
    match = _KEY.fullmatch(key)
    if match is None or match["type"] not in _TYPES:
        raise UnknownKernelError(
            f"a kernel key reads `type(field=value, ...)` with a type of {sorted(_TYPES)}, "
            f"got {key!r}; was it written by a newer version?"
        )
    cls = _TYPES[match["type"]]
    try:
        values: dict[str, int | str] = {}
        for item in filter(None, match["fields"].split(", ")):
            name, _, text = item.partition("=")
            values[name] = int(text) if text.isdecimal() else text
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UnknownKernelError(
            f"the fields of a {cls.type_name} kernel are "
            f"{[f.name for f in dataclasses.fields(cls)]}, got {key!r} ({error})"
        ) from error


def kernel_of(module: nn.Module, inputs: Sequence[Shape]) -> Kernel | None:
    """The kernel `module` is, or None for a module that is not a layer (containers, identity)."""
    for cls in _TYPES.values():
        if type(module) is cls.module_type:
            return cls.from_module(module, inputs)
    return None


@contextmanager
def _hooks(
    network: nn.Module, hook: Callable[[nn.Module, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    known = {cls.module_type for cls in _TYPES.values()}
    handles = [
        module.register_forward_pre_hook(hook)
        for module in network.modules()
        if type(module) in known
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def record_kernels(network: nn.Module, input_shape: Shape) -> list[Kernel]:
    """The kernels of `network` in the order they run on an input of `input_shape`.

    The network must be made of the modules of registered kernel types; what lies outside them is
    free (reshapes, identity). A batch other than 1 is refused by the kernels themselves.
    """
    recorded: list[Kernel] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kernel = kernel_of(module, [tuple(x.shape) for x in inputs])
        assert kernel is not None  # hooks sit on known types only
        recorded.append(kernel)

    training = network.training
    network.eval()
    try:
        with _hooks(network, hook):
            network(torch.zeros(input_shape))
    finally:
        network.train(training)
    return recorded
