"""What every recipe must do, whoever made it: subclass `RecipeContract`."""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.kernels import (
    ActivationKernel,
    DepthwiseConvKernel,
    Kernel,
    LinearKernel,
    PointwiseConvKernel,
    PointwiseConvNorm,
)
from netadapt.profiler.lowering import (
    Lowering,
    ProgramCache,
    Recipe,
    ShapedNetwork,
    Subject,
    lower,
    lower_networks,
)


@functools.cache
def _another_process() -> ProcessPoolExecutor:
    """One for all recipes: exporters take seconds to import. Its hashes have their own seed."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _lowered(lowering: Lowering, kernel: Kernel) -> bytes:
    return lower(Subject(kernel).module(), kernel.example_inputs(), lowering=lowering)


class RecipeContract:
    """Subclass as `class TestMine(RecipeContract)` and give `lowering`.

    `kernels` are those that are tried; `tolerance` is how far a program's outputs may be from the
    module's, relative to the largest of these.
    """

    kernels = (
        PointwiseConvKernel(8, 16, 5, 5, "relu"),
        DepthwiseConvKernel(8, 3, 2, 5, 5),
        ActivationKernel("hardswish", 8, 5, 5),
        LinearKernel(8, 4),
    )
    tolerance = 1e-4

    def lowering(self) -> Lowering:
        """The lowering under test, a new one each time."""
        raise NotImplementedError

    def run(self, program: bytes, inputs: Sequence[Tensor]) -> Tensor:
        """The program's first output; another runtime than ExecuTorch's own needs another way."""
        from executorch.runtime import Runtime

        loaded = Runtime.get().load_program(program)
        output: Tensor = loaded.load_method("forward").execute(list(inputs))[0]
        return output

    def test_its_recipe_is_a_value_with_a_text(self) -> None:
        recipe = self.lowering().recipe
        assert recipe == self.lowering().recipe
        assert recipe.version >= 1
        assert Recipe.parse(str(recipe)) == recipe
        assert hash(Recipe.parse(str(recipe))) == hash(recipe)

    def test_it_names_the_versions_of_what_lowers(self) -> None:
        versions = self.lowering().versions()
        assert versions == self.lowering().versions()
        assert versions
        assert all(text and text.isprintable() for text in versions)

    def test_programs_compute_what_their_modules_do(self) -> None:
        for kernel in self.kernels:
            subject, inputs = Subject(kernel), kernel.example_inputs()
            with torch.no_grad():
                expected = subject.module()(*inputs)
            found = self.run(lower(subject.module(), inputs, lowering=self.lowering()), inputs)
            atol = self.tolerance * float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=self.tolerance, atol=atol)

    def test_equal_modules_give_equal_programs_in_any_process(self) -> None:
        kernel, lowering = self.kernels[0], self.lowering()
        inputs = kernel.example_inputs()
        program = lower(Subject(kernel).module(), inputs, lowering=lowering)
        assert lower(Subject(kernel).module(), inputs, lowering=self.lowering()) == program
        elsewhere = _another_process().submit(_lowered, lowering, kernel)
        assert elsewhere.result(timeout=240) == program

    def test_the_memory_format_of_weights_and_inputs_makes_no_difference(self) -> None:
        inputs = PointwiseConvKernel(8, 16, 5, 5).example_inputs()
        plain, turned = self._network(), self._network().to(memory_format=torch.channels_last)
        other = tuple(x.to(memory_format=torch.channels_last) for x in inputs)
        program = lower(plain, inputs, lowering=self.lowering())
        assert lower(turned, other, lowering=self.lowering()) == program

    def test_what_it_writes_is_what_it_exports(self) -> None:
        lowering = self.lowering()
        for kernel in self.kernels:
            draft = lowering.draft(Subject(kernel).module(), kernel.input_shapes)
            if draft is not None:
                (program,) = lowering.write([draft])
                expected = lower(
                    Subject(kernel).module(), kernel.example_inputs(), lowering=lowering
                )
                assert program == expected, kernel.key

    def test_norms_are_folded_and_the_module_stays_as_it_is(self) -> None:
        network = self._network()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        inputs = PointwiseConvKernel(8, 16, 5, 5).example_inputs()
        with torch.no_grad():
            expected = network(*inputs)
        found = self.run(lower(network, inputs, lowering=self.lowering()), inputs)
        atol = self.tolerance * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=self.tolerance, atol=atol)
        assert network.state_dict().keys() == before.keys()
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])

    def test_constants_stand_beside_the_same_forward(self) -> None:
        from executorch.runtime import Runtime

        kernel = self.kernels[0]
        inputs = kernel.example_inputs()
        plain = lower(Subject(kernel).module(), inputs, lowering=self.lowering())
        program = lower(
            Subject(kernel).module(),
            inputs,
            {"sides": [5, 7], "scale": 0.5},
            lowering=self.lowering(),
        )
        loaded = Runtime.get().load_program(program)
        assert list(loaded.load_method("sides").execute([])) == [5, 7]
        assert list(loaded.load_method("scale").execute([])) == [0.5]
        assert torch.equal(self.run(program, inputs), self.run(plain, inputs))

    def test_another_version_is_another_program_in_the_cache(self, tmp_path: Path) -> None:
        subject, network, cache = Subject(self.kernels[0]), self._network(), ProgramCache(tmp_path)
        inputs = PointwiseConvKernel(8, 16, 5, 5).example_inputs()
        own = self.lowering()
        recipe = Recipe(own.recipe.backend, own.recipe.precision, own.recipe.version + 1)

        class Later(type(own)):  # type: ignore[misc]
            """The same, as if programs were made in another way."""

        Later.recipe = recipe

        class Upgraded(type(own)):  # type: ignore[misc]
            """The same, with another compiler."""

            def versions(self) -> tuple[str, ...]:
                return (*own.versions(), "another compiler 2.0")

        made: list[Lowering] = [own, Later(), Upgraded()]
        assert len({subject.cache_key(lowering) for lowering in made}) == 3
        stamped: set[frozenset[str]] = set()
        for count, lowering in enumerate(made, 1):
            for _ in range(2):
                shaped = ShapedNetwork(network, tuple(inputs[0].shape))
                lower_networks([shaped], cache, lowering=lowering)
                stamped.add(frozenset(path.name for path in tmp_path.rglob("*.pte")))
            assert len(stamped) == count

    def test_what_it_refuses_is_one_line(self) -> None:
        with pytest.raises(LoweringError) as caught:
            lower(_Unexportable(), (torch.ones(1, 3),), lowering=self.lowering())
        assert "\n" not in str(caught.value)

    def _network(self) -> nn.Module:
        torch.manual_seed(0)
        network = PointwiseConvNorm(8, 16, activation="relu").eval()
        assert network.norm is not None
        network.norm.running_mean.normal_()
        network.norm.running_var.uniform_(0.2, 3)
        return network


class _Unexportable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * sys.getrefcount(x) if float(x.sum()) > 0 else x
