"""Networks run exactly the kernels that their space says they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from netadapt.profiler.kernels import record_kernels
from netadapt.search.errors import ArchError
from netadapt.search.families.inverted_residual import REMOVED
from netadapt.search.network import build_network
from netadapt.search.space import Space

SPACES = [("digits", 12), ("mobilenet_v3_large", 3)]


@pytest.mark.parametrize(("name", "count"), SPACES)
@pytest.mark.parametrize("bypass", [True, False])
def test_kernels_are_what_hooks_record(name: str, count: int, bypass: bool) -> None:
    space = Space.load(name, bypass=bypass)
    rng = np.random.default_rng(1)
    archs = [space.full(), space.reference(), *(space.random(rng) for _ in range(count))]
    for arch in archs:
        network = build_network(space, arch)
        assert tuple(record_kernels(network, space.input_shape)) == space.kernels(arch)
        assert sum(p.numel() for p in network.parameters()) == space.params(arch)
        assert network.training


def test_a_removed_block_is_not_there() -> None:
    space = Space.load("digits", bypass=True)
    full = space.full()
    arch = replace(full, blocks=(*full.blocks[:-1], REMOVED))
    names = {name for name, _ in build_network(space, arch).named_parameters()}
    assert not any("block7" in name for name in names)
    assert any("block6" in name for name in names)


def test_every_name_begins_with_a_letter() -> None:
    space = Space.load("digits")
    for name, _ in build_network(space, space.full()).named_modules():
        assert all(part[:1].isalpha() for part in name.split(".") if name), name


def test_the_generator_alone_decides_the_weights() -> None:
    space = Space.load("digits")

    def weights(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return list(build_network(space, space.reference(), generator=generator).parameters())

    before = torch.get_rng_state()
    first, same, other = weights(0), weights(0), weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_dropout_acts_in_training_only() -> None:
    space = Space.load("mobilenet_v3_large")
    network = build_network(space, space.scaled(0.25, kernel_size=3))
    images = torch.randn(2, *space.input_shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.eval()
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))


def test_an_arch_of_another_space_is_refused() -> None:
    with pytest.raises(ArchError, match="another space"):
        build_network(Space.load("digits"), Space.load("mobilenet_v3_large").full())
