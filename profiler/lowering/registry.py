"""The recipes that come along, by name."""

from __future__ import annotations

from netadapt.android_runner.plugins import Registry
from netadapt.android_runner.text import shown
from netadapt.profiler.errors import RecipeError
from netadapt.profiler.lowering.recipe import DEFAULT_RECIPE, NATIVE_RECIPE, Recipe
from netadapt.profiler.lowering.seam import Lowering

LOWERINGS: Registry[Lowering] = Registry(
    "recipe",
    Lowering,
    {
        DEFAULT_RECIPE: "netadapt.profiler.lowering.xnnpack:XnnpackFp32",
        NATIVE_RECIPE: "netadapt.profiler.lowering.xnnpack:XnnpackNativeFp32",
    },
)


def pays_layout(recipe: Recipe) -> bool:
    """Whether a kernel's row of this recipe holds the cost of changing its tensors' layout.

    Of a recipe that is not among ours nobody knows, so it may.
    """
    if recipe.name not in LOWERINGS.places:
        return True
    return LOWERINGS.find(recipe.name).has_layout_cost


def recipe_of_networks(recipe: Recipe) -> Recipe:
    """The usual recipe where whole networks' programs are the same under it, else `recipe`."""
    if recipe.name != NATIVE_RECIPE:
        return recipe
    return Recipe.parse(f"{DEFAULT_RECIPE}-{recipe.version}")


def find_lowering(name: str = DEFAULT_RECIPE) -> Lowering:
    """The lowering of a registered recipe's name, or the one at `package.module:Class`.

    Raises `netadapt.android_runner.errors.PluginError` for a name that is neither, and
    `RecipeError` for a class whose recipe is none, or another one's.
    """
    found = LOWERINGS.find(name)
    recipe = getattr(found, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"a lowering has a Recipe as its `recipe`, {shown(name)} has {shown(recipe)}; "
            "e.g. recipe = Recipe('mine', 'fp32', 1)"
        )
    if name != recipe.name and recipe.name in LOWERINGS.places:
        raise RecipeError(
            f"a recipe is made by one lowering, {shown(name)} claims {recipe.name!r}, which comes "
            "along; choose another backend or precision for its recipe"
        )
    return found()
