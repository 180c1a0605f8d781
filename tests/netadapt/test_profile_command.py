"""`netadapt profile` without a run: where its table goes, what it says before it starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from netadapt.commands import cli
from netadapt.config import demo_config
from netadapt.errors import RunFolderError
from netadapt.predictor.report import LearningRound
from netadapt.profiler.table import LatencyTable, Row
from netadapt.runs.folder import RunFolder
from netadapt.runs.learning import learning_file, read_learning

TOY = Path(__file__).parent / "toy"
SPACE = ["--space", str(TOY / "space.toml")]


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(["profile", *arguments])
    output = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, output.out, output.err


def by_name(row: Row) -> str:
    return row.name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder in which the demo has been begun."""
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("runs/demo")).claim(demo_config())
    return tmp_path


def test_a_dry_run_says_how_much_and_makes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    code, output, errors = run([*SPACE, "--kernels", "1", "--dry-run", "--json"], capsys)
    assert code == 0, errors
    plan = json.loads(output)
    assert plan["table"] == "toy-host.sqlite"
    assert plan["kernels"] > plan["asked"] == 1, "corners come on top"
    assert plan["programs"] == plan["kernels"] + plan["chains"] + plan["networks"]
    assert plan["present"] == 0
    assert plan["seconds"] > 0
    code, output, errors = run([*SPACE, "--kernels", "1", "--dry-run"], capsys)
    assert code == 0, errors
    assert output.startswith(f"toy-host.sqlite: {plan['programs']} programs to measure: ")
    assert "1 asked for" in output
    assert "0 there already; about " in output
    assert sorted(here.rglob("*")) == before


@pytest.mark.slow
def test_profiling_goes_on_with_what_is_in_doubt(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [*SPACE, "--kernels", "1", "--networks", "1", "--recipe", "xnnpack_native-fp32"]
    code, output, errors = run([*few, "--until", "0.01%", "--json"], capsys)
    assert code == 0, errors
    found = json.loads(output)
    first, *_, last = found["rounds"]
    assert last["rows"] >= first["rows"]
    assert "held-out error" in errors
    with LatencyTable(here / "toy-host.sqlite", must_exist=True) as table:
        assert len(table) > found["measured"], "the pool on top of the sample"
        assert {row.provenance.recipe.backend for row in table.rows()} == {"xnnpack_native"}
    code, output, errors = run([*few, "--until", "99%", "--json"], capsys)
    assert code == 0, errors
    (only,) = json.loads(output)["rounds"]
    assert only["rows"] >= last["rows"]
    kept = read_learning(learning_file(here / "toy-host.sqlite"))
    by_rows = {r["rows"]: LearningRound(**r) for r in (*found["rounds"], only)}
    assert kept == tuple(by_rows[rows] for rows in sorted(by_rows))
    with learning_file(here / "toy-host.sqlite").open("a") as file:
        file.write('{"rows": 7}\n{"rows": 9, "dou')
    with pytest.raises(RunFolderError, match=r"line \d+ does not; remove the file"):
        read_learning(learning_file(here / "toy-host.sqlite"))
    for wrong in ("0", "five", "-3%", "100%"):
        code, _, errors = run([*few, "--until", wrong], capsys)
        assert code == 2
        assert "e.g. 5%" in errors


@pytest.mark.slow
def test_a_table_by_itself_beside_the_demo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = {path.name: path.read_bytes() for path in (here / "runs/demo").iterdir()}
    few = [*SPACE, "--kernels", "1", "--networks", "1"]
    planned = json.loads(run([*few, "--dry-run", "--json"], capsys)[1])

    code, output, errors = run(few, capsys)
    assert code == 0, errors
    assert f"{planned['programs']} programs to measure" in errors, "said before it starts"
    assert output.startswith("toy-host.sqlite: ")
    with LatencyTable(here / "toy-host.sqlite", must_exist=True) as table:
        assert len(table) == planned["programs"]
        believed = sum(row.quality == "ok" for row in table.rows(samples=False))
    assert {path.name: path.read_bytes() for path in (here / "runs/demo").iterdir()} == demo

    again = json.loads(run([*few, "--dry-run", "--json"], capsys)[1])
    assert (again["present"], again["programs"]) == (believed, planned["programs"])
    assert (again["seconds"] == 0) == (believed == planned["programs"]), "the rest is tried again"
    twice = ["--threads", "1", "--threads", "2"]
    both = json.loads(run([*few, *twice, "--dry-run", "--json"], capsys)[1])
    assert (both["present"], both["programs"]) == (believed, 2 * planned["programs"])

    code, output, errors = run([*few, "--folder", "else/where", "--dry-run"], capsys)
    assert code == 0, errors
    assert output.startswith("else/where/toy-host.sqlite: ")
    assert not (here / "else").exists()

    code, output, errors = run(
        [*few, "--device", "toy-host.sqlite", "--table", "replayed.sqlite"], capsys
    )
    assert code == 0, errors
    with (
        LatencyTable("toy-host.sqlite", must_exist=True) as measured,
        LatencyTable("replayed.sqlite", must_exist=True) as replayed,
    ):
        (provenance,) = replayed.provenances()
        assert provenance.device.kind == "replay"
        rows = [replace(row, provenance=provenance) for row in measured.rows()]
        assert sorted(replayed.rows(), key=by_name) == sorted(rows, key=by_name)
    code, _, errors = run([*few, "--device", "toy-host.sqlite"], capsys)
    assert code == 2
    assert "filled from another one" in errors


def test_a_run_keeps_its_table_in_its_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = str(TOY / "run.toml")
    assert run([toy, "--dry-run"], capsys)[1].startswith("runs/toy/latency.sqlite: ")
    output = run([toy, "--folder", "mine", "--dry-run"], capsys)[1]
    assert output.startswith("mine/latency.sqlite: ")
    assert run(["runs/demo", "--dry-run"], capsys)[1].startswith("runs/demo/latency.sqlite: ")
    assert not (here / "mine").exists()


def test_a_run_is_begun_only_when_all_is_right(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run([str(TOY / "run.toml"), "--device", "telephone"], capsys)
    assert code == 2
    assert "telephone" in errors
    assert not (here / "runs/toy").exists()
