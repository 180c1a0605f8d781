"""A run's folder: whose it is, and the time that its steps took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netadapt.config import RunConfig, parse_config, read_config
from netadapt.errors import RunFolderError
from netadapt.runs.folder import RunFolder
from netadapt.search.errors import SpaceFileError
from netadapt.search.space import Space


def test_a_new_folder_gets_the_resolved_configuration(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "mine")
    config = RunConfig()
    folder.claim(config)
    assert read_config(folder.config) == config
    folder.claim(config)


def test_another_configuration_is_refused_by_its_keys(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim(RunConfig())
    with pytest.raises(RunFolderError, match=r"differs in run\.seed;"):
        folder.claim(RunConfig().changed({"run": {"seed": 1}}))


def test_a_moved_folder_is_the_same_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim(RunConfig().changed({"run": {"folder": "before"}}))
    folder.claim(RunConfig().changed({"run": {"folder": "after"}}))


TOY_SPACE = Path(__file__).parent / "toy" / "space.toml"


def with_space(path: Path, text: str) -> RunConfig:
    path.write_text(text)
    return parse_config({"space": {"name": str(path)}}, "test")


def test_a_space_of_ones_own_is_found_again_from_the_folder_alone(tmp_path: Path) -> None:
    mine, text = tmp_path / "mine.toml", TOY_SPACE.read_text()
    config = with_space(mine, text)
    folder = RunFolder(tmp_path / "run")
    folder.claim(config)
    expected = Space.load(mine)
    moved = RunFolder((tmp_path / "run").rename(tmp_path / "moved"))
    moved.claim(config)
    mine.unlink()
    again = moved.read_config()
    assert Space.load(again.space.name) == expected
    moved.claim(again)
    assert moved.read_config().decisive() == config.decisive()


def test_a_space_that_was_changed_meanwhile_is_another_run(tmp_path: Path) -> None:
    mine, text = tmp_path / "mine.toml", TOY_SPACE.read_text()
    folder = RunFolder(tmp_path / "run")
    folder.claim(with_space(mine, text))
    folder.claim(with_space(mine, f"# a comment changes nothing\n{text}"))
    with pytest.raises(RunFolderError, match=r"differs in space\.name;"):
        folder.claim(with_space(mine, text.replace("width_step = 8", "width_step = 4")))
    assert folder.space.read_text() == text


def test_a_space_that_comes_along_stays_named_and_is_kept_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim(RunConfig())
    assert folder.read_config().space.name == "digits"
    assert Space.load(folder.space) == Space.load("digits")
    with pytest.raises(RunFolderError, match=r"differs in space\.name;"):
        folder.claim(parse_config({"space": {"name": "mobilenet_v3_large"}}, "test"))


def test_a_kill_while_a_folder_is_claimed_does_not_lose_it(tmp_path: Path) -> None:
    config = with_space(tmp_path / "mine.toml", TOY_SPACE.read_text())
    folder = RunFolder(tmp_path / "run")
    folder.claim(config)
    folder.space.unlink()
    folder.claim(config)
    assert folder.space.read_text() == TOY_SPACE.read_text()


def test_a_space_that_cannot_be_read_leaves_no_folder_behind(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(SpaceFileError, match=r"nowhere\.toml"):
        folder.claim(parse_config({"space": {"name": str(tmp_path / "nowhere.toml")}}, "test"))
    assert not folder.path.exists()


def test_a_run_may_be_gone_on_with_more_patience(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim(parse_config({"device": {"wait_s": 5.0}}, "test"))
    folder.claim(parse_config({"device": {"wait_s": 500.0}, "profile": {"workers": 1}}, "test"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="other files"):
        RunFolder(tmp_path).claim(RunConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"holds a run\.toml"):
        RunFolder(tmp_path).read_config()


def test_time_adds_up_over_resumptions_and_survives_a_torn_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in ("profile", "search", "search"):
        with folder.timed(step):
            pass
    with pytest.raises(KeyError), folder.timed("broken"):
        raise KeyError
    with folder.durations.open("a") as file:
        file.write('{"step": "sea')
    seconds = folder.durations_s()
    assert list(seconds) == ["profile", "search", "broken"]
    assert all(value > 0 for value in seconds.values())
    lines = folder.durations.read_text().splitlines()
    assert len(lines) == 5


def test_durations_that_are_no_times_are_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for value in ("1e999", "NaN", "-1", "9" * 400, "[" * 100_000, '"x"', "null", "2.5"):
        with folder.durations.open("a") as file:
            file.write(f'{{"step": "fit", "seconds": {value}}}\n')
    assert folder.durations_s() == {"fit": 2.5}


def test_what_a_kill_left_makes_no_folder_another_ones(tmp_path: Path) -> None:
    """Between the temporary file and its new name nothing else is there yet."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from netadapt.config import RunConfig; from netadapt.runs.folder import RunFolder\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "RunFolder(Path(sys.argv[1])).claim(RunConfig())"
    )
    path = tmp_path / "mine"
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert [file.name[:5] for file in path.iterdir()] == [".run."]
    folder = RunFolder(path)
    with folder.locked():
        folder.claim(RunConfig())
    assert sorted(file.name for file in path.iterdir()) == [".lock", "run.toml", "space.toml"]


def test_one_process_at_a_time_writes_into_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    script = (
        "import sys; from pathlib import Path; from netadapt.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with pytest.raises(RunFolderError, match=f"in use by process {first.pid};") as raised:
            RunFolder(path).locked().__enter__()
        assert "\n" not in str(raised.value)
        first.kill()
    with RunFolder(path).locked():  # nothing stale is left by a kill
        pass


def test_a_folder_of_other_files_gets_no_lock(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="other files"):
        RunFolder(tmp_path).locked().__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
