"""`netadapt init` and `netadapt spaces`: from nothing to a run file of one's own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from netadapt.config import read_config
from netadapt.runs.parts import Parts
from netadapt.search.errors import ArchError
from netadapt.search.families.inverted_residual import (
    REMOVED,
    BlockArch,
    InvertedResidualArch,
    InvertedResidualSpace,
)
from netadapt.search.space import Space
from netadapt.search.space_file import SPACES
from tests.command_line import exit_code
from tests.pictures import make_folder

OPTIONAL = ("folder", "cpus", "channels", "pixels", "latency_ms", "macs", "params")
TOY = Path(__file__).parent / "toy" / "space.toml"


def test_a_run_file_that_can_be_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("init") == 0
    output = capsys.readouterr()
    assert output.out == "my_run.toml: edit it, then: netadapt search my_run.toml\n"
    assert output.err == ""
    config = read_config(here / "my_run.toml")
    assert (config.run.name, config.device.id, config.space.name) == ("my_run", "host", "digits")
    assert exit_code("profile", "my_run.toml", "--dry-run") == 0
    assert capsys.readouterr().out.startswith("runs/my_run/latency.sqlite: ")


def test_a_run_file_for_ones_own_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(here / "photos", train=4)
    (here / "runs").mkdir()
    arguments = ("runs/mine.toml", "--pictures", "photos", "--space", "mobilenet_v3_large")
    assert exit_code("init", *arguments) == 0
    parts = Parts(read_config(here / "runs" / "mine.toml"))
    parts.check_fit()
    assert parts.space.classes == 3
    assert parts.task.input_shape == (3, 224, 224)
    assert exit_code("init", "other.toml", "--pictures", "photos") == 0
    assert Parts(read_config(here / "other.toml")).space.name == "photographs"
    capsys.readouterr()
    assert exit_code("init", "third.toml", "--pictures", "nowhere") == 2
    assert "there is neither at nowhere" in capsys.readouterr().err
    assert not (here / "third.toml").exists()


def test_every_key_of_the_template_is_one_that_runs_have(here: Path) -> None:
    """Also those that stand in comments."""
    assert exit_code("init") == 0
    text = (here / "my_run.toml").read_text()
    for key in OPTIONAL:
        assert f"# {key} = " in text
    text = text.replace("latency_share = 0.5", "")
    for key in OPTIONAL:
        text = text.replace(f"# {key} = ", f"{key} = ")
    (here / "all.toml").write_text(text)
    assert read_config(here / "all.toml").search.constraints.latency_ms == 12.0


def test_a_file_that_is_there_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.toml").write_text("[run]\n")
    assert exit_code("init", "mine.toml") == 2
    assert "never overwrites" in capsys.readouterr().err
    assert (here / "mine.toml").read_text() == "[run]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["x.toml", "--space", "nowhere"],
        ["x.toml", "--space", "missing.toml"],
        ["x.txt"],
        ["x.toml", "--device", ""],
        ["x.toml", "--device", 'a"\nb = 1'],
    ],
    ids=" ".join,
)
def test_bad_options_leave_nothing(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("init", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("netadapt: ")
    assert error.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_space_and_a_device_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "own.toml").write_text(TOY.read_text())
    (here / "runs").mkdir()
    device = "127.0.0.1:5555"
    assert (
        exit_code("init", "runs/a b.toml", "--space", "own.toml", "--device", device, "--json") == 0
    )
    assert json.loads(capsys.readouterr().out) == {"run": "runs/a b.toml", "note": ""}
    config = read_config(here / "runs" / "a b.toml")
    assert Path(config.space.name) == here / "own.toml"
    assert (config.run.name, config.device.id) == ("a_b", device)


def test_a_space_that_is_not_the_tasks_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("init", "large.toml", "--space", "mobilenet_v3_large") == 0
    assert "profiled and fitted, but not searched" in capsys.readouterr().err
    assert read_config(here / "large.toml").space.name == "mobilenet_v3_large"


def test_spaces_lists_what_comes_along(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("spaces", "--json") == 0
    found = {space["space"]: space for space in json.loads(capsys.readouterr().out)}
    assert list(found) == sorted(path.stem for path in SPACES.glob("*.toml"))
    large = found["mobilenet_v3_large"]
    assert (large["input_shape"], large["classes"]) == ([3, 224, 224], 1000)
    assert large["reference_macs"] == pytest.approx(217e6, rel=0.02)
    assert large["reference_params"] == pytest.approx(5.48e6, rel=0.02)
    assert exit_code("spaces") == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 1 + len(found)
    (line,) = (line.split() for line in table if line.startswith("mobilenet_v3_large"))
    assert line[1:6] == ["3", "x", "224", "x", "224"]


def test_a_space_of_ones_own_is_listed_or_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("spaces", str(TOY), "--json") == 0
    (toy,) = json.loads(capsys.readouterr().out)
    assert (toy["name"], toy["archs"]) == ("toy", Space.load(TOY).count())
    (here / "odd.toml").write_text(TOY.read_text().replace("width_step = 8", "width_step = 7"))
    assert exit_code("spaces", "odd.toml") == 2
    assert "width_step" in capsys.readouterr().err


def test_archs_are_counted_as_they_are() -> None:
    """Every combination of values tried, those that the space has counted."""
    space = InvertedResidualSpace.load(TOY)
    widths = range(8, 24, 8)
    blocks = [
        REMOVED,
        *(BlockArch(w, e, k) for w in widths for e in widths for k in space.kernel_sizes),
    ]
    found = 0
    for stem, head, hidden in itertools.product(widths, repeat=3):
        for pair in itertools.product(blocks, repeat=len(space.blocks)):
            try:
                space.validate(InvertedResidualArch(stem, pair, head, hidden))
            except ArchError:
                continue
            found += 1
    assert found == space.count()
