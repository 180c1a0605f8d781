"""The mapping file of an import: whose latencies a file holds, and what its columns mean.

layout = "columns"                # or "once_for_all"
[device]
id = "note10"
model = "Samsung Note10"
source = "https://..., commit ..."
threads = 1
[latency]
column = "mean"
unit = "ms"
[[rows]]                          # the first whose `when` a line meets
when = { op = "conv", kernel = 1 }
[[rows.kernels]]
type = "pointwise_conv"
in_channels = "cin"               # a column, or sums, products and quotients of columns
out_channels = "cout"
height = "size / stride"
width = "size / stride"
activation = "=relu"              # a text itself
"""

from __future__ import annotations

import ast
import operator
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from netadapt.profiler.errors import TableError
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.provenance import of_published
from netadapt.profiler.row import Provenance

Unit = Literal["ns", "us", "ms", "s"]
US_PER: Mapping[str, float] = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
Text = Annotated[str, Field(min_length=1)]

_OPERATORS: Mapping[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedDevice(_Section):
    """What the latencies were taken on, as far as its source says.

    Parameters
    ----------
    id, model: what the device is called; rows of two ids never mix.
    source: where they were published; stands in every row.
    runtime: what ran the kernels, with its version.
    """

    id: Text
    model: Text
    source: Text
    soc: str = "unknown"
    os: str = "unknown"
    runtime: str = "unknown"
    threads: Annotated[int, Field(ge=1)] = 1


class LatencyColumn(_Section):
    """Where the latency stands, and its standard deviation in the same unit, if there is one."""

    column: Text
    unit: Unit
    deviation: str | None = None


class KernelRule(_Section):
    """One kernel of a line: its type, and its fields from the line's columns."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Text


class RowRule(_Section):
    """Which lines it is for, and what they measured: a kernel, or several together."""

    kernels: Annotated[tuple[KernelRule, ...], Field(min_length=1)]
    when: dict[str, str | int | float | bool] = {}

    def meets(self, line: Mapping[str, Any]) -> bool:
        """Whether a line is meant."""
        return all(_same(line.get(column), value) for column, value in self.when.items())


def _same(found: object, wanted: str | int | float | bool) -> bool:
    """Numbers by value: a column with gaps has 1.0 for 1."""
    if isinstance(wanted, str | bool) or not isinstance(found, int | float):
        return str(found) == str(wanted)
    return found == wanted


class ImportMapping(_Section):
    """A mapping file. Read it with `read_mapping`."""

    device: PublishedDevice
    layout: Literal["columns", "once_for_all"] = "columns"
    latency: LatencyColumn | None = None
    rows: tuple[RowRule, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it names. Raises `ValueError` for a field that is computed of none."""
        wanted = [] if self.latency is None else [self.latency.column, self.latency.deviation]
        for rule in self.rows:
            wanted += rule.when
            for kernel in rule.kernels:
                for text in (kernel.model_extra or {}).values():
                    if isinstance(text, str) and not text.startswith("="):
                        names = ast.walk(_parsed(text))
                        wanted += [node.id for node in names if isinstance(node, ast.Name)]
        return tuple(dict.fromkeys(filter(None, wanted)))

    @property
    def provenance(self) -> Provenance:
        """What the rows share; all that the file does not say is unknown."""
        device = self.device
        return of_published(
            {
                "device_id": device.id,
                "model": device.model,
                "soc": device.soc,
                "os": device.os,
                "runtime_version": device.runtime,
                "threads": device.threads,
                "lowering": f"published: {device.source}",
            }
        )


def read_mapping(path: Path) -> ImportMapping:
    """The mapping in a TOML file. Raises `TableError` that names the key."""
    try:
        mapping = ImportMapping.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TableError(
            f"a mapping is a TOML file, {path} is none ({error}); correct it"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise TableError(
            f"a mapping says what a file's columns mean, {path} does not: {key}: {first['msg']}; "
            "`netadapt table import --help` names an example"
        ) from error
    if mapping.layout == "columns" and (mapping.latency is None or not mapping.rows):
        missing = "[latency]" if mapping.latency is None else "[[rows]]"
        raise TableError(f"a mapping of columns has {missing}, {path} has not; add it")
    try:
        _ = mapping.columns
    except ValueError as error:
        raise TableError(
            f"a mapping's kernels have fields, in {path} {error}; correct it"
        ) from error
    return mapping


def kernel_of(rule: KernelRule, line: Mapping[str, Any], where: str) -> Kernel:
    """The kernel that a line measured. Raises `TableError` that names the line."""
    fields = dict(rule.model_extra or {})
    try:
        values = ", ".join(f"{name}={value_of(text, line)}" for name, text in fields.items())
        return Kernel.from_key(f"{rule.type}({values})")
    except (ValueError, ArithmeticError) as error:
        said = " ".join(str(error).split())[:200]
        raise TableError(
            f"a line becomes a kernel of its rule's fields, {where} does not ({said}); correct "
            "the mapping or the line"
        ) from error


def value_of(text: object, line: Mapping[str, Any]) -> int | str:
    """A field's value: a number, `=text`, or columns with + - * / // and brackets.

    Raises `ValueError` for what is none of these, or no whole number.
    """
    if isinstance(text, str) and text.startswith("="):
        return text[1:]
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise ValueError(f"a field is a column, a whole number or =text, got {text!r}")
    found = text if isinstance(text, int) else _computed(_parsed(text), line)
    if isinstance(found, str):
        return found
    if found != int(found):
        raise ValueError(f"{text} is a whole number, got {found:g}")
    return int(found)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no column, nor computed of columns") from error
    allowed = (ast.Name, ast.Load, ast.Constant, ast.BinOp, *_OPERATORS)
    if not all(isinstance(node, allowed) for node in ast.walk(parsed)):
        raise ValueError(
            f"columns are computed with by + - * / // and brackets alone, got {text!r}"
        )
    return parsed


def _computed(node: ast.expr, line: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            if name not in line:
                raise ValueError(f"there is no column {name!r}")
            return _number_or_text(line[name])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            operands = (_computed(left, line), _computed(right, line))
            if any(isinstance(operand, str) for operand in operands):
                raise ValueError(f"numbers are computed with, got {operands}")
            return _OPERATORS[type(op)](*operands)
    raise ValueError("a field is a column, a whole number, or computed of them")


def _number_or_text(value: Any) -> float | str:
    if isinstance(value, str):
        return value
    number = float(value)
    if number != number or abs(number) > 2**53:
        raise ValueError(f"a column's value is a number, got {number:g}")
    return number
