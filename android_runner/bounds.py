"""The bounds of settings, written once: in the annotations of the dataclass that has them.

    @dataclass(frozen=True, slots=True)
    class PauseSettings:
        rounds: Annotated[int, Interval(ge=1, le=1000)] = 12
        mode: Literal["fast", "careful"] = "fast"

        def __post_init__(self) -> None:
            check_bounds(self, InvalidRunError)

Whoever reads settings from a file (pydantic) sees the same annotations.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import annotated_types

from netadapt.android_runner.text import shown

_COMPARISONS: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    annotated_types.Ge: ("ge", "at least", lambda value, bound: value >= bound),
    annotated_types.Gt: ("gt", "above", lambda value, bound: value > bound),
    annotated_types.Le: ("le", "at most", lambda value, bound: value <= bound),
    annotated_types.Lt: ("lt", "below", lambda value, bound: value < bound),
}

Rule = tuple[str, Callable[[Any], bool]]


def check_bounds(settings: object, error: Callable[[str], Exception]) -> None:
    """Check a settings dataclass against the bounds and choices that its annotations state.

    Understood are `annotated_types`' `Interval`, `Ge`, `Gt`, `Le` and `Lt`, `Literal`, both in
    unions with `None` too; numbers must be finite. Other annotations are left to type checkers.

    Parameters
    ----------
    settings: an instance of a dataclass whose annotations can be resolved at run time.
    error: makes what is raised of one line: the setting, the rule and the value.
    """
    kind: type[Any] = type(settings)
    for name, optional, rules in _rules(kind):  # type: ignore[arg-type]  # a class hashes well
        value = getattr(settings, name)
        if value is None and optional:
            continue
        broken = [text for text, holds in rules if not _kept(holds, value)]
        if broken:
            raise error(
                f"{kind.__name__}.{name} is {' and '.join(broken)}, got {shown(value)}; "
                "choose a value that is"
            )


def _kept(holds: Callable[[Any], bool], value: object) -> bool:
    try:
        return holds(value)
    except (TypeError, OverflowError):  # no number, or one beyond any float
        return False


@functools.cache
def _rules(kind: type[Any]) -> tuple[tuple[str, bool, tuple[Rule, ...]], ...]:
    """Of each field with rules: its name, whether it may be None, the rules."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        members = list(_members(hints[field.name]))
        optional = type(None) in members
        others = [member for member in members if member is not type(None)]
        # In a union of several kinds no single rule holds for all of them.
        rules = tuple(_rules_of(others[0])) if len(others) == 1 else ()
        if rules:
            found.append((field.name, optional, rules))
    return tuple(found)


def _members(hint: object) -> Iterator[object]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _rules_of(hint: object) -> Iterator[Rule]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        yield f"one of {', '.join(map(str, arguments))}", lambda value: value in arguments
        return
    if origin is not typing.Annotated:
        return
    kind, *notes = arguments
    if kind is int:
        yield "a whole number", lambda value: isinstance(value, int) and not _is_bool(value)
    elif kind is float:
        yield "a finite number", lambda value: not _is_bool(value) and math.isfinite(value)
    for note in notes:
        for one in note if isinstance(note, annotated_types.GroupedMetadata) else (note,):
            if type(one) in _COMPARISONS:
                attribute, words, compare = _COMPARISONS[type(one)]
                bound = getattr(one, attribute)
                yield f"{words} {bound}", functools.partial(_compared, compare, bound)


def _compared(compare: Callable[[Any, Any], bool], bound: object, value: object) -> bool:
    return compare(value, bound)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)
