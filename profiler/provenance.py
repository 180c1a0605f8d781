"""A provenance as flat columns, and back; also of the columns that older versions wrote."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from netadapt.android_runner.device import DeviceInfo
from netadapt.profiler.checking import checked, damaged
from netadapt.profiler.columns import DEVICE_COLUMNS
from netadapt.profiler.errors import RecipeError
from netadapt.profiler.lowering.recipe import UNKNOWN_RECIPE, Recipe
from netadapt.profiler.row import Provenance

_OF_DEVICE = typing.get_type_hints(DeviceInfo)
_NUMBERS = (int, float, bool)
PROVENANCE_COLUMNS: Mapping[str, type] = {
    **{
        column: _OF_DEVICE[field] if _OF_DEVICE[field] in _NUMBERS else str
        for column, field in DEVICE_COLUMNS.items()
    },
    "fingerprint": str,
    "recipe": str,
    "precision": str,
    "lowering": str,
    "threads": int,
    "cpus": str,
}
"""By name, the type of a flat record's columns. Some are derived: `fingerprint`, `precision`."""

LATER_COLUMNS = frozenset(
    {
        *("cores", "recipe", "lowering", "fingerprint", "precision"),
        *(
            column
            for column, field in DEVICE_COLUMNS.items()
            if DeviceInfo.__dataclass_fields__[field].default is not dataclasses.MISSING
        ),
    }
)
"""Columns that a record may lack: derived ones, and those that formats 1 to 3 did not have."""

_MOST_CORES = 1024


@functools.cache
def flat(provenance: Provenance) -> Mapping[str, str | int]:
    """The provenance by column (`PROVENANCE_COLUMNS`)."""
    device, recipe = provenance.device, provenance.recipe
    return {
        **{column: getattr(device, field) for column, field in DEVICE_COLUMNS.items()},
        "fingerprint": device.fingerprint,
        "recipe": str(recipe),
        "precision": recipe.precision,
        "lowering": provenance.lowering,
        "threads": provenance.threads,
        "cpus": provenance.cpus,
    }


def from_flat(
    values: Mapping[str, Any], what: str = "provenance", *, performances: Iterable[str] = ()
) -> Provenance:
    """The provenance of a flat record. Raises `TableError` that names `what`.

    What a record of formats 1 to 3 lacks: its recipe is the only one there was, the versions that
    lowered stay unknown, and cores and performance are those that its fingerprint is of.

    Parameters
    ----------
    performances: how the clock was kept in such a record's rows, as far as they say.
    """
    known = {name: value for name, value in values.items() if value is not None}
    device = {field: known[name] for name, field in DEVICE_COLUMNS.items() if name in known}
    if "cores" not in device:
        found = _with_fingerprint(device, known.get("fingerprint"), tuple(performances), what)
        device["cores"], device["performance"] = found
    try:
        recipe = Recipe.parse(str(known["recipe"])) if "recipe" in known else _former(known)
    except RecipeError as error:
        raise damaged(what, str(error)) from error
    record = {"device": device, "recipe": recipe, "lowering": known.get("lowering", "")}
    record |= {name: known[name] for name in ("threads", "cpus") if name in known}
    return checked(Provenance, record, what)


def of_published(known: Mapping[str, Any]) -> Provenance:
    """The provenance that a frame of somebody else's latencies names some columns of.

    What it does not name is unknown, but for the number of threads, which is 1. Raises
    `TableError`.
    """
    unknown = {name: "unknown" if kind is str else 0 for name, kind in PROVENANCE_COLUMNS.items()}
    unknown |= {"threads": 1, "machine": "", "lowering": "", "recipe": str(UNKNOWN_RECIPE)}
    return from_flat({**unknown, **known}, "the provenance of the frame")


def _former(known: Mapping[str, Any]) -> Recipe:
    """Of a record that names a precision only: all rows of that time were lowered one way."""
    precision = str(known.get("precision", UNKNOWN_RECIPE.precision))
    return (
        UNKNOWN_RECIPE if precision == UNKNOWN_RECIPE.precision else Recipe("xnnpack", precision, 1)
    )


def _with_fingerprint(
    device: Mapping[str, Any], fingerprint: object, performances: tuple[str, ...], what: str
) -> tuple[int, str]:
    """Cores and performance of a device whose record has neither; 0 cores where nothing fits.

    A fingerprint that nothing fits is kept as the performance, so that rows which it kept apart
    still are.
    """
    for performance in dict.fromkeys(("default", "fixed-performance", *performances)):
        for cores in range(1, _MOST_CORES + 1):
            whole = {**device, "cores": cores, "performance": performance}
            if cores == 1:
                checked(DeviceInfo, whole, what)
            if DeviceInfo(**whole).fingerprint == fingerprint:
                return cores, performance
    return 0, f"not recorded (fingerprint {fingerprint})"
