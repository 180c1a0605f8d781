"""`netadapt data`: what is in a folder of pictures, and all of them in one file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from netadapt.search.task import one_batch
from netadapt.search.tasks.image_folder import ImageFolder
from netadapt.search.tasks.image_list import list_images
from netadapt.search.tasks.settings import ImageFolderSettings
from tests.command_line import exit_code
from tests.pictures import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("pictures"), train=6, test=3, size=(60, 40))


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(folder, tmp_path / "damaged")
    (copy / "train" / "red" / "bad.jpg").write_text("no picture")
    return copy


def task(root: Path) -> ImageFolder:
    return ImageFolder(ImageFolderSettings(root=str(root), size=16, workers=0))


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = exit_code(*arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_is_in_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = run(["data", "check", str(folder), "--workers", "0"], capsys)
    assert code == 0, errors
    lines = output.splitlines()
    assert lines[0] == f"{folder}: 27 pictures of 3 classes"
    assert [line.split() for line in lines[1:]] == [
        ["class", "train", "test"],
        *([name, "6", "3"] for name in ("blue", "green", "red")),
    ]
    _, output, _ = run(["data", "check", str(folder), "--workers", "1", "--json"], capsys)
    assert json.loads(output) == {
        "root": str(folder),
        "pictures": 27,
        "train": {"blue": 6, "green": 6, "red": 6},
        "test": {"blue": 3, "green": 3, "red": 3},
        "broken": {},
    }


def test_broken_ones_have_a_line_and_exit_code_2(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, errors = run(["data", "check", str(damaged), "--workers", "0"], capsys)
    assert code == 2
    assert "1 of 28 do not" in errors.splitlines()[-1]
    (line,) = [line for line in output.splitlines() if line.startswith("broken")]
    assert str(damaged / "train" / "red" / "bad.jpg") in line
    assert "mend or remove it" in line


def test_a_pack_takes_its_folders_place(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None of the pictures is larger than the pack allows: they are the same to the bit."""
    out = tmp_path / "pictures.arrow"
    code, output, errors = run(["data", "pack", str(folder), str(out), "--workers", "1"], capsys)
    assert code == 0, errors
    assert output.startswith(f"{out}: ")
    moved = out.rename(tmp_path / "moved.arrow")
    packed, original = task(moved), task(folder)
    assert packed.labels == original.labels
    for split in ("validation", "test"):
        ours, theirs = (one_batch(getattr(t, split)(8)) for t in (packed, original))
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.targets, theirs.targets)
    assert torch.equal(packed.train_batch(0, 9).images, original.train_batch(0, 9).images)


def test_a_pack_is_smaller(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.arrow"
    assert run(["data", "pack", str(folder), str(out), "--side", "16"], capsys)[0] == 0
    images = list_images(out)
    assert len(images) == 27
    assert sum(len(images.read(n)) for n in range(27)) < 27 * 1000
    assert task(out).train_batch(0, 4).images.shape == (4, 3, 16, 16)


def test_a_broken_one_ends_a_pack_or_is_left_out(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.arrow"
    code, _, errors = run(["data", "pack", str(damaged), str(out), "--workers", "0"], capsys)
    assert code == 2
    assert "bad.jpg is not" in errors.splitlines()[-1]
    assert "--skip-broken" in errors.splitlines()[-1]
    assert not list(tmp_path.glob("*.arrow*"))
    assert not list(tmp_path.glob(".*"))
    arguments = ["data", "pack", str(damaged), str(out), "--skip-broken", "--json"]
    code, output, _ = run(arguments, capsys)
    assert code == 0
    assert [*json.loads(output)["left_out"]] == [str(damaged / "train" / "red" / "bad.jpg")]
    assert len(list_images(out)) == 27


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere"], "there is neither at nowhere"),
        (["pack", "FOLDER", "out.zip"], "a pack's name ends in .arrow, got 'out.zip'"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(folder) if word == "FOLDER" else word for word in arguments]
    code, _, errors = run(["data", *given], capsys)
    assert code == 2
    assert words in errors.splitlines()[-1]
