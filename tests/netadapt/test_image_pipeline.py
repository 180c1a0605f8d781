"""Pictures in folders through the whole line, from a run file beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from netadapt.commands import cli
from netadapt.runs.bundle import load_network
from netadapt.runs.folder import RunFolder
from netadapt.runs.result import RunResult
from tests.pictures import COLOURS, make_folder

TOY = Path(__file__).parent / "toy"

TASK = """
[space]
name = "rgb_space.toml"
classes = 3
resolution = 20

[task]
name = "image_folder"

[task.image_folder]
root = "photos"
size = 20
workers = 1
crop_share = 1.0

[sample]
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_network_for_ones_own_pictures(tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", train=60)
    shutil.copy(TOY / "rgb_space.toml", tmp_path)
    head, _, rest = (TOY / "rgb_run.toml").read_text().partition("[space]")
    _, _, rest = rest.partition("[sample]")
    text = (head + TASK + rest).replace("validation_images = 64", "validation_images = 12")
    (tmp_path / "run.toml").write_text(text.replace("steps = 6", "steps = 12"))
    with pytest.raises(SystemExit) as left:
        cli.main(["search", str(tmp_path / "run.toml"), "--folder", str(tmp_path / "run")])
    assert left.value.code == 0
    folder = RunFolder(tmp_path / "run")
    (search,) = RunResult.load(folder.result).searches
    assert search.found.test_images == 36
    saved = load_network(folder.search(search.label).weights)
    assert saved.labels == tuple(sorted(COLOURS))
    assert saved.input_format.channels == ("red", "green", "blue")
    assert saved.network(torch.zeros(1, 3, 20, 20)).shape == (1, 3)
    assert str(tmp_path / "photos") in folder.config.read_text()
