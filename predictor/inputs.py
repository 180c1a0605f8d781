"""The forms in which kernels are given to an estimator, read into one.

A frame has a line for each kernel: its `key`, or its `type` and a column for each of its fields,
as `LatencyTable.to_frame` has them. A column `copies` makes each line a program of its own, as a
table measures it: the kernel alone (1) or a chain of so many copies of it. Without frames, kernels
come as a sequence of keys or of `Kernel` objects.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from netadapt.predictor.errors import KernelInputError
from netadapt.profiler.kernels import Kernel, kernel_types
from netadapt.profiler.keys import NETWORK, parse_key

if TYPE_CHECKING:
    KernelInput = pd.DataFrame | pd.Series | Sequence[Kernel] | Sequence[str] | NDArray[np.object_]

FORMS = "a frame of kernel fields, or a sequence of keys or of Kernel objects"


@dataclass(frozen=True, slots=True)
class Programs:
    """What an `X` is of.

    Parameters
    ----------
    kernels : tuple of Kernel
        One for each line.
    copies : tuple of int or None
        How many of the kernel a line's program has; None where the lines are kernels inside a
        network and not programs of their own.
    """

    kernels: tuple[Kernel, ...]
    copies: tuple[int, ...] | None


def read_kernels(X: KernelInput) -> Programs:
    """Read an `X` of any form that the module names.

    Raises
    ------
    KernelInputError
        Where `X` is of no such form, or a line of it is no kernel.
    netadapt.profiler.errors.UnknownKernelError
        Where a text is no kernel's key.
    """
    if isinstance(X, pd.DataFrame):
        return _read_frame(X)
    if isinstance(X, str | bytes | Mapping | Kernel) or getattr(X, "ndim", 1) != 1:
        raise KernelInputError(
            f"X is {FORMS}, got {_shown(X)}; transformers before a predictor keep frames with "
            'set_output(transform="pandas")'
        )
    try:
        items = list(X)
    except TypeError as error:
        raise KernelInputError(f"X is {FORMS}, got {_shown(X)}; pass one of them") from error
    return Programs(tuple(_kernel(item, line) for line, item in enumerate(items)), None)


def _shown(X: object) -> str:
    shape = getattr(X, "shape", None)
    return type(X).__name__ + ("" if shape is None else f" of shape {shape}")


def _kernel(item: object, line: int) -> Kernel:
    if isinstance(item, Kernel):
        return item
    if not isinstance(item, str):
        raise KernelInputError(
            f"a sequence of kernels holds keys or Kernel objects, line {line} is a "
            f"{type(item).__name__}; pass Kernel.key, or a frame of fields"
        )
    return _from_key(str(item), line)


def _from_key(key: str, line: int) -> Kernel:
    if key.startswith(f"{NETWORK}("):
        raise _network_error(line)
    return Kernel.from_key(key)


def _network_error(line: int) -> KernelInputError:
    return KernelInputError(
        f"X holds kernels, line {line} is a whole network; leave networks out "
        f"(frame[frame['type'] != {NETWORK!r}]), predict_networks(...) is for them"
    )


def _read_frame(frame: pd.DataFrame) -> Programs:
    if "key" not in frame.columns and "type" not in frame.columns:
        raise KernelInputError(
            "a frame of kernels has a column `key`, or `type` and the kernels' fields, got "
            f"{', '.join(map(str, frame.columns[:8])) or 'no columns'}; see docs/predictor.md"
        )
    fields = {f.name for cls in kernel_types().values() for f in dataclasses.fields(cls)}
    wanted = [c for c in frame.columns if c in {"key", "type", "copies", *fields}]
    records: list[dict[Any, Any]] = frame[wanted].to_dict("records")
    kernels = tuple(_line_kernel(record, line) for line, record in enumerate(records))
    if "copies" not in frame.columns:
        return Programs(kernels, None)
    return Programs(kernels, tuple(_copies(r["copies"], line) for line, r in enumerate(records)))


def _line_kernel(record: Mapping[str, Any], line: int) -> Kernel:
    """Read the kernel of a frame's line; a key and the fields beside it have to agree."""
    if record.get("type") == NETWORK:
        raise _network_error(line)
    key = record.get("key")
    if is_absent(key):
        return _from_fields(record, line)
    kernel = _from_key(str(key), line)
    parsed = parse_key(kernel.key)
    assert parsed is not None  # it is a kernel's
    for name, value in {"type": parsed[0], **parsed[1]}.items():
        beside = record.get(name)
        if not is_absent(beside) and _plain(beside) != value:
            raise KernelInputError(
                f"a line's key and fields are of one kernel, in line {line} {name} is {beside!r} "
                f"beside {key}; correct it, or drop the column `key`"
            )
    return kernel


def _from_fields(record: Mapping[str, Any], line: int) -> Kernel:
    types = kernel_types()
    cls = types.get(str(record.get("type")))
    if cls is None:
        raise KernelInputError(
            f"a kernel's type is one of {', '.join(sorted(types))}, line {line} has "
            f"{record.get('type')!r}; correct it or leave the line out"
        )
    names = [field.name for field in dataclasses.fields(cls)]
    missing = [name for name in names if is_absent(record.get(name))]
    if missing:
        raise KernelInputError(
            f"a {cls.type_name} kernel has the fields {', '.join(names)}, line {line} lacks "
            f"{', '.join(missing)}; add the columns"
        )
    try:
        return cls(**{name: _plain(record[name]) for name in names})
    except ValueError as error:
        raise KernelInputError(f"line {line} is no kernel: {error}") from error


def _copies(value: object, line: int) -> int:
    count = 1 if is_absent(value) else _plain(value)
    if not isinstance(count, int) or count < 1:
        raise KernelInputError(
            f"a chain has a whole number of copies, at least 1, line {line} has {value!r}; "
            "correct the row or leave it out"
        )
    return count


def _plain(value: Any) -> Any:
    """Return a cell as Python's value; a column with gaps holds whole numbers as floats."""
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_absent(value: object) -> bool:
    """Whether a frame's cell is empty: None, NaN or pandas' NA."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
