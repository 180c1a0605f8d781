"""The seam between modules and programs: one `Lowering` for each backend and precision.

A lowering is a class without state. Those that come along are registered in
`netadapt.profiler.lowering.registry`; anybody else's is named as `package.module:Class`. All pass
`tests/contracts/recipe.py`.
"""

from __future__ import annotations

import copy
import functools
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.kernels import ConvNorm, Shape
from netadapt.profiler.lowering.recipe import Recipe

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Constant = float | int | bool | str | Sequence[float] | Sequence[int] | Sequence[str]


class Draft(Protocol):
    """What a lowering read of a module, and writes as a program without exporting it."""

    @property
    def layers(self) -> Set[str]:
        """Kinds of what it was read from; one program of each is compared with the exporter's.

        None where the exporter makes no such program.
        """

    def content(self) -> str:
        """A digest of all that decides the program's bytes."""


class Lowering(ABC):
    """How modules become programs of one recipe.

    A subclass sets `recipe` and writes `to_program`; the rest is for those that need another way.
    What it makes of equal modules is equal to the byte, in any process.
    """

    recipe: ClassVar[Recipe]
    has_layout_cost: ClassVar[bool] = True
    """Whether a kernel's own program changes its tensors' layout, which it does not in a network;
    chains of kernels show what that costs."""
    exports_kernels: ClassVar[bool] = True
    """Whether a kernel that cannot be written may be exported: it is the same program then."""

    def versions(self) -> tuple[str, ...]:
        """Of the software that decides a program's bytes; they stand in every row."""
        return tuple(f"{name} {_version(name)}" for name in ("torch", "executorch"))

    @property
    def stamp(self) -> tuple[str, ...]:
        """What decides a program's bytes beside the module: the recipe, then `versions`."""
        return (str(self.recipe), *self.versions())

    def prepare(self, module: nn.Module) -> nn.Module:
        """A copy of `module` as it is exported: in eval mode, norms folded, tensors contiguous.

        Training leaves filters in channels-last order, which XNNPACK's layout passes refuse for
        more than one input channel. The order of a filter's bytes in the program is the backend's
        own choice, so nothing is lost.
        """
        ready = fold_norms(module)
        for tensor in (*ready.parameters(), *ready.buffers()):
            # Not `contiguous()`: it leaves the strides of dimensions of size 1 (1x1 filters) alone.
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
        return ready

    def export(self, module: nn.Module, inputs: Sequence[Tensor]) -> ExportedProgram:
        """The graph of `module`, prepared, for inputs of these shapes. Raises `LoweringError`."""
        contiguous = tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)
        with quiet():
            try:
                return torch.export.export(self.prepare(module), contiguous, strict=False)
            except Exception as error:  # torch.export documents no common base of what it raises
                raise refusal("torch.export", module, error) from error

    @abstractmethod
    def to_program(
        self, exported: ExportedProgram, constants: Mapping[str, Constant] | None = None
    ) -> bytes:
        """The bytes of a `.pte` program; `constants` as in `lower`. Raises `LoweringError`."""

    def draft(
        self, module: nn.Module, input_shapes: Sequence[Shape], *, kernel: bool = False
    ) -> Draft | None:
        """What `write` makes the program of `module` from; None where it has to be exported.

        Both are for a lowering that can do without the exporter: `write` gives the bytes that
        `to_program` would, and a share of them is held against it. `kernel`: for a kernel, or a
        chain of it, by itself.
        """
        return None

    def as_exported(self, draft: Draft) -> Draft:
        """The draft of the program that `to_program` gives, where `write` gives another one."""
        return draft

    def write(
        self, drafts: Sequence[Draft], constants: Mapping[str, Constant] | None = None
    ) -> list[bytes]:
        """The programs of drafts of this lowering, in their order; `constants` as in `lower`."""
        raise NotImplementedError(f"{type(self).__name__} drafts nothing")


_version = functools.cache(version)


def fold_norms(module: nn.Module) -> nn.Module:
    """A copy of `module` in eval mode with every batch norm folded into its convolution."""
    folded = copy.deepcopy(module).eval()
    for layer in folded.modules():
        if isinstance(layer, ConvNorm):
            layer.fold_norm()
    return folded


def refusal(who: str, what: object, error: Exception) -> LoweringError:
    """The error for what `who`, e.g. ExecuTorch, refused to lower; one line."""
    first = next(iter(str(error).strip().splitlines()), "")
    return LoweringError(
        f"{who} could not lower {type(what).__name__}: {type(error).__name__}: {first[:300]}; "
        "leave the kernel out or file an issue with its key"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Export warns of its own internals in dozens of lines; errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree", "root")]
    levels = [log.level for log in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in loggers:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)
