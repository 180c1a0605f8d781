"""The command line from outside: exit codes, what goes where, one line an error."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from netadapt import __version__
from netadapt.android_runner.errors import DeviceLostError
from netadapt.commands import cli
from netadapt.commands import search as search_command
from netadapt.config import RunConfig
from netadapt.profiler.table import LatencyTable, Row
from tests.provenance import MADE_UP, NOTHING_TOLD

COMMANDS = [
    ["devices"],
    ["spaces"],
    ["init"],
    ["profile"],
    ["table", "show"],
    ["table", "export"],
    ["fit"],
    ["search"],
    ["report"],
    ["demo"],
]
ROW = Row(
    key="linear(in_features=64, out_features=10)",
    copies=1,
    kernels=None,
    latency_us=1.5,
    repeat_dev=0.01,
    spread=0.01,
    quality="ok",
    attempts=2,
    rounds_us=((1.5, 1.6),),
    calls_per_sample=30,
    program_sha256="0" * 64,
    conditions=NOTHING_TOLD,
    provenance=MADE_UP,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "latency.sqlite"
    with LatencyTable(path) as rows:
        rows.add([ROW, replace(ROW, key="pooling(channels=8)")])
    return path


def exit_code(arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    code = left.value.code
    assert isinstance(code, int)
    return code


def netadapt(arguments: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netadapt", *arguments]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, text=True, timeout=120, check=False, **{"stderr": subprocess.PIPE} | options
    )


def check_refused(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str], *parts: str
) -> None:
    assert exit_code(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("netadapt: ")
    assert output.err.count("\n") == 1, output.err
    assert output.err.endswith("\n")
    for part in parts:
        assert part in output.err


@pytest.mark.parametrize("command", [[], *COMMANDS, ["runner", "build"]], ids=" ".join)
def test_help_has_a_short_name(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([*command, "-h"]) == 0
    short = capsys.readouterr().out
    assert exit_code([*command, "--help"]) == 0
    assert short == capsys.readouterr().out != ""


def test_the_shell_completes_commands() -> None:
    # typer looks for the shell among the program's parents.
    command = f"{shlex.quote(sys.executable)} -m netadapt --show-completion bash; exit $?"
    script = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert (script.returncode, script.stderr) == (0, "")
    assert "_NETADAPT_COMPLETE" in script.stdout
    asked = {"_NETADAPT_COMPLETE": "complete_bash", "COMP_WORDS": "netadapt pro", "COMP_CWORD": "1"}
    answer = netadapt([], stdout=subprocess.PIPE, env=os.environ | asked)
    assert (answer.stdout.split(), answer.stderr) == (["profile"], "")


def test_modules_of_somebody_elses_are_not_in_the_way(tmp_path: Path) -> None:
    for name in ("search", "profiler", "predictor"):
        (tmp_path / f"{name}.py").write_text("raise SystemError('not for netadapt')\n")
    found = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = netadapt(["spaces", "--json"], cwd=tmp_path, stdout=subprocess.PIPE, env=found)
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits" in done.stdout


def test_an_install_that_lacks_something() -> None:
    script = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from netadapt.commands.cli import main\n"
        "main(['profile', '--dry-run'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("netadapt: netadapt needs the package 'pydantic'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([*command, "--help"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert f"Example: netadapt {' '.join(command)}" in output.out
    assert "--json" in output.out


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pandas", "sklearn", "matplotlib", "pydantic", "rich", "jinja2")
    script = (
        "import sys; from netadapt.commands.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"
    assert "search" in done.stdout


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["profle"], ["'profle'", "netadapt --help"]),
        (["table", "show"], ["'TABLE'", "netadapt table show --help"]),
        (["profile", "--kernels", "many"], ["'--kernels'", "integer"]),
        (["table", "show", "x", "--limit", "0"], ["--limit"]),
        (["search", "--nonsense"], ["--nonsense"]),
        (["profile", "--kernels", "0"], ["sample.kernels", "got 0"]),
        (["table", "show", "nowhere.sqlite"], ["nowhere.sqlite", "netadapt profile"]),
        (["fit", "nowhere.sqlite"], ["nowhere.sqlite"]),
        (["search", "nowhere.toml"], ["nowhere.toml"]),
        (["search", "--budget", "0.5"], ["--from FOLDER", "go together"]),
        (["search", "--from", "runs/demo"], ["--budget", "go together"]),
        (["search", "--from", "runs/demo", "--budget", "1", "--steps", "2"], ["--steps"]),
        (["search", "--steps", "0"], ["--steps", "greater than or equal to 1"]),
        (["search", "a.toml", "--from", "runs/demo", "--budget", "0.5"], ["without another run"]),
        (["search", "--from", "nowhere", "--budget", "0.5"], ["run.toml", "nowhere"]),
        (["search", "--loop", "often"], ["search.loop", "'often'", "'top_k'"]),
        (["report", "nowhere"], ["nowhere", "run.toml"]),
        (
            ["profile", "--device", "telephone", "--table", "t.sqlite"],
            ["'telephone'", "netadapt devices"],
        ),
        (["profile", "--cpus", "999", "--table", "t.sqlite"], ["cpus", "999"]),
        # A run file or none: what is wrong shows before anything is made.
        (["profile", "--device", "telephone"], ["'telephone'", "netadapt devices"]),
        (["profile", "--cpus", "999"], ["cpus", "999"]),
        (["profile", "--space", "nowhere"], ["'nowhere'", "digits"]),
        (["profile", "--threads", "1", "--threads", "9999"], ["threads", "9999"]),
        (["profile", "--folder", "f", "--device", "telephone"], ["'telephone'"]),
        (["profile", "--folder", "f", "--table", "t.sqlite"], ["--table or --folder"]),
        (["search", "--device", "telephone"], ["'telephone'", "netadapt devices"]),
        (["profile", "--space", "nowhere", "--table", "t.sqlite"], ["'nowhere'", "digits"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refused(arguments, capsys, *parts)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0 and then something else", os.urandom(4096)]
)
def test_a_file_that_is_no_table(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "latency.sqlite"
    path.write_bytes(content)
    if content:  # an empty file is an empty database, and so an empty table
        check_refused(["table", "show", str(path)], capsys, "latency.sqlite")
        assert path.read_bytes() == content
    check_refused(["fit", str(path)], capsys)


def test_a_damaged_table(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(table.read_bytes())
    content[len(content) // 4 :] = os.urandom(len(content) - len(content) // 4)
    table.write_bytes(content)
    check_refused(["table", "show", str(table)], capsys, "latency.sqlite")


@pytest.mark.parametrize("content", ["[run\n", "[search.mcd]\ncandidates = 0\n", "\udcff"])
def test_a_run_file_that_cannot_be_used(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content, errors="surrogateescape")
    check_refused(["search", str(path)], capsys, "mine.toml")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


def test_a_width_that_is_not_in_the_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from netadapt.search.space_file import SPACES

    odd = (SPACES / "digits.toml").read_text().replace("width = 24", "width = 23", 1)
    (tmp_path / "odd.toml").write_text(odd)
    (tmp_path / "run.toml").write_text('[space]\nname = "odd.toml"\n[run]\nfolder = "never"')
    check_refused(
        ["profile", str(tmp_path / "run.toml"), "--table", str(tmp_path / "t.sqlite")],
        capsys,
        "got (23, 23)",
    )
    assert not (tmp_path / "t.sqlite").exists()


def test_a_table_is_shown_and_printed_as_json(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["table", "show", str(table), "--type", "linear"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "Made-up 1" in output.out
    assert ROW.key in output.out
    assert "pooling" not in output.out
    assert exit_code(["table", "show", str(table), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in rows] == [ROW.key, "pooling(channels=8)"]
    assert rows[0]["provenance"]["model"] == "Made-up 1"


def test_a_table_is_exported(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "latency.csv"
    assert exit_code(["table", "export", str(table), str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "rows": 2}
    assert out.read_text().count("\n") == 3
    check_refused(["table", "export", str(table), str(tmp_path / "latency.xls")], capsys, ".csv")


OTHER = replace(MADE_UP, threads=4, device=replace(MADE_UP.device, runner_sha256="1" * 64))
SEVERAL = [
    replace(ROW, key="linear(in_features=8, out_features=10)", latency_us=7.0),
    ROW,
    replace(ROW, key="linear(in_features=16, out_features=10)", quality="unstable"),
    replace(ROW, provenance=OTHER, latency_us=2.5),
    replace(ROW, key="network(0)", kernels=(ROW.key,) * 3, label="{" + "x" * 500, latency_us=9.0),
    replace(ROW, key="network(1)", kernels=(), label="unknown layers", latency_us=10.0),
]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run's folder with a table of two provenances."""
    folder = tmp_path / "runs" / "demo"
    with LatencyTable(folder / "latency.sqlite") as rows:
        rows.add(SEVERAL)
    return folder


def shown(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert exit_code(["table", "show", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_table_says_which_row_is_of_which_conditions(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown([str(run_folder)], capsys)
    assert lines[:2] == [f"# 1: {MADE_UP}", f"# 2: {OTHER}"]
    assert lines[2:5] == [
        "# 1: linear, 3 rows, 1.5 to 7 us, 1 flagged",
        "# 1: network, 2 rows, 9 to 10 us",
        "# 2: linear, 1 rows, 2.5 to 2.5 us",
    ]
    rows = [line.split(maxsplit=4) for line in lines[6:]]
    assert [(number, us) for number, us, *_ in rows] == [
        ("1", "1.50"), ("1", "1.50"), ("1", "7.00"), ("1", "9.00"), ("1", "10.00"), ("2", "2.50")
    ]  # fmt: skip
    assert rows[3][4].startswith("network(0), 3 kernels {xxx")
    assert len(lines[9]) < 120
    assert rows[4][4] == "network(1), kernels not known unknown layers"

    of_one = shown([str(run_folder), "--provenance", "2"], capsys)
    assert of_one[0] == f"# 2: {OTHER}"
    assert [line.split()[0] for line in of_one[3:]] == ["2"]
    limited = shown([str(run_folder), "--type", "linear", "--limit", "1"], capsys)
    assert limited[-1] == "# 3 more rows; see all with --limit 4"
    assert exit_code(["table", "show", str(run_folder), "--limit", "2", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["provenance_number"] for record in records] == [1, 1]
    assert "rounds_us" not in records[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["table", "show", "TABLE", "--type", "nonsense"], ["nonsense", "linear, network"]),
        (["table", "show", "TABLE", "--provenance", "3"], ["3 of 2", "table show"]),
        (["table", "export", "TABLE", "o.csv", "--provenance", "0"], ["0 of 2"]),
        (["fit", "TABLE"], ["one provenance", "--provenance N"]),
        (["fit", "TABLE", "--provenance", "9"], ["9 of 2"]),
        (["fit", "TABLE", "--provenance", "1", "--threads", "4"], ["has 0", "--provenance N"]),
    ],
)
def test_rows_that_are_not_there(
    run_folder: Path,
    arguments: list[str],
    named: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run_folder)
    given = [str(run_folder) if word == "TABLE" else word for word in arguments]
    check_refused(given, capsys, *named)
    assert [path.name for path in run_folder.iterdir()] == ["latency.sqlite"]


def test_kernels_fields_are_columns_and_samples_are_there_when_asked_for(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "latency.csv"
    assert exit_code(["table", "export", str(run_folder), str(out)]) == 0
    frame = pd.read_csv(out)
    assert frame["in_features"].dropna().tolist() == [8, 64, 16, 64]
    assert frame["type"].tolist() == [row.type for row in SEVERAL]
    assert frame.columns.is_unique
    assert "rounds_us" not in frame.columns
    assert "[1.5" not in out.read_text()
    arguments = ["table", "export", str(run_folder), str(out), "--samples", "--provenance", "2"]
    assert exit_code(arguments) == 0
    assert pd.read_csv(out)["rounds_us"].tolist() == ["[[1.5, 1.6]]"]


def test_a_predictor_is_fitted_to_rows_of_a_numbered_provenance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with LatencyTable(folder / "latency.sqlite") as rows:
        rows.add(
            [
                replace(ROW, key=f"linear(in_features={8 * i}, out_features=10)", latency_us=us)
                for i, us in enumerate(range(1, 30), 1)
            ]
        )
        rows.add([replace(ROW, provenance=OTHER)])
    assert exit_code(["fit", str(folder), "--provenance", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictor"] == str(folder / "predictor.json.gz")


def test_a_full_disk_leaves_no_half_file(table: Path, tmp_path: Path) -> None:
    def smallest_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    out = tmp_path / "latency.csv"
    done = netadapt(["table", "export", str(table), str(out)], preexec_fn=smallest_files)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("netadapt: ")
    assert sorted(p.name for p in tmp_path.iterdir() if "sqlite" not in p.name) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_to_a_full_disk(table: Path) -> None:
    with open("/dev/full", "w") as full:
        done = netadapt(["table", "show", str(table)], stdout=full)
    assert done.returncode == 2
    assert done.stderr == "netadapt: No space left on device; free some space and run again\n"


def test_a_reader_that_has_enough_is_no_error(table: Path) -> None:
    with LatencyTable(table) as rows:
        rows.add(
            [replace(ROW, key=f"linear(in_features={i}, out_features=10)") for i in range(999)]
        )
    command = f"{sys.executable} -m netadapt table show {table} --limit 2000 | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interruption_says_how_to_resume(tmp_path: Path) -> None:
    script = (
        "import signal, sys; from netadapt.commands import cli\nfrom netadapt.runs import run\n"
        "def interrupted(*_, **__): signal.raise_signal(signal.SIGINT)\n"
        "run.run = interrupted\n"
        "cli.main(['demo', '--folder', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "my run")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == (
        f"netadapt: interrupted; resume with: netadapt demo --folder '{tmp_path / 'my run'}'\n"
    )


def test_a_defect_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(config: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(search_command, "run_search", lambda config, as_json, **_: broken(config))
    assert exit_code(["demo"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("netadapt: a defect of netadapt: ZeroDivisionError: a b;")
    assert error.count("\n") == 1


def test_a_lost_device_is_a_pause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(config: RunConfig) -> None:
        loop = config.search.loop
        assert (config.device.id, loop.loop, loop.top_k) == ("host", "top_k", 5)
        raise DeviceLostError("a phone must stay connected, it did not; plug it in")

    monkeypatch.setattr(search_command, "run_search", lambda config, as_json, **_: lost(config))
    arguments = ["search", "--device", "host", "--loop", "top_k", "--top-k", "5"]
    assert exit_code(arguments) == 2
    assert capsys.readouterr().err == (
        "netadapt: a phone must stay connected, it did not; plug it in; when it is back, "
        f"resume with: netadapt {' '.join(arguments)}\n"
    )
