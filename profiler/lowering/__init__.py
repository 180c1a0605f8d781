"""Modules to programs: recipes, what makes programs of each, and a cache of what was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.profiler.lowering.cache import ProgramCache
    from netadapt.profiler.lowering.programs import (
        LoweringFailure,
        lower,
        lower_networks,
        lower_subjects,
    )
    from netadapt.profiler.lowering.recipe import (
        DEFAULT_RECIPE,
        NATIVE_RECIPE,
        UNKNOWN_RECIPE,
        Recipe,
    )
    from netadapt.profiler.lowering.registry import LOWERINGS, find_lowering, pays_layout
    from netadapt.profiler.lowering.seam import Constant, Draft, Lowering, fold_norms
    from netadapt.profiler.lowering.subject import ShapedNetwork, Subject

__all__ = [
    "DEFAULT_RECIPE",
    "LOWERINGS",
    "NATIVE_RECIPE",
    "UNKNOWN_RECIPE",
    "Constant",
    "Draft",
    "Lowering",
    "LoweringFailure",
    "ProgramCache",
    "Recipe",
    "ShapedNetwork",
    "Subject",
    "find_lowering",
    "fold_norms",
    "lower",
    "lower_networks",
    "lower_subjects",
    "pays_layout",
]

_HOMES = {
    "DEFAULT_RECIPE": "netadapt.profiler.lowering.recipe",
    "LOWERINGS": "netadapt.profiler.lowering.registry",
    "NATIVE_RECIPE": "netadapt.profiler.lowering.recipe",
    "UNKNOWN_RECIPE": "netadapt.profiler.lowering.recipe",
    "Constant": "netadapt.profiler.lowering.seam",
    "Draft": "netadapt.profiler.lowering.seam",
    "Lowering": "netadapt.profiler.lowering.seam",
    "LoweringFailure": "netadapt.profiler.lowering.programs",
    "ProgramCache": "netadapt.profiler.lowering.cache",
    "Recipe": "netadapt.profiler.lowering.recipe",
    "ShapedNetwork": "netadapt.profiler.lowering.subject",
    "Subject": "netadapt.profiler.lowering.subject",
    "find_lowering": "netadapt.profiler.lowering.registry",
    "fold_norms": "netadapt.profiler.lowering.seam",
    "lower": "netadapt.profiler.lowering.programs",
    "lower_networks": "netadapt.profiler.lowering.programs",
    "lower_subjects": "netadapt.profiler.lowering.programs",
    "pays_layout": "netadapt.profiler.lowering.registry",
}
__getattr__ = exports(__name__, _HOMES)
