"""What every family keeps: `class TestMine(SpaceContract)` with a `make_space` tries it."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from netadapt.profiler.kernels import record_kernels
from netadapt.profiler.lowering import find_lowering, lower
from netadapt.search.errors import ArchError
from netadapt.search.mixture import one_hot
from netadapt.search.space import Arch, Space
from netadapt.search.supernet import BatchNormStats, NormStats, SuperNetwork
from tests.xnnpack_ops import expected_ops, lowered_ops

TOLERANCE = 1e-5
"""Of outputs that differ by the order of their sums only, as a share of the largest."""


class SpaceContract(ABC):
    """A small space is best: archs are built, run and, `lowered` of them, lowered.

    `drawn` archs are tried in each test, beside the reference and the full one.
    """

    drawn: ClassVar[int] = 6
    lowered: ClassVar[int] = 1
    mixes: ClassVar[bool] = True
    """Whether the space mixes archs, as a differentiable search needs it."""

    @abstractmethod
    def make_space(self) -> Space:
        """The space to try; an equal one each time."""

    @pytest.fixture
    def space(self) -> Space:
        return self.make_space()

    @pytest.fixture
    def archs(self, space: Space) -> list[Arch]:
        rng = np.random.default_rng(0)
        return [space.reference(), space.full(), *(space.random(rng) for _ in range(self.drawn))]

    def test_a_space_is_known_by_its_repr(self, space: Space) -> None:
        assert repr(space) == repr(self.make_space())
        assert space.name
        assert space.family

    def test_dimensions_have_names_and_ascending_values(self, space: Space) -> None:
        names = [dimension.name for dimension in space.dimensions]
        assert len(set(names)) == len(names)
        for dimension in space.dimensions:
            assert len(dimension.values) > 1
            assert list(dimension.values) == sorted(set(dimension.values))
            assert space.value(space.full(), dimension) == dimension.values[-1]
            assert space.value(space.reference(), dimension) in (*dimension.values, 0, None)

    def test_archs_are_points_and_survive_json(self, space: Space, archs: list[Arch]) -> None:
        for arch in (*archs, space.scaled(1.0)):
            space.validate(arch)
            text = arch.to_json()
            assert "\n" not in text
            again = space.arch_from_json(text)
            assert again == arch
            assert hash(again) == hash(arch)
            assert again.to_json() == text
        assert space.scaled(1.0) == space.reference()
        assert len(set(archs)) <= space.count()

    @pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '"stem"'])
    def test_other_text_is_refused_in_one_line(self, space: Space, text: str) -> None:
        with pytest.raises(ArchError) as caught:
            space.arch_from_json(text)
        assert "\n" not in str(caught.value)

    def test_the_same_seed_draws_the_same_arch(self, space: Space) -> None:
        first, again = (space.random(np.random.default_rng(3)) for _ in range(2))
        assert first == again

    def test_a_point_has_the_values_it_was_made_of(self, space: Space, archs: list[Arch]) -> None:
        largest = [dimension.values[-1] for dimension in space.dimensions]
        assert space.point(largest) == space.full()
        for arch in archs:
            values = [space.value(arch, dimension) for dimension in space.dimensions]
            # What is removed has no values to make a point of; its largest ones do.
            chosen = [v or d.values[-1] for v, d in zip(values, space.dimensions, strict=True)]
            point = space.point(chosen)
            space.validate(point)
            if all(values):
                assert point == arch

    def test_points_are_those_of_their_rows(self, space: Space) -> None:
        rng = np.random.default_rng(0)
        values = np.array([[rng.choice(d.values) for d in space.dimensions] for _ in range(6)])
        points = space.points(values)
        expected = [space.point(row) for row in values.tolist()]
        assert len(points) == 6
        assert [points[i] for i in range(6)] == expected
        assert list(points[2:4]) == expected[2:4]
        supernet = space.supernetwork(generator=torch.Generator().manual_seed(0)).eval()
        images = torch.rand(6, *space.input_shape[1:])
        with torch.no_grad():
            assert torch.equal(supernet(images, points), supernet(images, expected))

    def test_smaller_archs_are_smaller_in_one_dimension(
        self, space: Space, archs: list[Arch]
    ) -> None:
        for arch, dimension in itertools.product(archs[:3], space.dimensions):
            value = space.value(arch, dimension)
            smaller = space.smaller(arch, dimension)
            below = [v for v in reversed(dimension.values) if value and v < value]
            assert [space.value(other, dimension) or 0 for other in smaller] == below
            for other in smaller:
                space.validate(other)
                for another in space.dimensions:
                    if another != dimension:
                        same = space.value(arch, another)
                        assert space.value(other, another) in (same, 0, None)
        if space.dimensions:
            with pytest.raises(ArchError):
                space.with_value(space.full(), space.dimensions[0], -1)

    def test_networks_run_the_kernels_of_their_archs(self, space: Space, archs: list[Arch]) -> None:
        names = [part.name for part in space.parts(space.full())]
        assert len(set(names)) == len(names)
        for arch in archs:
            network, shape = space.network(arch), space.input_shape_of(arch)
            assert network.training
            assert tuple(record_kernels(network, shape)) == space.kernels(arch)
            assert sum(p.numel() for p in network.parameters()) == space.params(arch)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                outputs = network.eval()(torch.zeros(shape))
            assert space.macs(arch) == counter.get_total_flops() // 2
            assert outputs.shape[:2] == (1, space.classes)
            parts = space.kernels_by_part(arch)
            assert [name for name, _ in parts] == names
            assert tuple(k for _, kernels in parts for k in kernels) == space.kernels(arch)
            largest = max(k.input_elements + k.output_elements for k in space.kernels(arch))
            assert space.planned_memory_bytes(arch) >= 4 * largest
            assert 0 < space.depth(arch) <= len(space.kernels(arch))
            assert space.drawing(arch)

    def test_the_generator_alone_decides_the_weights(self, space: Space) -> None:
        def weights(seed: int) -> list[Tensor]:
            generator = torch.Generator().manual_seed(seed)
            return list(space.network(space.reference(), generator=generator).parameters())

        before = torch.get_rng_state()
        first, same, other = weights(0), weights(0), weights(1)
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))

    def test_names_of_modules_begin_with_letters(self, space: Space) -> None:
        for name, _ in space.network(space.full()).named_modules():
            assert all(part[:1].isalpha() for part in name.split(".") if name), name

    @torch.no_grad()
    def test_sub_networks_are_the_same_extracted_and_image_by_image(
        self, space: Space, archs: list[Arch]
    ) -> None:
        supernet = unsettled_supernetwork(space)
        images = images_of(space, len(archs))
        common = unsettled(supernet.calibrate(space.full(), images))
        together = supernet(images, archs, common)
        for index, arch in enumerate(archs):
            stats = unsettled(supernet.calibrate(arch, images[:4]))
            expected = supernet(images[:2], arch, stats)
            network = supernet.extract(arch, stats)
            assert not network.training
            fitted = space.fit_images(images[:2], arch)
            assert fitted.shape[1:] == space.input_shape_of(arch)[1:]
            assert difference(network(fitted), expected) <= TOLERANCE
            assert difference(network(images[:2]), expected) <= TOLERANCE
            alone = supernet(images[index : index + 1], arch, common)
            assert difference(together[index : index + 1], alone) <= TOLERANCE

    def test_a_supernetwork_trains_on_one_arch_an_image(
        self, space: Space, archs: list[Arch]
    ) -> None:
        supernet = space.supernetwork(generator=torch.Generator().manual_seed(0)).train()
        supernet(images_of(space, len(archs)), archs).square().mean().backward()
        gradients = [p.grad for p in supernet.parameters()]
        assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
        with pytest.raises(ArchError):
            supernet(images_of(space, 2), archs[:1])

    @torch.no_grad()
    def test_a_mixture_of_one_arch_is_that_arch(self, space: Space, archs: list[Arch]) -> None:
        supernet, images = unsettled_supernetwork(space), images_of(space, 3)
        if not self.mixes:
            for ask in (partial(supernet.mixed, images), space.likely_kernels):
                with pytest.raises(ArchError, match=r"^(?!.*\n).*; "):
                    ask(one_hot(space, archs[0]))
            return
        stats = unsettled(supernet.calibrate(space.full(), images))
        for arch in archs:
            mixture = one_hot(space, arch)
            found = supernet.compute_mixture(images, mixture, stats.normalize)
            assert difference(found, supernet(images, arch, stats)) <= TOLERANCE
            for effective in (False, True):
                likely = space.likely_kernels(mixture, effective=effective)
                kernels = Counter(
                    kernel
                    for place in likely
                    for kernel, p in zip(place.kernels, place.probabilities.tolist(), strict=True)
                    if p != 0
                )
                assert kernels == Counter(space.kernels(arch))

    def test_a_mixture_holds_what_its_archs_hold_on_average(self, space: Space) -> None:
        if not self.mixes:
            pytest.skip("the space has no mixtures")
        rng = np.random.default_rng(0)
        mixture = {
            d.name: torch.from_numpy(rng.dirichlet(np.ones(len(d.values))))
            for d in space.dimensions
        }
        expected = sum(
            float(p) * kernel.macs
            for place in space.likely_kernels(mixture)
            for kernel, p in zip(place.kernels, place.probabilities, strict=True)
        )
        columns = [rng.choice(d.values, 400, p=mixture[d.name].numpy()) for d in space.dimensions]
        drawn = [space.macs(space.point(row)) for row in np.stack(columns, 1).tolist()]
        assert abs(np.mean(drawn) - expected) <= 4 * np.std(drawn) / np.sqrt(len(drawn))

    @torch.no_grad()
    def test_lowered_programs_run_the_kernels_and_compute_what_networks_do(
        self, space: Space, archs: list[Arch]
    ) -> None:
        if not self.lowered:
            pytest.skip("lowering is tried on other spaces of the family")
        from executorch.runtime import Runtime

        supernet = unsettled_supernetwork(space)
        for arch in archs[2 : 2 + self.lowered]:
            images = space.fit_images(images_of(space, 4), arch)
            network = supernet.extract(arch, unsettled(supernet.calibrate(arch, images)))
            with lowered_ops() as ops:
                data = lower(network, (images[:1],))
            draft = find_lowering().draft(network, (tuple(images[:1].shape),))
            assert draft is None or find_lowering().write([draft]) == [data]
            assert ops == expected_ops(space.kernels(arch))
            program = Runtime.get().load_program(data)
            method = program.load_method("forward")
            assert method is not None
            (actual,) = method.execute([images[:1].contiguous()])
            assert difference(actual, network(images[:1])) <= 1e-4


def images_of(space: Space, count: int) -> Tensor:
    """Seeded images for the space's super-network."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, *space.input_shape[1:], generator=generator) * 2 + 1


@torch.no_grad()
def unsettled_supernetwork(space: Space) -> SuperNetwork:
    """In eval mode, with everything that is fresh at 0 or 1 moved far away from there."""
    generator = torch.Generator().manual_seed(0)
    supernet = space.supernetwork(generator=generator)
    for layer in supernet.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.uniform_(0.5, 2, generator=generator)
            layer.bias.normal_(0, 0.5, generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            layer.bias.normal_(0, 0.1, generator=generator)
    return supernet.eval()


def unsettled(stats: BatchNormStats) -> BatchNormStats:
    """`stats` with each mean moved by about half a deviation, each variance times 0.5 to 2."""
    generator = torch.Generator().manual_seed(1)

    def moved(norm: NormStats) -> NormStats:
        shift = torch.randn(norm.mean.shape, generator=generator) * norm.variance.sqrt() / 2
        scale = 2 ** (torch.rand(norm.mean.shape, generator=generator) * 2 - 1)
        return NormStats(norm.mean + shift, norm.variance * scale)

    return BatchNormStats({name: moved(norm) for name, norm in stats.norms.items()})


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest as a share of the largest expected output."""
    return float((found - expected).abs().max() / expected.abs().max())
