"""The depth task: rendered rooms, folders of pairs, NYU's files; what is cut, learnt and judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from netadapt.search.errors import ImageError, InvalidSettingError, MetricError
from netadapt.search.task import Samples, Task, make_task, one_batch
from netadapt.search.tasks.depth.metric import FIGURES, DepthErrors
from netadapt.search.tasks.depth.pairs import NyuFiles, PairFolder
from netadapt.search.tasks.depth.rooms import NEAREST_M, Rooms
from netadapt.search.tasks.depth.settings import DepthAugmentation, DepthSettings, RoomSettings
from netadapt.search.tasks.depth.task import Depth
from netadapt.search.tasks.depth.views import DepthView, Pair, seen
from tests.contracts.task import TaskContract, same

PLAIN = DepthAugmentation(zoom=1, rotation_deg=0, flip=0, jitter=0)
FEW = RoomSettings(rooms=6, views=4, validation_rooms=6, test_rooms=6)


def written_pairs(
    folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (20, 27)
) -> None:
    rng = np.random.default_rng(seed)
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        depth = rng.uniform(0.5, 9, size)
        Image.fromarray(picture).save(folder / "rgb" / f"{number:03}.png")
        if number % 2:
            np.save(folder / "depth" / f"{number:03}.npy", depth.astype(np.float32))
        else:
            millimetres = (1000 * depth).astype(np.uint16)
            Image.fromarray(millimetres).save(folder / "depth" / f"{number:03}.png")


def written_scene(folder: Path, names: tuple[str, ...], seed: int, side: int = 20) -> None:
    """HDF5 files of NYU's layout, at a small size."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for name in names:
        with h5py.File(folder / name, "w") as file:
            file["rgb"] = rng.integers(0, 256, (3, side, side * 4 // 3), dtype=np.uint8)
            file["depth"] = rng.uniform(0.7, 9, (side, side * 4 // 3)).astype(np.float32)


@pytest.fixture(scope="module")
def nyu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nyu")
    frames = ("00001.h5", "00006.h5", "00011.h5", "00201.h5", "00206.h5")
    for number, scene in enumerate(("kitchen_0001a", "office_0003", "bath_0002")):
        written_scene(root / "train" / scene, frames, number)
    written_scene(root / "val" / "official", tuple(f"{n:05}.h5" for n in range(1, 9)), 7)
    return root


class DepthContract(TaskContract):
    def guesses(self, task: Task, samples: Samples) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        _, height, width = task.input_shape
        return 5 * torch.rand(len(samples.images), 1, height, width, generator=generator)


class TestRooms(DepthContract):
    def task(self, seed: int = 0) -> Task:
        return Depth(DepthSettings(size=16, rooms=FEW, augmentation=PLAIN), seed=seed)


class TestPairs(DepthContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.root = tmp_path
        written_pairs(self.root / "train", 30)
        written_pairs(self.root / "test", 12, seed=1)

    def task(self, seed: int = 0) -> Task:
        settings = DepthSettings("pairs", str(self.root), 16, workers=0, augmentation=PLAIN)
        return make_task("depth", replace(settings, validation_images=9), seed=seed)


class TestNyu(DepthContract):
    @pytest.fixture(autouse=True)
    def _folder(self, nyu: Path) -> None:
        self.root = nyu

    def task(self, seed: int = 0) -> Task:
        return Depth(
            DepthSettings("nyu", str(self.root), 16, workers=0, augmentation=PLAIN), seed=seed
        )


# What a network sees


def test_a_judged_picture_is_cut_to_the_pixel() -> None:
    """480 x 640 to 250 x 333, of that 228 x 304 from (11, 14), of that 224 x 224."""
    rows, columns = np.meshgrid(np.arange(480), np.arange(640), indexing="ij")
    picture = np.stack((rows % 256, columns % 256, rows // 256 + 16 * (columns // 256)), -1)
    depth = (1 + rows + columns / 1000).astype(np.float32)
    found = seen(
        Pair(picture.astype(np.uint8), depth), DepthView.of(224, 250, (228, 304), None), ()
    )
    resized = Image.fromarray(depth).resize((333, 250), Image.Resampling.NEAREST)
    crop = resized.crop((14, 11, 14 + 304, 11 + 228))
    expected = np.array(crop.resize((224, 224), Image.Resampling.NEAREST))
    assert np.array_equal(found.depth, expected)
    low_row, low_column, high = (found.picture[..., n].astype(float) for n in range(3))
    seen_row, seen_column = low_row + 256 * (high % 16), low_column + 256 * (high // 16)
    assert np.allclose(1 + seen_row + seen_column / 1000, found.depth)


def test_an_augmented_pair_goes_the_papers_way() -> None:
    """Resized, turned, enlarged, cropped, mirrored, resized; depths divided by the enlargement."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (480, 640)).astype(np.float32)
    picture = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    view = DepthView.of(224, 250, (228, 304), DepthAugmentation(jitter=0))
    key = (3, 5)
    found = seen(Pair(picture, depth), view, key)

    rng = np.random.default_rng(key)
    zoom, angle, mirrored = rng.uniform(1, 1.5), 5 * rng.uniform(-1, 1), rng.random() < 0.5
    small = Image.fromarray(depth / np.float32(zoom)).resize((333, 250), Image.Resampling.NEAREST)
    turned = ndimage.rotate(np.array(small), angle, reshape=False, prefilter=False, order=0)
    large = Image.fromarray(turned).resize(
        (int(333 * zoom), int(250 * zoom)), Image.Resampling.NEAREST
    )
    left, top = round((large.width - 304) / 2), round((large.height - 228) / 2)
    part = large.crop((left, top, left + 304, top + 228))
    expected = np.array(part.resize((224, 224), Image.Resampling.NEAREST))
    assert np.array_equal(found.depth, expected[:, ::-1] if mirrored else expected)


def test_picture_and_depth_are_augmented_alike() -> None:
    """A picture whose red is its depth still has it so, but for the zoom, wherever it is known."""
    depth = np.tile(np.linspace(50, 250, 133, dtype=np.float32), (100, 1)).round()
    picture = np.repeat(depth[..., None], 3, 2).astype(np.uint8)
    view = DepthView.of(96, 250, (228, 304), DepthAugmentation(jitter=0))
    for number in range(20):
        red, metres = (part for part in seen(Pair(picture, depth), view, (number,)))
        known = metres > 0
        assert 0.9 < known.mean() <= 1
        zooms = red[..., 0][known] / metres[known]
        assert np.ptp(zooms) < 1e-4
        assert 1 <= zooms[0] <= 1.5


def test_jitter_changes_the_picture_alone() -> None:
    pair = Rooms(FEW, 40, 53, 10.0, 0).read(0)
    views = [
        DepthView.of(32, 250, (228, 304), replace(PLAIN, jitter=jitter)) for jitter in (0.0, 0.4)
    ]
    plain, jittered = (seen(pair, view, (1,)) for view in views)
    assert np.array_equal(plain.depth, jittered.depth)
    assert not np.array_equal(plain.picture, jittered.picture)


def test_augmented_batches_come_from_one_stream() -> None:
    task = Depth(DepthSettings(size=16, rooms=FEW))
    whole = one_batch([task.train_batch(0, 6), task.train_batch(1, 6)])
    assert same(whole, Depth(DepthSettings(size=16, rooms=FEW)).train_batch(0, 12))
    assert not torch.equal(whole.targets[:6], task.train_batch(4, 6).targets)


def test_workers_make_no_difference(nyu: Path) -> None:
    settings = DepthSettings("nyu", str(nyu), 16)
    one, many = (Depth(replace(settings, workers=workers)) for workers in (0, 2))
    for step in range(3):
        assert same(one.train_batch(step, 4), many.train_batch(step, 4))
    assert same(one_batch(one.test(3)), one_batch(many.test(5)))


# Rooms


def test_rooms_are_seen_as_they_are() -> None:
    """Depths between what a sensor sees; a wall fills most of a view, holes little of it."""
    rooms = Rooms(RoomSettings(), 60, 80, 10.0, 0)
    pairs = [rooms.read(int(number)) for number in rooms.train[:40]]
    depths = np.stack([pair.depth for pair in pairs])
    known = depths[depths > 0]
    assert known.min() >= NEAREST_M
    assert known.max() <= 10
    assert 0.75 < (depths > 0).mean() < 0.98
    medians = [np.median(depth[depth > 0]) for depth in depths if (depth > 0).any()]
    assert np.ptp(medians) > 2, "all views are of the same depth"
    assert np.std([pair.picture.mean() for pair in pairs]) > 5


def test_a_rooms_floor_is_where_geometry_says() -> None:
    """An empty room without noise: what is seen below the horizon is flat."""
    empty = RoomSettings(1, 8, 1, 1, (0, 0), (0, 0), 0.0, 0.0)
    rooms = Rooms(empty, 90, 120, 20.0, 3)
    flat = 0
    for number in range(8):
        depth = rooms.read(number).depth.astype(np.float64)
        below = depth[80:, 60]
        if (below > 0).all() and (np.diff(below) < 0).all():
            # On a plane 1/depth is linear along a column of the picture.
            bends = np.diff(1 / below, 2)
            assert np.abs(bends).max() < 1e-4 * (1 / below).max()
            flat += 1
    assert flat >= 2


def test_rooms_of_other_splits_and_seeds_are_others() -> None:
    rooms, again, other = (Rooms(FEW, 20, 27, 10.0, seed) for seed in (0, 0, 1))
    splits = [set(map(int, split)) for split in (rooms.train, rooms.validation, rooms.test)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 72
    assert all(np.array_equal(a, b) for a, b in zip(rooms.read(5), again.read(5), strict=True))
    assert not np.array_equal(rooms.read(5).depth, other.read(5).depth)
    assert not np.array_equal(rooms.read(0).depth, rooms.read(1).depth), "two views of a room"


# Loss and metric


def test_errors_are_those_of_the_definitions() -> None:
    true = torch.tensor([[1.0, 2.0, 0.0], [4.0, math.nan, 8.0]]).view(1, 1, 2, 3)
    guess = torch.tensor([[1.2, 2.6, 9.0], [3.0, 9.0, 8.0]]).view(1, 1, 2, 3)
    errors = DepthErrors()
    errors.update(guess, true)
    found = errors.figures()
    assert tuple(found) == FIGURES
    assert found["rmse"] == pytest.approx(math.sqrt((0.04 + 0.36 + 1 + 0) / 4), rel=1e-6)
    assert found["delta1"] == 0.5  # factors 1.2, 1.3, 1.333, 1
    assert found["delta2"] == found["delta3"] == 1
    assert found["abs_rel"] == pytest.approx((0.2 + 0.3 + 0.25) / 4, rel=1e-6)
    assert found["mae"] == pytest.approx((0.2 + 0.6 + 1) / 4, rel=1e-6)
    assert errors.compute() == found["rmse"]


def test_a_depth_behind_the_camera_is_far_off() -> None:
    errors = DepthErrors()
    errors.update(torch.full((1, 1, 2, 2), -1.0), torch.full((1, 1, 2, 2), 2.0))
    assert errors.figures()["delta3"] == 0
    assert errors.figures()["rmse"] == 3


def test_pictures_count_alike_however_much_of_them_is_known() -> None:
    true = torch.zeros(2, 1, 4, 4)
    true[0, 0, 0, 0], true[1] = 1.0, 1.0
    errors = DepthErrors()
    errors.update(true + torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), true)
    assert errors.compute() == 2


def test_a_picture_without_one_known_pixel_changes_nothing() -> None:
    task = Depth(DepthSettings(size=8, rooms=FEW))
    true = torch.rand(2, 1, 8, 8) + 1
    true[1] = 0
    guess = (torch.rand(2, 1, 8, 8) + 1).requires_grad_()
    for loss in ("l1", "berhu"):
        task.settings = replace(task.settings, loss=loss)
        value = task.loss(guess, true)
        (gradient,) = torch.autograd.grad(value, guess)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert not gradient[1].any()
        assert float(value) == pytest.approx(float(task.loss(guess[:1], true[:1])) / 2)
    errors = DepthErrors()
    errors.update(guess[1:], true[1:])
    with pytest.raises(MetricError, match="known depth"):
        errors.compute()
    errors.update(guess, true)
    alone = DepthErrors()
    alone.update(guess[:1], true[:1])
    assert errors.compute() == alone.compute()


def test_berhu_bends_at_a_fifth_of_the_largest_difference() -> None:
    task = Depth(DepthSettings(size=8, rooms=FEW, loss="berhu"))
    true, off = torch.ones(1, 1, 1, 4), torch.tensor([0.0, 0.5, 1.0, 10.0]).view(1, 1, 1, 4)
    assert task.loss(true + off, true) == pytest.approx((0 + 0.5 + 1 + (100 + 4) / 4) / 4)


@pytest.mark.parametrize("loss", ["l1", "berhu"])
def test_a_batch_in_parts_has_the_loss_of_the_whole(loss: str) -> None:
    task = Depth(replace(DepthSettings(size=16, rooms=FEW), loss=loss))
    batch = task.train_batch(0, 8)
    guess = 5 * torch.rand(8, 1, 16, 16)
    parts = [task.loss(guess[i : i + 2], batch.targets[i : i + 2]) for i in range(0, 8, 2)]
    assert float(sum(parts)) / 4 == pytest.approx(float(task.loss(guess, batch.targets)), rel=1e-5)


# Files


def test_both_kinds_of_depth_are_read_in_metres(tmp_path: Path) -> None:
    written_pairs(tmp_path, 4)
    files = PairFolder(tmp_path, 10.0, 0.001)
    for number in range(4):
        depth = files.read(number).depth
        assert 0.4 < depth.min() < depth.max() <= 9
    assert PairFolder(tmp_path, 5.0, 0.001).read(1).depth.max() <= 5, "farther is unknown"
    assert (PairFolder(tmp_path, 5.0, 0.001).read(1).depth == 0).any()
    halves = PairFolder(tmp_path, 10.0, 0.0005).read(0).depth
    assert np.allclose(2 * halves, files.read(0).depth)


def test_unknown_depths_are_0(tmp_path: Path) -> None:
    written_pairs(tmp_path, 2)
    depth = np.load(tmp_path / "depth" / "001.npy")
    depth[0, :5] = [math.nan, math.inf, -1, 0, 3]
    np.save(tmp_path / "depth" / "001.npy", depth)
    assert PairFolder(tmp_path, 10.0, 0.001).read(1).depth[0, :5].tolist() == [0, 0, 0, 0, 3]


def _millimetres(root: Path) -> None:
    np.save(root / "depth" / "001.npy", np.full((20, 27), 2500.0))


def _unequal(root: Path) -> None:
    np.save(root / "depth" / "001.npy", np.ones((20, 26)))


def _eight_bits(root: Path) -> None:
    Image.fromarray(np.ones((20, 27), np.uint8)).save(root / "depth" / "000.png")


def _truncated(root: Path) -> None:
    path = root / "rgb" / "001.png"
    path.write_bytes(path.read_bytes()[:300])


def _pickled(root: Path) -> None:
    np.save(root / "depth" / "001.npy", np.array([[{}]], dtype=object), allow_pickle=True)


def _words(root: Path) -> None:
    np.save(root / "depth" / "001.npy", np.full((20, 27), "far"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_millimetres, "depths are in metres.*2500"),
        (_unequal, r"one size.*\(20, 27, 3\) and \(20, 26\)"),
        (_eight_bits, "PNG of 16 bits"),
        (_truncated, "whole picture"),
        (_pickled, "whole picture"),
        (_words, "of numbers"),
    ],
)
def test_a_broken_pair_is_named(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    written_pairs(tmp_path, 2)
    spoil(tmp_path)
    files = PairFolder(tmp_path, 10.0, 0.001)
    with pytest.raises(ImageError, match=said) as caught:
        _ = [files.read(number) for number in range(2)]
    assert "rgb/00" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_of_pairs_says_so(tmp_path: Path) -> None:
    cases: list[tuple[str, Callable[[Path], object]]] = [
        ("there is none", lambda root: None),
        ("two folders", lambda root: (root / "rgb").mkdir(parents=True)),
        (
            "has none; fill it",
            lambda root: [(root / n).mkdir(parents=True) for n in ("rgb", "depth")],
        ),
        ("every picture has its depth", _without_a_depth),
    ]
    for number, (said, make) in enumerate(cases):
        root = tmp_path / str(number)
        make(root)
        with pytest.raises(ImageError, match=said) as caught:
            Depth(DepthSettings("pairs", str(root)))
        assert "\n" not in str(caught.value)


def _empty(root: Path) -> None:
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)


def _without_a_depth(root: Path) -> None:
    written_pairs(root, 3)
    (root / "depth" / "001.npy").unlink()


def test_nyus_scenes_are_split_by_their_names(nyu: Path) -> None:
    files = NyuFiles(nyu, 10.0)
    held = [files.place(number) for number in files.held_out]
    assert len(held) == 6
    assert {Path(place).name for place in held} == {"00001.h5", "00201.h5"}
    assert files.test is not None
    assert all("val/official" in files.place(number) for number in files.test)
    task = Depth(DepthSettings("nyu", str(nyu), 16, workers=0))
    assert (task.train_images, task.validation_images, task.test_images) == (9, 6, 8)
    drawn = Depth(DepthSettings("nyu", str(nyu), 16, workers=0, validation_images=4))
    assert (drawn.train_images, drawn.validation_images) == (11, 4)


def test_nyus_files_are_read_as_they_lie(nyu: Path) -> None:
    files = NyuFiles(nyu, 10.0)
    picture, depth = files.read(0)
    with h5py.File(files.place(0)) as file:
        assert np.array_equal(picture.transpose(2, 0, 1), file["rgb"])
        assert np.array_equal(depth, file["depth"])


def _rewritten(path: Path, **parts: NDArray[np.generic]) -> None:
    with h5py.File(path, "w") as file:
        for name, values in parts.items():
            file[name] = values


PICTURE = np.zeros((3, 20, 26), np.uint8)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "whole picture"),
        (lambda path: path.write_bytes(b""), "whole picture"),
        (lambda path: _rewritten(path, rgb=PICTURE), "no depth"),
        (lambda path: _rewritten(path, rgb=PICTURE[0], depth=np.ones((20, 26))), "rgb is"),
        (lambda path: _rewritten(path, rgb=PICTURE, depth=np.ones((20, 25))), "one size"),
        (lambda path: _rewritten(path, rgb=PICTURE, depth=np.full((20, 26), 900.0)), "metres"),
    ],
)
def test_a_broken_file_of_nyus_is_named(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "train" / "attic" / "00006.h5"
    written_scene(path.parent, (path.name,), 0)
    spoil(path)
    with pytest.raises(ImageError, match=said) as caught:
        NyuFiles(tmp_path, 10.0).read(0)
    assert "00006.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_breaks_in_a_worker_is_named(tmp_path: Path) -> None:
    written_pairs(tmp_path, 20)
    _truncated(tmp_path)
    task = Depth(DepthSettings("pairs", str(tmp_path), 16, workers=2))
    with pytest.raises(ImageError, match="001"):
        _ = [task.train_batch(0, task.train_images), *task.validation(4), *task.test(4)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: DepthSettings("pairs"), "rooms are rendered"),
        (lambda: DepthSettings("rooms", "somewhere"), "rooms are rendered"),
        (lambda: DepthSettings(crop=(260, 304)), "inside a picture"),
        (lambda: DepthSettings(std=(1.0, 0.0, 1.0)), "above 0"),
        (lambda: RoomSettings(boxes=(5, 2)), "boxes goes up"),
        (lambda: Depth(DepthSettings(rooms=FEW, test_images=25)), "at most the 24 views"),
    ],
)
def test_impossible_settings_are_refused(settings: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said):
        settings()


def test_too_many_pairs_held_out_are_refused(tmp_path: Path) -> None:
    written_pairs(tmp_path, 5)
    with pytest.raises(InvalidSettingError, match="validation_images is at most"):
        Depth(DepthSettings("pairs", str(tmp_path), validation_images=4))
