"""Real programs, lowered once a session, some of them made to misbehave."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import pytest

from netadapt.android_runner import HostDevice, Program
from tests.contracts.device import UGLY_NAMES


def _lower(module: object, *inputs: object) -> bytes:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    assert isinstance(module, torch.nn.Module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(module.eval(), inputs)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return lowered.to_executorch().buffer


@pytest.fixture(scope="session")
def lowered() -> Mapping[str, bytes]:
    """``.pte`` bytes: ``conv`` (all XNNPACK), ``two`` (outputs x + 1 and 2 x), ``se``."""
    import torch
    from torch import nn

    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + 1.0, x + x

    class SqueezeExcite(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reduce = nn.Conv2d(16, 8, 1)
            self.expand = nn.Conv2d(8, 16, 1)
            self.gate = nn.Hardsigmoid()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            squeezed = x.mean((2, 3), keepdim=True)
            return x * self.gate(self.expand(torch.relu(self.reduce(squeezed))))

    torch.manual_seed(0)
    return {
        "conv": _lower(nn.Conv2d(8, 16, 1), torch.randn(1, 8, 14, 14)),
        "two": _lower(Two(), torch.randn(1, 3, 4, 5)),
        "se": _lower(SqueezeExcite(), torch.randn(1, 16, 7, 7)),
    }


def _edited(data: bytes, edit: Callable[[object], None]) -> bytes:
    from executorch.exir._serialize import _program

    file = _program.deserialize_pte_binary(data)
    edit(file.program.execution_plan[0])
    return bytes(_program.serialize_pte_binary(file))


@pytest.fixture(scope="session")
def crasher(lowered: Mapping[str, bytes]) -> bytes:
    """A damaged program that makes the runtime abort: its input is a value that is not there."""

    def edit(plan: object) -> None:
        plan.inputs = [99]  # type: ignore[attr-defined]

    return _edited(lowered["two"], edit)


@pytest.fixture(scope="session")
def hanger(lowered: Mapping[str, bytes]) -> bytes:
    """A program that does not end in minutes: its last instruction jumps back to the first."""

    def edit(plan: object) -> None:
        from executorch.exir import schema

        plan.values.append(schema.EValue(schema.Bool(False)))  # type: ignore[attr-defined]
        loop = schema.JumpFalseCall(len(plan.values) - 1, 0)  # type: ignore[attr-defined]
        plan.chains[0].instructions.append(schema.Instruction(loop))  # type: ignore[attr-defined]

    return _edited(lowered["conv"], edit)


def under_ugly_names(lowered: Mapping[str, bytes]) -> list[Program]:
    return [Program(name, data) for name, data in zip(UGLY_NAMES, lowered.values(), strict=True)]


@pytest.fixture(scope="session")
def programs(lowered: Mapping[str, bytes]) -> list[Program]:
    """Good programs of several kinds."""
    return under_ugly_names(lowered)


@pytest.fixture(scope="session")
def host() -> HostDevice:
    return HostDevice()
