"""Recipes: their text, what makes programs of each, and those from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from netadapt.android_runner.errors import PluginError
from netadapt.profiler.errors import RecipeError
from netadapt.profiler.kernels import PointwiseConvKernel
from netadapt.profiler.lowering import (
    DEFAULT_RECIPE,
    LOWERINGS,
    NATIVE_RECIPE,
    Lowering,
    Recipe,
    Subject,
    find_lowering,
)
from netadapt.profiler.lowering.seam import Constant, quiet, refusal
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
from tests.contracts.recipe import RecipeContract

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class PortableFp32(Lowering):
    """ExecuTorch's own operators, no backend: as somebody else would write a recipe."""

    recipe = Recipe("portable", "fp32", 1)

    def to_program(
        self, exported: ExportedProgram, constants: Mapping[str, Constant] | None = None
    ) -> bytes:
        with quiet():
            from executorch.exir import to_edge

            try:
                edge = to_edge(exported, constant_methods=dict(constants) if constants else None)
                return bytes(edge.to_executorch().buffer)
            except Exception as error:
                raise refusal("ExecuTorch", exported, error) from error


class Pretender(PortableFp32):
    recipe = XnnpackFp32.recipe


class Nameless(PortableFp32):
    recipe = "portable"  # type: ignore[assignment]


HERE = __name__


class TestXnnpackFp32(RecipeContract):
    def lowering(self) -> Lowering:
        return find_lowering(DEFAULT_RECIPE)


class TestXnnpackNativeFp32(RecipeContract):
    def lowering(self) -> Lowering:
        return find_lowering(NATIVE_RECIPE)


def test_programs_of_two_recipes_are_kept_apart() -> None:
    subject = Subject(PointwiseConvKernel(8, 8, 4, 4))
    keys = {subject.cache_key(lowering) for lowering in (XnnpackFp32(), PortableFp32())}
    assert len(keys) == 2


def test_programs_that_earlier_versions_cached_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(XnnpackFp32, "versions", lambda self: ("torch 2.13.0", "executorch 1.4.1"))
    subject = Subject(PointwiseConvKernel(8, 8, 4, 4), 3)
    assert subject.cache_key(XnnpackFp32()) == KEPT_BY_0_1


KEPT_BY_0_1 = "fa323951552e6bb81738ff32ba2607f9016c4339bb56ed915c063a07490dc4b0"
"""Of this chain, as 0.1 made it."""


@pytest.mark.parametrize("name", LOWERINGS.places)
def test_a_registered_name_is_its_recipes(name: str) -> None:
    assert find_lowering(name).recipe.name == name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (
            "xnnpack",
            r"one of xnnpack-fp32, xnnpack_native-fp32 or package\.module:Class, got 'xnnpack'",
        ),
        (f"{HERE}:Recipe", "is not; derive it from there"),
        (f"{HERE}:Lowering", "lacks to_program"),
    ],
)
def test_what_is_no_recipe_is_one_clear_line(name: str, what: str) -> None:
    with pytest.raises(PluginError, match=what):
        find_lowering(name)


def test_a_recipe_is_made_by_one_lowering() -> None:
    with pytest.raises(RecipeError, match="'xnnpack-fp32', which comes along"):
        find_lowering(f"{HERE}:Pretender")
    with pytest.raises(RecipeError, match="a Recipe as its `recipe`"):
        find_lowering(f"{HERE}:Nameless")


@pytest.mark.parametrize(
    "text",
    ["", "xnnpack", "xnnpack-fp32", "xnnpack-fp32-x", "a-b-c-1", "X-y-1", "a-b-1\n", "a-b--1"],
)
def test_texts_that_are_no_recipes(text: str) -> None:
    with pytest.raises(RecipeError, match="backend-precision-version"):
        Recipe.parse(text)


@pytest.mark.parametrize("wrong", [("", "fp32", 1), ("a-b", "c", 1), ("a", "b", -1), ("a", "B", 1)])
def test_values_that_are_no_recipes(wrong: tuple[str, str, int]) -> None:
    with pytest.raises(RecipeError, match="a recipe has"):
        Recipe(*wrong)
