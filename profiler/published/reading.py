"""Published files of latencies: tables of columns, and the blocks of Once-for-all's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from netadapt.profiler.errors import TableError
from netadapt.profiler.kernels import (
    ActivationKernel,
    AddKernel,
    DepthwiseConvKernel,
    GlobalPoolKernel,
    Kernel,
    LinearKernel,
    PointwiseConvKernel,
    SqueezeExciteKernel,
    StandardConvKernel,
)
from netadapt.profiler.published.latency import PublishedLatency, check_unit
from netadapt.profiler.published.mapping import US_PER, ImportMapping, kernel_of


def read_file(path: Path, mapping: ImportMapping) -> tuple[list[PublishedLatency], int]:
    """The latencies in a file, and how many of its lines no rule of the mapping is for.

    Raises
    ------
    TableError
        For a file that is none of the layout, a line without a latency, and a unit that cannot be.
    """
    if not path.is_file():
        raise TableError(f"a file of latencies is imported, {path} is not there; name another")
    if mapping.layout == "once_for_all":
        found, left_out = list(_once_for_all(path)), 0
    else:
        found, left_out = _by_columns(path, mapping)
    check_unit(found, "ms" if mapping.latency is None else mapping.latency.unit)
    return found, left_out


def _by_columns(path: Path, mapping: ImportMapping) -> tuple[list[PublishedLatency], int]:
    import pandas as pd

    assert mapping.latency is not None
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix == ".csv":
            frame = pd.read_csv(path)
        else:
            raise TableError(f"columns are read from .csv or .parquet, got {path.name}; convert it")
    except (OSError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        said = " ".join(str(error).split())[:200]
        raise TableError(f"{path} is no {path.suffix[1:]} file ({said}); correct it") from error
    missing = [name for name in mapping.columns if name not in frame.columns]
    if missing:
        raise TableError(
            f"an imported file has the columns that its mapping names, {path.name} lacks "
            f"{', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )
    found, left_out = [], 0
    lines: list[dict[Any, Any]] = frame.to_dict("records")
    for number, line in enumerate(lines, 2):
        rule = next((rule for rule in mapping.rows if rule.meets(line)), None)
        if rule is None:
            left_out += 1
            continue
        where = f"line {number} of {path.name}"
        kernels = tuple(kernel_of(kernel, line, where) for kernel in rule.kernels)
        latency = _number(line[mapping.latency.column], where)
        deviation = mapping.latency.deviation
        spread = None if deviation is None else _number(line[deviation], where) / (latency or 1.0)
        per = US_PER[mapping.latency.unit]
        found.append(PublishedLatency(kernels, latency * per, spread, where))
    return found, left_out


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TableError(
            f"a latency is a number, got {value!r} in {where}; correct the line or leave it out"
        ) from error


_SIZE = r"(\d+)x(\d+)x(\d+)"
_BLOCK = re.compile(
    rf"expanded_conv-input:{_SIZE}-output:{_SIZE}-expand:(\d+)-kernel:(\d+)-stride:(\d+)"
    r"-idskip:([01])-se:([01])-hs:([01])"
)
_LAYER = re.compile(rf"(Conv|Conv_1|Conv_2|AvgPool2D)-input:{_SIZE}-output:{_SIZE}")
_LOGITS = re.compile(rf"Logits-input:{_SIZE}-output:(\d+)")


def _once_for_all(path: Path) -> Iterator[PublishedLatency]:
    """Once-for-all's tables of MobileNetV3: a YAML mapping of blocks to mean and deviation in ms.

    Names are `input:HxWxC`. The kernels of a block as its networks have them: expansion where it
    widens, depthwise, squeeze-excite (a quarter, to a multiple of 8), projection, addition.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())[:200]
        raise TableError(f"{path} is no YAML file ({said}); correct it") from error
    if not isinstance(content, Mapping) or not content:
        raise TableError(
            f"Once-for-all's tables map blocks to latencies, {path} does not; give another layout"
        )
    for name, values in content.items():
        where = f"{str(name)[:120]!r} of {path.name}"
        kernels = _kernels_of(str(name), where)
        if not isinstance(values, Mapping) or "mean" not in values:
            raise TableError(f"a block has a mean latency, {where} has none; correct it")
        mean = _number(values["mean"], where)
        deviation = _number(values.get("std", 0.0), where)
        yield PublishedLatency(
            kernels, mean * US_PER["ms"], deviation / (mean or 1.0), where, str(name)
        )


def _kernels_of(name: str, where: str) -> tuple[Kernel, ...]:
    try:
        if match := _BLOCK.fullmatch(name):
            return tuple(_block(*map(int, match.groups())))
        if match := _LAYER.fullmatch(name):
            return _layer(match[1], *map(int, match.groups()[1:]))
        if match := _LOGITS.fullmatch(name):
            return (LinearKernel(int(match[3]), int(match[4])),)
    except ValueError as error:
        raise TableError(f"{where} is no block: {error}") from error
    raise TableError(
        "a name of Once-for-all's tables is expanded_conv-..., Conv..., AvgPool2D-... or "
        f"Logits-..., got {where}; give another layout"
    )


def _block(
    height: int, width: int, inputs: int, out_height: int, out_width: int, outputs: int,
    expand: int, kernel_size: int, stride: int, skip: int, squeeze: int, hard_swish: int,
) -> Iterator[Kernel]:  # fmt: skip
    clamp = "none" if hard_swish else "relu"
    if expand != inputs:
        yield PointwiseConvKernel(inputs, expand, height, width, clamp)
        if hard_swish:
            yield ActivationKernel("hardswish", expand, height, width)
    yield DepthwiseConvKernel(expand, kernel_size, stride, height, width, clamp)
    if squeeze:
        hidden = _eighths(expand / 4)
        yield SqueezeExciteKernel(expand, hidden, out_height, out_width)
    if hard_swish:
        yield ActivationKernel("hardswish", expand, out_height, out_width)
    yield PointwiseConvKernel(expand, outputs, out_height, out_width)
    if skip:
        yield AddKernel(outputs, out_height, out_width)


def _layer(
    name: str, height: int, width: int, inputs: int, out_height: int, out_width: int, outputs: int
) -> tuple[Kernel, ...]:
    swish = ActivationKernel("hardswish", outputs, out_height, out_width)
    if name == "AvgPool2D":
        return (GlobalPoolKernel(inputs, height, width),)
    if name == "Conv":
        stride = height // out_height
        return (StandardConvKernel(inputs, outputs, 3, stride, height, width), swish)
    return (PointwiseConvKernel(inputs, outputs, height, width), swish)


def _eighths(channels: float) -> int:
    """The multiple of 8 that MobileNets round to: the nearest, none a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
