"""Latencies that somebody else published: columns by a mapping, and Once-for-all's blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import tomli_w

from netadapt.profiler.errors import TableError
from netadapt.profiler.kernels import (
    ActivationKernel,
    AddKernel,
    DepthwiseConvKernel,
    GlobalPoolKernel,
    LinearKernel,
    PointwiseConvKernel,
    SqueezeExciteKernel,
    StandardConvKernel,
)
from netadapt.profiler.published.latency import UNKNOWN_DEV, rows_of
from netadapt.profiler.published.mapping import read_mapping
from netadapt.profiler.published.reading import read_file
from netadapt.profiler.table import LatencyTable
from tests.command_line import exit_code

DEVICE = {"id": "p1", "model": "Pixel 1", "source": "example.org, commit 1", "threads": 4}
MAPPING = {
    "device": DEVICE,
    "latency": {"column": "mean", "unit": "ms", "deviation": "std"},
    "rows": [
        {
            "when": {"op": "conv", "kernel": 1},
            "kernels": [
                {
                    "type": "pointwise_conv",
                    "in_channels": "cin",
                    "out_channels": "cout",
                    "height": "size",
                    "width": "size",
                    "activation": "act",
                }
            ],
        },
        {
            "when": {"op": "separable"},
            "kernels": [
                {
                    "type": "depthwise_conv",
                    "channels": "cin",
                    "kernel_size": "kernel",
                    "stride": 2,
                    "height": "size",
                    "width": "2 * (size + 4) // 2 - 4",
                },
                {
                    "type": "pointwise_conv",
                    "in_channels": "cin",
                    "out_channels": "cout",
                    "height": "size / 2",
                    "width": "size / 2",
                    "activation": "=relu",
                },
            ],
        },
    ],
}
LINES = """op,kernel,cin,cout,size,act,mean,std
conv,1,8,16,14,relu,0.02,0.001
separable,3,8,24,14,none,0.03,0.003
conv,1,8,16,14,relu,0.03,0.001
pool,2,8,8,14,none,0.01,0.001
"""


def mapping_file(folder: Path, mapping: object = MAPPING) -> Path:
    path = folder / "mapping.toml"
    path.write_text(tomli_w.dumps(mapping))  # type: ignore[arg-type]
    return path


def changed(**latency: object) -> dict[str, object]:
    return MAPPING | {"latency": {"column": "mean", "unit": "ms"} | latency}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lines_become_rows_of_a_device_of_their_own(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lines{suffix}"
    (tmp_path / "lines.csv").write_text(LINES)
    if suffix == ".parquet":
        pd.read_csv(tmp_path / "lines.csv").to_parquet(path)
    meaning = read_mapping(mapping_file(tmp_path))
    found, left_out = read_file(path, meaning)
    assert left_out == 1
    with LatencyTable(tmp_path / "table.sqlite") as table:
        table.add(rows_of(found, meaning.provenance))
        table.add(rows_of(found, meaning.provenance))  # the same again is the same rows
        single, block = table.rows()
    assert single.key == PointwiseConvKernel(8, 16, 14, 14, "relu").key
    assert single.latency_us == pytest.approx(25)
    assert single.repeat_dev == pytest.approx(0.5), "two lines of it lie so far apart"
    assert block.kernels == (
        DepthwiseConvKernel(8, 3, 2, 14, 14).key,
        PointwiseConvKernel(8, 24, 7, 7, "relu").key,
    )
    assert (block.latency_us, block.spread) == (pytest.approx(30), pytest.approx(0.1))
    assert single.provenance == block.provenance
    assert "example.org, commit 1" in str(single.provenance)
    assert (single.provenance.device.kind, single.provenance.threads) == ("unknown", 4)
    assert single.effort is None
    assert single.rounds_us == ()


OFA = """
Conv-input:224x224x3-output:112x112x24:
  {mean: 0.99, std: 0.01, count: 500}
Conv_1-input:7x7x192-output:7x7x1152: {mean: 0.69, std: 0.02, count: 500}
AvgPool2D-input:7x7x1152-output:1x1x1152: {mean: 0.015, std: 0.0009, count: 495}
Logits-input:1x1x1536-output:1000: {mean: 0.67, std: 0.07, count: 500}
expanded_conv-input:112x112x24-output:112x112x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0:
  {mean: 1.77, std: 0.02, count: 500}
expanded_conv-input:14x14x80-output:7x7x160-expand:480-kernel:5-stride:2-idskip:0-se:1-hs:1:
  {mean: 1.2, std: 0.02, count: 50}
"""


def test_once_for_alls_blocks_are_their_kernels(tmp_path: Path) -> None:
    path = tmp_path / "224.yaml"
    path.write_text(OFA)
    meaning = read_mapping(mapping_file(tmp_path, {"layout": "once_for_all", "device": DEVICE}))
    found, left_out = read_file(path, meaning)
    assert left_out == 0
    assert [latency.kernels for latency in found] == [
        (StandardConvKernel(3, 24, 3, 2, 224, 224), ActivationKernel("hardswish", 24, 112, 112)),
        (PointwiseConvKernel(192, 1152, 7, 7), ActivationKernel("hardswish", 1152, 7, 7)),
        (GlobalPoolKernel(1152, 7, 7),),
        (LinearKernel(1536, 1000),),
        (
            DepthwiseConvKernel(24, 3, 1, 112, 112, "relu"),
            PointwiseConvKernel(24, 24, 112, 112),
            AddKernel(24, 112, 112),
        ),
        (
            PointwiseConvKernel(80, 480, 14, 14),
            ActivationKernel("hardswish", 480, 14, 14),
            DepthwiseConvKernel(480, 5, 2, 14, 14),
            SqueezeExciteKernel(480, 120, 7, 7),
            ActivationKernel("hardswish", 480, 7, 7),
            PointwiseConvKernel(480, 160, 7, 7),
        ),
    ]
    assert found[3].latency_us == pytest.approx(670)
    assert found[3].spread == pytest.approx(0.07 / 0.67)
    rows = rows_of(found, meaning.provenance)
    assert rows[-1].label is not None
    assert rows[-1].label.startswith("expanded_conv-input:14x14x80")


def test_what_is_not_published_is_not_invented(tmp_path: Path) -> None:
    (tmp_path / "lines.csv").write_text(LINES)
    meaning = read_mapping(mapping_file(tmp_path, changed()))
    found, _ = read_file(tmp_path / "lines.csv", meaning)
    block = rows_of(found, meaning.provenance)[1]
    assert (block.spread, block.repeat_dev) == (0, UNKNOWN_DEV)
    assert block.conditions.sentinel_us == ()
    assert block.provenance.device.soc == "unknown"


@pytest.mark.parametrize(
    ("lines", "mapping", "said"),
    [
        (LINES.replace("mean", "time"), MAPPING, r"lacks mean; it has op, kernel"),
        (LINES.replace("0.02,", "-0.02,"), MAPPING, r"above 0 and finite, got -20 us in line 2"),
        (LINES.replace("0.02,", "nan,"), MAPPING, r"got nan us in line 2 of lines.csv"),
        (LINES.replace("0.02,", "fast,"), MAPPING, r"is a number, got 'fast' in line 2"),
        (LINES.replace(",16,", ",0,"), MAPPING, r"line 2 of lines.csv does not \(the fields of"),
        (LINES.replace(",16,", ",1.5,"), MAPPING, r"cout is a whole number, got 1.5"),
        (LINES, changed(unit="ns"), r"latencies read as ns mean .*; correct the unit"),
        (LINES, changed(unit="msec"), r"latency.unit: Input should be 'ns', 'us', 'ms' or 's'"),
        (LINES, changed(colum="x"), r"latency.colum: Extra inputs are not permitted"),
        (LINES, {"device": DEVICE, "rows": MAPPING["rows"]}, r"a mapping of columns has \[latency"),
        (LINES, {"latency": MAPPING["latency"]}, r"device: Field required"),
        ("", MAPPING, r"is no csv file \(No columns"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(tmp_path: Path, lines: str, mapping: object, said: str) -> None:
    (tmp_path / "lines.csv").write_text(lines)
    with pytest.raises(TableError, match=said):
        read_file(tmp_path / "lines.csv", read_mapping(mapping_file(tmp_path, mapping)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').system('true')", "by . - . / // and brackets alone"),
        ("cin.real", "and brackets alone"),
        ("cin ** 2", "and brackets alone"),
        ("cin / 0", "division by zero"),
        ("cin *", "is no column"),
        ("op * 2", "numbers are computed with"),
        ("(" * 300 + "cin" + ")" * 300, "is no column"),
    ],
)
def test_a_field_is_computed_and_nothing_else(tmp_path: Path, text: str, said: str) -> None:
    rule = {"type": "linear", "in_features": text, "out_features": 3}
    (tmp_path / "lines.csv").write_text(LINES)
    mapping = changed() | {"rows": [{"kernels": [rule]}]}
    with pytest.raises(TableError, match=said):
        read_file(tmp_path / "lines.csv", read_mapping(mapping_file(tmp_path, mapping)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (": [", "is no YAML file"),
        ("- 1", "map blocks to latencies"),
        ("Deconv-input:1x1x8-output:2x2x8: {mean: 1}", "got 'Deconv-input"),
        ("Logits-input:1x1x8-output:10: {median: 1}", "has a mean latency"),
        ("Logits-input:1x1x8-output:10: {mean: -1}", "got -1000 us"),
        ("Logits-input:1x1x0-output:10: {mean: 1}", "is no block"),
        ("!!python/object/apply:os.system ['true']", "is no YAML file"),
    ],
)
def test_a_broken_table_of_blocks_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "224.yaml"
    path.write_text(content)
    meaning = read_mapping(mapping_file(tmp_path, {"layout": "once_for_all", "device": DEVICE}))
    with pytest.raises(TableError, match=said):
        read_file(path, meaning)


def test_the_command_imports_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, table = tmp_path / "lines.csv", tmp_path / "table.sqlite"
    lines.write_text(LINES)
    arguments = (str(lines), "--mapping", str(mapping_file(tmp_path)), "--table", str(table))
    assert exit_code("table", "import", *arguments) == 0
    said = capsys.readouterr().out
    assert "2 rows of 3 lines, 1 of several kernels together; no rule of the mapping is" in said
    assert f"next: netadapt fit {table}" in said
    assert exit_code("table", "import", *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == 1
    assert exit_code("table", "import", str(tmp_path / "no.csv"), *arguments[1:]) == 2
    assert "no.csv is not there" in capsys.readouterr().err
    lines.write_text("\n".join(LINES.splitlines()[::4]))
    other = tmp_path / "other.sqlite"
    assert exit_code("table", "import", *arguments[:-1], str(other)) == 2
    assert "at least one latency, got none (1 lines that no rule" in capsys.readouterr().err
    assert not other.exists()
