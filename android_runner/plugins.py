"""Plug-ins: parts by a registered name, or by where they are, as `package.module:Class`.

A registry lists the parts of one seam that come along, by where they stand, so that none of them
is imported before it is asked for. Anybody else's part is named by its place instead. What a part
can be set to is its own frozen dataclass, which its class names as `settings_class`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Generic, TypeVar, cast

from netadapt.android_runner.errors import PluginError
from netadapt.android_runner.text import shown

Part = TypeVar("Part")


def load(place: str, what: str = "plug-in") -> object:
    """What stands at `place`, e.g. `"my_package.tasks:Flowers"`.

    Parameters
    ----------
    place: an importable module and the name of something in it, a colon between them; dots behind
        the colon lead into classes.
    what: how errors call it, e.g. "task".

    Raises `PluginError` for another form, for a module that is missing or cannot be imported, and
    for a name that it lacks.
    """
    module_name, colon, name = place.partition(":")
    if not (colon and _is_dotted(module_name) and _is_dotted(name)):
        raise PluginError(
            f"a {what} of one's own is named as package.module:Class, got {shown(place)}; "
            "write the module that defines it, a colon, and its name there"
        )
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _unimportable(place, what, module_name, error) from error
        raise PluginError(
            f"the {what} {shown(place)} needs a module that can be imported, there is no "
            f"{error.name!r}; install it, or put its folder on PYTHONPATH"
        ) from error
    except Exception as error:  # a module of somebody else's may raise anything
        raise _unimportable(place, what, module_name, error) from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise PluginError(
                f"the {what} {shown(place)} has to be defined in its module, {module_name!r} "
                f"has no {name!r}; check the spelling"
            ) from error
    return found


def load_class(place: str, base: type, what: str = "plug-in") -> type:
    """The class at `place`, a concrete subclass of `base` (or `base`'s whole protocol).

    Raises `PluginError`, as `load` does and for what is no such class.
    """
    found = load(place, what)
    if not isinstance(found, type):
        raise PluginError(
            f"a {what} is a class, {shown(place)} is a {type(found).__name__}; "
            f"name a subclass of {base.__module__}.{base.__qualname__}"
        )
    return _checked(found, place, base, what)


def load_callable(place: str, what: str = "plug-in") -> Callable[..., object]:
    """The function (or other callable) at `place`.

    Raises `PluginError`, as `load` does and for what cannot be called.
    """
    found = load(place, what)
    if not callable(found):
        raise PluginError(
            f"a {what} is a function or a class, {shown(place)} is a {type(found).__name__}; "
            "name one that can be called"
        )
    return cast("Callable[..., object]", found)


@dataclass(frozen=True)
class Registry(Generic[Part]):
    """The parts of one seam that come along, by name.

    Parameters
    ----------
    what: how errors call one of them, e.g. "searcher".
    base: what all of them, and everybody else's, are subclasses of.
    places: by name, where each is defined: `"package.module:Class"`.
    settings: by name, where the settings of those are defined whose own module is slow to import.
    """

    what: str
    base: type
    places: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> type[Part]:
        """The class registered as `name`, or the one at a place `package.module:Class`.

        Raises `PluginError` for a name that is neither, and for what `load_class` refuses.
        """
        if ":" not in name and name not in self.places:
            known = ", ".join(sorted(self.places))
            raise PluginError(
                f"a {self.what} is one of {known} or package.module:Class, got {shown(name)}; "
                "check the spelling"
            )
        return load_class(self.places.get(name, name), self.base, self.what)

    def settings_class(self, name: str) -> type[Any]:
        """The dataclass of the settings of what `find` finds; a plug-in names it `settings_class`.

        Raises `PluginError` as `find` does, and for a plug-in that names none.
        """
        if name in self.settings:
            return load_class(self.settings[name], object, f"{self.what}'s settings")
        found = getattr(self.find(name), "settings_class", None)
        if not (isinstance(found, type) and is_dataclass(found)):
            raise PluginError(
                f"a {self.what} names the dataclass of its settings, {shown(name)} has "
                f"settings_class = {shown(found)}; use NoSettings where it has none"
            )
        return found


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The settings of a part that has none."""


def _checked(found: type, place: str, base: type, what: str) -> type:
    if not issubclass(found, base):
        raise PluginError(
            f"a {what} is a subclass of {base.__module__}.{base.__qualname__}, {shown(place)} is "
            "not; derive it from there"
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise PluginError(
            f"a {what} defines all that its seam asks for, {shown(place)} lacks "
            f"{', '.join(missing)}; define them"
        )
    return found


def _unimportable(place: str, what: str, module: str, error: Exception) -> PluginError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return PluginError(
        f"the {what} {shown(place)} needs a module that can be imported, {module!r} raises "
        f"{shown(reason)}; mend it: python -c 'import {module}' shows where"
    )


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
