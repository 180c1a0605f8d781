"""What a kernel is: one layer as the runtime executes it, known by its shapes alone.

Symbols: `B` batch (always 1 on the device), `C` channels, `H`, `W` height and width.

A kernel type is one frozen dataclass with integer or text fields. Deriving from `Kernel` registers
it; its file holds everything about it: shapes, MACs, parameters, features, the module that runs it
and how a module of a network is recognised as this kernel.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from netadapt.profiler.errors import UnknownKernelError, UnknownLayerError
from netadapt.profiler.keys import parse_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netadapt.profiler.graph import Node

Shape = tuple[int, ...]

_TYPES: dict[str, type[Kernel]] = {}
MAX_SIZE = 2**31 - 1
"""Of any field: no tensor of a phone has a dimension beyond it."""


@dataclass(frozen=True)
class Kernel(ABC):
    """One layer as the runtime executes it; equality and hash go by type and fields."""

    type_name: ClassVar[str]
    module_type: ClassVar[type[nn.Module]]
    """The module class that runs this kernel alone, and by which a network's layer is known."""
    is_layer: ClassVar[bool] = True
    """Whether others of the type tell its latency; what is no layer of ours is only looked up."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "type_name" in cls.__dict__:
            if cls.type_name in _TYPES:
                raise TypeError(f"kernel type {cls.type_name!r} is registered twice")
            _TYPES[cls.type_name] = cls

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (str, "str"):
                if not isinstance(value, str):
                    raise ValueError(
                        f"a kernel's {field.name} is a name, got {value!r} for "
                        f"{type(self).type_name}; e.g. activation='relu'"
                    )
            elif not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
                raise ValueError(
                    f"a kernel's {field.name} is a whole number, at least 1 and at most "
                    f"{MAX_SIZE}, got {str(value)[:40]} for {type(self).type_name}; a removed "
                    "layer has no kernel"
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

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node]) -> Sequence[Kernel]:
        """The kernels of this type that the backend's `nodes`, of which there may be more, may be.

        A guess by the first of them: `netadapt.profiler.recognition` holds it against the nodes
        that the kernel really has. None unless a type says how to tell.
        """
        return ()

    @property
    def input_elements(self) -> int:
        """Elements of all inputs together."""
        return sum(math.prod(shape) for shape in self.input_shapes)

    @property
    def output_elements(self) -> int:
        """Elements of the output."""
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
    """Every registered type of layer by its name."""
    return {name: cls for name, cls in _TYPES.items() if cls.is_layer}


@lru_cache(maxsize=1 << 16)
def _parse(key: str) -> Kernel:
    parsed = parse_key(key)
    if parsed is None or parsed[0] not in _TYPES:
        raise UnknownKernelError(
            f"a kernel key reads `type(field=value, ...)` with a type of {sorted(_TYPES)}, "
            f"got {key[:200]!r}; was it written by a newer version?"
        )
    name, fields = parsed
    cls = _TYPES[name]
    try:
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise UnknownKernelError(
            f"the fields of a {name} kernel are "
            f"{[f.name for f in dataclasses.fields(cls)]}, got {key[:200]!r} ({error})"
        ) from error


def kernel_of(module: nn.Module, inputs: Sequence[Shape]) -> Kernel | None:
    """The kernel `module` is, or None for a module that is not a layer (containers, identity)."""
    for cls in _TYPES.values():
        if type(module) is cls.module_type:
            return cls.from_module(module, inputs)
    return None


@torch.no_grad()
def record_kernels(network: nn.Module, input_shape: Shape) -> list[Kernel]:
    """The kernels of `network` in the order they run on an input of `input_shape`.

    What runs outside the modules of registered kernel types must be free on the device: reshapes,
    and what does nothing in eval mode (dropout, identity). A batch other than 1 is refused by the
    kernels themselves.

    Raises `UnknownLayerError` that names the layers for a network in which anything else runs.
    """
    recorder = _Recorder(network)
    training = network.training
    network.eval()
    try:
        with recorder.attached():
            x = torch.zeros(input_shape)
            with recorder:
                network(x)
    finally:
        network.train(training)
    if recorder.unknown:
        layers = [f"{name} ({', '.join(ops)})" for name, ops in recorder.unknown.items()]
        more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
        raise UnknownLayerError(
            f"a network is made of known kernels ({', '.join(sorted(_TYPES))}), "
            f"{type(network).__name__} has others: {', '.join(layers[:_NAMED])}{more}; build it of "
            "netadapt.profiler.kernels' modules, add a kernel type, or time it as a whole only"
        )
    return recorder.kernels


_NAMED = 6  # unknown layers in a message

_FREE = {"view", "_unsafe_view", "_reshape_alias", "reshape", "squeeze", "unsqueeze", "detach"}
_FREE |= {"alias", "lift_fresh"}
"""Operators that move nothing: they give a contiguous tensor another shape, or the same."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Notes the kernels of a network's known modules, and all operators that run outside them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []
        self.unknown: dict[str, list[str]] = {}
        self._network = network
        self._running: list[str] = []
        self._known = 0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listening to the modules of the network."""
        known = {cls.module_type for cls in _TYPES.values()}
        handles = []
        for name, module in self._network.named_modules():
            label = f"{name or 'forward'}: {type(module).__name__}"
            enter = functools.partial(self._enter, label, type(module) in known)
            leave = functools.partial(self._leave, type(module) in known)
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        operator = func.overloadpacket.__name__
        if not self._known and operator not in _FREE:
            operators = self.unknown.setdefault(self._running[-1], [])
            if operator not in operators:
                operators.append(operator)
        return func(*args, **(kwargs or {}))

    def _enter(
        self, label: str, known: bool, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> None:
        if known and not self._known:
            inputs = [tuple(x.shape) for x in (*args, *kwargs.values())]
            kernel = kernel_of(module, inputs)
            assert kernel is not None  # its type is known
            self.kernels.append(kernel)
        self._known += known
        self._running.append(label)

    def _leave(self, known: bool, module: nn.Module, inputs: Any, output: Any) -> None:
        self._known -= known
        self._running.pop()
