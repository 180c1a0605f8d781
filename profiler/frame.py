"""A latency table's rows as lines of a data frame, and back; CSV and Parquet, a part at a time.

A line has a column for each field of a kernel (of all types in the table together), of `Row`, of
its conditions and of its provenance. Figures by round are lists; in CSV those are JSON text.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netadapt.android_runner.device import Conditions
from netadapt.android_runner.files import writing_atomically
from netadapt.profiler.checking import checked
from netadapt.profiler.columns import CONDITION_COLUMNS, EFFORT_COLUMNS
from netadapt.profiler.errors import TableError
from netadapt.profiler.keys import key_fields
from netadapt.profiler.provenance import LATER_COLUMNS, PROVENANCE_COLUMNS, flat, from_flat
from netadapt.profiler.row import Effort, Provenance, Row
from netadapt.profiler.schema import kernel_column

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, Any]
"""Of a frame, in their order, with the type of their values, or None, e.g. `int | None`."""

_PART = 2000
"""Rows that are written at a time."""

_BEHIND = ("kernels", "input_shape", "rounds_us")
_OWN = tuple(
    field.name
    for field in dataclasses.fields(Row)
    if field.name not in ("conditions", "provenance", "effort", "label", *_BEHIND)
)
_DERIVED = {"sentinel_us": float | None, "freq_khz_lowest": int | None}
"""One figure in place of a list by round, for those who leave the lists out."""

_OPTIONAL = {
    *("label", "input_shape", "rounds_us"),
    *(
        column
        for column, name in CONDITION_COLUMNS.items()
        if name in ("cpus", "threads", "sentinel_us")
        or Conditions.__dataclass_fields__[name].default is not dataclasses.MISSING
    ),
    *EFFORT_COLUMNS,
    *LATER_COLUMNS,
}
"""Columns that a frame may lack: those of later formats, and those of figures by round."""


@functools.cache
def _kinds() -> Columns:
    """The types of all that is no field of a kernel, by column."""
    of_conditions, of_effort = typing.get_type_hints(Conditions), typing.get_type_hints(Effort)
    return {
        **typing.get_type_hints(Row),
        **{column: of_effort[field] | None for column, field in EFFORT_COLUMNS.items()},
        **{column: of_conditions[field] for column, field in CONDITION_COLUMNS.items()},
        **_DERIVED,
        **PROVENANCE_COLUMNS,
    }


def columns(keys: Iterable[str], *, samples: bool) -> Columns:
    """The columns of a frame of rows whose kernels have the fields of these keys."""
    hints = _kinds()
    fields: dict[str, Any] = {}
    for key in keys:
        for field, value in key_fields(key).items():
            name = kernel_column(field)
            fields[name] = type(value) | None if fields.get(name) != str | None else str | None
    listed = [name for name in CONDITION_COLUMNS if samples or not _is_list(hints[name])]
    behind = [name for name in _BEHIND if samples or name != "rounds_us"]
    known: dict[str, Any] = {"type": str}
    known |= {name: hints[name] for name in ("key", "label", "copies")}
    known |= fields
    known |= {name: hints[name] for name in (*_OWN, *EFFORT_COLUMNS)}
    known |= _DERIVED
    return known | {name: hints[name] for name in (*listed, *behind, *PROVENANCE_COLUMNS)}


def to_frame(rows: Iterable[Row], wanted: Columns) -> pd.DataFrame:
    """A line for each row; see the module."""
    import pandas as pd

    made = pd.DataFrame([_line(row, wanted) for row in rows], columns=list(wanted))
    dtypes = {int: "Int64", bool: "boolean", float: "float64"}
    return made.astype(
        {name: dtypes[_plain(kind)] for name, kind in wanted.items() if _plain(kind) in dtypes}
    )


def export(rows: Iterable[Row], wanted: Columns, path: Path) -> int:
    """Write the lines of `rows` to a `.csv` or `.parquet` file; how many. Raises `TableError`."""
    if path.suffix not in (".csv", ".parquet"):
        raise TableError(
            f"a table is exported to .csv or .parquet, got {path.name!r}; choose one of them"
        )
    write = _write_csv if path.suffix == ".csv" else _write_parquet
    lines = ([_line(row, wanted) for row in part] for part in _parts(rows))
    with writing_atomically(path) as file:
        return write(lines, wanted, file)


def from_frame(data: pd.DataFrame) -> list[Row]:
    """The rows of a frame with the columns of `to_frame`, read back from CSV or not.

    Raises `TableError`.
    """
    wanted = (*_OWN, "kernels", *CONDITION_COLUMNS, *PROVENANCE_COLUMNS)
    missing = [n for n in wanted if n not in _OPTIONAL and n not in data.columns]
    if missing:
        raise TableError(
            f"a frame of a latency table has the columns of to_frame(), {missing} missing; "
            "export the table again"
        )
    return [_row(record) for record in data.to_dict("records")]


def _line(row: Row, wanted: Columns) -> dict[str, Any]:
    """The values of a row by column, None where a column is not its own."""
    line: dict[str, Any] = dict.fromkeys(wanted)
    if row.kernels is None:
        for field, value in key_fields(row.key).items():
            if (name := kernel_column(field)) in line:
                line[name] = str(value) if _plain(wanted[name]) is str else _whole(value)
    line |= {name: getattr(row, name) for name in ("type", "label", *_OWN, *_DERIVED)}
    line |= {c: getattr(row.conditions, f) for c, f in CONDITION_COLUMNS.items() if c in line}
    if row.effort is not None:
        line |= {column: getattr(row.effort, field) for column, field in EFFORT_COLUMNS.items()}
    line |= flat(row.provenance)
    line |= {name: getattr(row, name) for name in _BEHIND if name in line}
    return {name: _as_list(value) for name, value in line.items()}


def _whole(value: int | str) -> int | None:
    return value if isinstance(value, int) else None


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, tuple) else value


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while part := list(itertools.islice(left, _PART)):
        yield part


def _write_csv(
    parts: Iterable[list[dict[str, Any]]], wanted: Columns, file: typing.BinaryIO
) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, list(wanted), lineterminator="\n")
    writer.writeheader()
    count = 0
    for part in parts:
        for line in part:
            writer.writerow(
                {n: json.dumps(v) if isinstance(v, list) else v for n, v in line.items()}
            )
        count += len(part)
    text.flush()
    text.detach()  # the file is closed by who opened it
    return count


def _write_parquet(
    parts: Iterable[list[dict[str, Any]]], wanted: Columns, file: typing.BinaryIO
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow(kind)) for name, kind in wanted.items()])
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            writer.write_table(pa.Table.from_pylist(part, schema))
            count += len(part)
    return count


def _arrow(kind: Any) -> Any:
    import pyarrow as pa

    if _is_list(kind):
        return pa.list_(_arrow(typing.get_args(_without_none(kind))[0]))
    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return kinds.get(_plain(kind), pa.string())


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(option for option in typing.get_args(kind) if option is not types.NoneType)
    return kind


def _is_list(kind: Any) -> bool:
    return typing.get_origin(_without_none(kind)) is tuple


def _plain(kind: Any) -> Any:
    """int, float, bool or str; of a choice of texts str; None for a list."""
    kind = _without_none(kind)
    if typing.get_origin(kind) is typing.Literal:
        return str
    return kind if isinstance(kind, type) and not _is_list(kind) else None


def _row(record: Mapping[Any, Any]) -> Row:
    """A line of a frame as a row."""
    kinds = _kinds()
    values: dict[str, Any] = {}
    columns = (*_OWN, "label", *_BEHIND, *CONDITION_COLUMNS, *PROVENANCE_COLUMNS, *EFFORT_COLUMNS)
    for name in (*columns, *_DERIVED):
        value = _read(record.get(name), kinds[name])
        may_lack = name in _OPTIONAL or types.NoneType in typing.get_args(kinds[name])
        if value is None and not may_lack:
            raise TableError(
                f"a line of the frame is no row of a latency table ({name} is empty, key "
                f"{record['key']!r}); export the table again"
            )
        values[name] = value
    conditions = {field: values[column] for column, field in CONDITION_COLUMNS.items()}
    stand_ins = {
        "cpus": [cpu for cpu in str(values["cpus"]).split(",") if cpu.isdecimal()],
        "threads": values["threads"],
        "sentinel_us": [us for us in [values["sentinel_us"]] if us is not None],
        "round_freqs_khz": [khz for khz in [values["freq_khz_lowest"]] if khz is not None],
    }
    for field, stand_in in stand_ins.items():
        if conditions[field] is None:
            conditions[field] = stand_in
    named = {name: values[name] for name in (*_OWN, "label", *_BEHIND)}
    named["rounds_us"] = named["rounds_us"] or ()
    named["conditions"] = {name: v for name, v in conditions.items() if v is not None} | {
        f.name: None
        for f in dataclasses.fields(Conditions)
        if f.default is dataclasses.MISSING and conditions[f.name] is None
    }
    effort = {field: values[column] for column, field in EFFORT_COLUMNS.items()}
    named["effort"] = None if None in effort.values() else effort
    what = f"the line of {values['key']!r}"
    named["provenance"] = _provenance(
        tuple((name, _scalar(values[name])) for name in PROVENANCE_COLUMNS),
        _scalar(conditions["performance"]),
    )
    row: Row = checked(Row, named, what, remedy="export the table again")
    return row


@functools.lru_cache(maxsize=256)
def _provenance(columns: tuple[tuple[str, Any], ...], performance: object) -> Provenance:
    performances = [performance] if isinstance(performance, str) else []
    return from_flat(dict(columns), "a line's provenance", performances=performances)


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else str(value)


def _read(value: Any, kind: Any) -> Any:
    """A cell as Python's value: lists from JSON or arrays, text as text, None for what is empty."""
    if isinstance(value, str):
        try:
            return json.loads(value) if _is_list(kind) else value
        except (ValueError, RecursionError):
            return value  # refused with the row
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_read(item, None) for item in value]
    if value is None or value != value or str(value) == "<NA>":
        return None
    return str(value) if _plain(kind) is str else value
