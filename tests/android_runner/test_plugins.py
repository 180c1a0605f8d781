"""Parts named by their place, and settings that state their own bounds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.android_runner.errors import InvalidRunError, PluginError, RunnerError
from netadapt.android_runner.plugins import NoSettings, Registry, load, load_callable, load_class

HERE = __name__


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    settings_class = NoSettings

    class Corner(Shape):
        def area(self) -> float:
            return 0.0

    def area(self) -> float:
        return 1.0


class Unfinished(Shape):
    pass


def function() -> None: ...


VALUE = 3

SHAPES: Registry[Shape] = Registry("shape", Shape, {"square": f"{HERE}:Square"})


def test_what_is_at_a_place_is_found() -> None:
    assert load(f"{HERE}:VALUE") == 3
    assert load_callable(f"{HERE}:function") is function
    assert load_class(f"{HERE}:Square.Corner", Shape) is Square.Corner
    assert SHAPES.find("square") is SHAPES.find(f"{HERE}:Square") is Square


def test_a_part_names_its_settings() -> None:
    assert SHAPES.settings_class("square") is NoSettings
    elsewhere: Registry[Shape] = Registry(
        "shape", Shape, {"square": "not.imported:Square"}, {"square": f"{HERE}:Bounded"}
    )
    assert elsewhere.settings_class("square") is Bounded
    with pytest.raises(PluginError, match="settings_class = None; use NoSettings"):
        SHAPES.settings_class(f"{HERE}:Square.Corner")


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("circle", r"a shape is one of square or package\.module:Class, got 'circle'"),
        ("no_such_package.shapes:Circle", "there is no 'no_such_package'; install it"),
        (f"{HERE}.deeper:Circle", "there is no"),
        (f"{HERE}:Circle", "has no 'Circle'; check the spelling"),
        (f"{HERE}:Square.Side", "has no 'Square.Side'"),
        (f"{HERE}:function", "a shape is a class, .* is a function"),
        (f"{HERE}:VALUE", "a shape is a class, .* is a int"),
        (f"{HERE}:RunnerError", "a subclass of .*Shape, .* is not; derive it"),
        (f"{HERE}:Unfinished", "lacks area; define them"),
        (f"{HERE}:", "named as package.module:Class"),
        (":Square", "named as package.module:Class"),
        ("a b:c", "named as package.module:Class"),
        ("../x:y", "named as package.module:Class"),
        ("\n:x\x1b" * 100, "named as package.module:Class"),
    ],
)
def test_what_is_not_there_is_one_clear_line(place: str, what: str) -> None:
    with pytest.raises(PluginError, match=what) as caught:
        SHAPES.find(place)
    assert isinstance(caught.value, RunnerError)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import numpy_of_nobody", "raises .ModuleNotFoundError: No module named"),
        ("1 / 0", "raises 'ZeroDivisionError: division by zero'"),
        ("this is no Python", "raises 'SyntaxError"),
    ],
)
def test_a_module_that_fails_is_named_with_what_it_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, what: str
) -> None:
    (tmp_path / "failing_shapes.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=what) as caught:
        load_class("failing_shapes:Circle", Shape)
    assert "\n" not in str(caught.value)


def test_only_what_can_be_called_is_a_function() -> None:
    with pytest.raises(PluginError, match=r"a metric is a function or a class, .* is a int"):
        load_callable(f"{HERE}:VALUE", "metric")


@dataclass(frozen=True, slots=True)
class Bounded:
    count: Annotated[int, Interval(ge=1, le=10)] = 1
    share: Annotated[float, Ge(0), Interval(lt=1)] | None = None
    pace: Annotated[float, Gt(0)] = 1.0
    mode: Literal["fast", "careful"] = "fast"
    name: str = ""
    either: Annotated[int, Gt(3)] | str = 0

    def __post_init__(self) -> None:
        check_bounds(self, InvalidRunError)


def test_settings_within_their_bounds_are_taken() -> None:
    assert Bounded(10, 0.0, 5, "careful", "x").pace == 5
    assert Bounded(share=None).share is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"count": 0}, "Bounded.count is at least 1, got 0"),
        ({"count": 11}, "Bounded.count is at most 10, got 11"),
        ({"count": 1.5}, "count is a whole number, got 1.5"),
        ({"count": True}, "count is a whole number, got True"),
        ({"count": None}, "count is a whole number"),
        ({"count": "many"}, "count is a whole number"),
        ({"share": 1.0}, "share is below 1, got 1.0"),
        ({"share": math.nan}, "share is a finite number"),
        ({"share": -(10**400)}, "share is"),
        ({"pace": 0}, "pace is above 0"),
        ({"pace": math.inf}, "pace is a finite number, got inf"),
        ({"mode": "hasty"}, "mode is one of fast, careful, got 'hasty'"),
        ({"count": 10**5000}, "count is at most 10, got a value too long to show"),
    ],
)
def test_settings_outside_their_bounds_are_one_clear_line(
    change: dict[str, object], what: str
) -> None:
    with pytest.raises(InvalidRunError, match=what) as caught:
        Bounded(**change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
