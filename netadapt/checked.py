"""Tables of a file as the frozen dataclasses that state their types and bounds."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from netadapt.android_runner.text import shown
from netadapt.errors import ConfigError


def validated(kind: type[Any], content: Mapping[str, Any], at: str) -> Any:
    """`content` as the settings dataclass `kind`; `at` is the table's name in errors.

    Bounds are those that its annotations state. Raises `ConfigError`.
    """
    try:
        # As JSON, where strict rules take an array for a tuple and a table for a dataclass
        text = json.dumps({"settings": content})
    except (TypeError, ValueError, RecursionError) as error:  # a date, a number of 5,000 digits
        raise ConfigError(f"{line_of(at)}: {line_of(error)}; correct the value") from error
    try:
        model = _model(kind)  # type: ignore[arg-type]  # a class hashes well
        return model.model_validate_json(text).settings  # type: ignore[attr-defined]
    except ValidationError as error:
        # In a union, what another member says of a key that it lacks comes last.
        problems = sorted(
            error.errors(include_url=False),
            key=lambda problem: problem["type"] == "unexpected_keyword_argument",
        )
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{_explain(kind, at, problems[0])}{more}") from error


@functools.cache
def _model(kind: type[Any]) -> type[BaseModel]:
    # What is said here holds for the dataclass too: pydantic hands it on to standard ones.
    rules = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return create_model("Settings", __config__=rules, settings=(kind, ...))


def _explain(kind: type[Any], at: str, problem: Mapping[str, Any]) -> str:
    """One problem that pydantic found as rule, value and next step."""
    # Without names of the members of unions, which are no keys
    keys = [str(part) for part in problem["loc"][1:] if _is_key(part)]
    key = ".".join((at, *keys) if at else keys)
    what, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if what == "unexpected_keyword_argument":
        return f"{line_of(key)}: there is no such key here; remove it"
    if what == "value_error":  # our own rules say everything themselves
        return f"{line_of(key)}: {line_of(context['error'])}"
    rule = "should be a table" if what == "dataclass_type" else problem["msg"]
    return (
        f"{line_of(key)}: {line_of(rule.removeprefix('Input '))}, got {shown(value)}; "
        "correct it or leave it out"
    )


def _is_key(part: object) -> bool:
    """Whether part of pydantic's place is of the file: members of unions go by their types."""
    if isinstance(part, int):
        return True
    text = str(part)
    return text.isidentifier() and text == text.lower() and text not in ("float", "int", "str")


def line_of(text: object) -> str:
    """`text` as one line of bounded length."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= 200 else f"{line[:197]}..."
