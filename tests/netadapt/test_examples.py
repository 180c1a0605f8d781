"""What a report shows of networks whose outputs are maps: kept as it was, read or explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netadapt.errors import RunFolderError
from netadapt.runs.examples import EXAMPLES, keep_examples, read_examples
from netadapt.runs.folder import RunFolder
from netadapt.search.tasks.depth.settings import DepthSettings
from netadapt.search.tasks.depth.task import Depth
from netadapt.search.tasks.digits import ClutteredDigits


class Flat(nn.Module):
    """The same depth everywhere."""

    def __init__(self, metres: float) -> None:
        super().__init__()
        self.metres = metres

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x[:, :1], self.metres)


@pytest.fixture(scope="module")
def task() -> Depth:
    return Depth(DepthSettings(size=32, validation_images=4, test_images=10))


def test_what_is_kept_is_what_the_networks_make_of_the_test_images(
    task: Depth, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    keep_examples(folder, task, task.test(4), Flat(2.0), {"0.5": Flat(3.0), "0.35": Flat(4.0)})
    kept = read_examples(folder, ["0.5", "0.35", "0.2"])
    assert kept is not None
    assert kept.pictures.shape == (EXAMPLES, 32, 32, 3)
    assert 0 <= kept.pictures.min() < kept.pictures.max() <= 1
    assert set(kept.found) == {"0.5", "0.35"}
    assert np.all(kept.reference == 2)
    assert np.all(kept.found["0.35"] == 4)
    every = list(task.test(4))
    targets = torch.cat([batch.targets for batch in every])[[1, 3, 6, 8], 0].numpy()
    known = targets > 0
    assert np.array_equal(np.isfinite(kept.truth), known)
    np.testing.assert_allclose(kept.truth[known], targets[known], rtol=1e-3)
    mean, std = (
        torch.tensor(v).view(-1, 1, 1) for v in (task.input_format.mean, task.input_format.std)
    )
    images = torch.cat([batch.images for batch in every])[[1, 3, 6, 8]] * std + mean
    np.testing.assert_allclose(kept.pictures, images.permute(0, 2, 3, 1).numpy(), atol=1e-3)


def test_fewer_images_than_are_shown(tmp_path: Path) -> None:
    few = Depth(DepthSettings(size=32, validation_images=1, test_images=2))
    keep_examples(RunFolder(tmp_path), few, few.test(4), Flat(2.0), {})
    kept = read_examples(RunFolder(tmp_path), [])
    assert kept is not None
    assert len(kept.truth) == 2


def test_a_task_without_maps_keeps_nothing(tmp_path: Path) -> None:
    keep_examples(RunFolder(tmp_path), ClutteredDigits(), [], nn.Identity(), {"0.5": nn.Identity()})
    assert list(tmp_path.iterdir()) == []
    assert read_examples(RunFolder(tmp_path), ["0.5"]) is None


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04" + 40 * b"\0"])
def test_a_damaged_file_is_one_line(task: Depth, tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    keep_examples(folder, task, task.test(4), Flat(2.0), {"0.5": Flat(3.0)})
    for path in (folder.search("0.5").examples, folder.examples):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"examples.npz .*remove the file") as caught:
            read_examples(folder, ["0.5"])
        assert "\n" not in str(caught.value)


def test_maps_of_other_sizes_are_one_line(task: Depth, tmp_path: Path) -> None:
    folder, other = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    keep_examples(folder, task, task.test(4), Flat(2.0), {"0.5": Flat(3.0)})
    small = Depth(DepthSettings(size=16, validation_images=4, test_images=10))
    keep_examples(other, small, small.test(4), Flat(2.0), {"0.5": Flat(3.0)})
    folder.search("0.5").examples.write_bytes(other.search("0.5").examples.read_bytes())
    with pytest.raises(RunFolderError, match="remove the file"):
        read_examples(folder, ["0.5"])
