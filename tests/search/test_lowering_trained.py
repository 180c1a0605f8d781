"""What training leaves behind can be lowered: networks of several input channels, channels-last."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from netadapt.profiler.lowering import lower
from netadapt.search.network import build_network
from netadapt.search.space import Space
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.training import TrainingSettings, train_network

TOY = Path(__file__).parents[1] / "netadapt" / "toy" / "space.toml"
SETTINGS = TrainingSettings(steps=1, batch_size=4, warmup_steps=0, norm_batches=1)


def trained() -> tuple[Space, nn.Module]:
    space = dataclasses.replace(Space.load(str(TOY), bypass=True), in_channels=3)
    arch = space.random(np.random.default_rng(0))
    network = build_network(space, arch, generator=torch.Generator().manual_seed(0))
    task = ClutteredDigits(DigitsSettings(channels=3, train_images=8))
    train_network(network, task, SETTINGS, seed=0)
    return space, network


def layouts(network: nn.Module) -> list[tuple[int, ...]]:
    return [tensor.stride() for tensor in network.state_dict().values()]


def run(program: bytes, x: Tensor) -> Tensor:
    from executorch.runtime import Runtime

    (output,) = Runtime.get().load_program(program).load_method("forward").execute([x])
    assert isinstance(output, Tensor)
    return output


def test_a_trained_network_with_colours_is_lowered_and_computes_the_same() -> None:
    space, network = trained()
    stem = network.get_submodule("stem.conv").get_parameter("weight")
    assert not stem.is_contiguous()  # else nothing is tested
    before = layouts(network)
    program = lower(network, (torch.zeros(space.input_shape),))
    assert layouts(network) == before  # the caller's network stays as it is
    x = torch.randn(space.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(run(program, x), network(x), rtol=1e-4, atol=1e-4)


def test_a_program_does_not_depend_on_how_tensors_lie_in_memory() -> None:
    space, network = trained()
    x = torch.zeros(space.input_shape)
    plain = copy.deepcopy(network)
    for tensor in (*plain.parameters(), *plain.buffers()):
        tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.data)
    assert layouts(plain) != layouts(network)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    assert lower(network, (channels_last,)) == lower(plain, (x,))
