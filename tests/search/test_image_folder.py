"""Pictures of one's own: listed, decoded whatever they are, and the same for any workers."""

from __future__ import annotations

import io
import itertools
import logging
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netadapt.search.errors import ImageError, InvalidSettingError
from netadapt.search.task import Samples, Task, make_task, one_batch
from netadapt.search.tasks.image_folder import ImageFolder
from netadapt.search.tasks.image_list import list_images
from netadapt.search.tasks.picture_workers import PictureWorkers
from netadapt.search.tasks.pictures import View, render, shrunk
from netadapt.search.tasks.settings import Augmentation, ImageFolderSettings
from tests.contracts.task import TaskContract, same
from tests.pictures import COLOURS, make_folder, picture

SMALL = {"size": 16, "workers": 0}
PLAIN = View(16, 3, 1.0, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("pictures"), train=20, test=10)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("plain"), train=20)


def task(root: Path, seed: int = 0, **changed: object) -> ImageFolder:
    settings = ImageFolderSettings(root=str(root), **(SMALL | changed))  # type: ignore[arg-type]
    return ImageFolder(settings, seed=seed)


class TestImageFolder(TaskContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.root = folder

    def task(self, seed: int = 0) -> Task:
        return task(self.root, seed)


class TestWithoutTestFolder(TaskContract):
    @pytest.fixture(autouse=True)
    def _folder(self, plain: Path) -> None:
        self.root = plain

    def task(self, seed: int = 0) -> Task:
        return make_task(
            "image_folder",
            ImageFolderSettings(root=str(self.root), channels=1, size=12, workers=0),
            seed=seed,
        )


class TestSplits:
    def test_each_class_has_its_due(self, plain: Path) -> None:
        made = task(plain, validation_images=7)
        assert (made.train_images, made.validation_images, made.test_images) == (41, 7, 12)
        counts = torch.bincount(one_batch(made.validation(8)).targets)
        assert sorted(counts.tolist()) == [2, 2, 3]
        assert torch.bincount(one_batch(made.test(8)).targets).tolist() == [4, 4, 4]
        assert made.labels == tuple(sorted(COLOURS))

    def test_all_of_the_test_folder_or_as_many_as_wanted(self, folder: Path) -> None:
        assert task(folder).test_images == 30
        made = task(folder, test_images=4)
        assert made.test_images == 4
        assert made.train_images == task(folder).train_images
        with pytest.raises(InvalidSettingError, match=r"test_images is at most 30.*got 31; lower"):
            task(folder, test_images=31)

    def test_every_class_is_trained(self, plain: Path) -> None:
        assert task(plain, test_images=20, validation_images=37).train_images == 3
        with pytest.raises(InvalidSettingError, match=r"validation_images is at most 37.*got 38"):
            task(plain, test_images=20, validation_images=38)

    def test_other_pictures_or_settings_are_another_task(self, plain: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(plain, tmp_path / plain.name)
        assert task(copy).name == task(plain, workers=1).name
        assert task(copy, crop_share=0.5).name != task(plain).name
        (copy / "red" / "000.jpg").unlink()
        assert task(copy).name != task(plain).name

    def test_a_class_of_one_picture_is_trained_alone(self, plain: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(plain, tmp_path / "copy")
        (copy / "single").mkdir()
        picture((0, 0, 0), 1).save(copy / "single" / "one.png")
        made = task(copy)
        targets = one_batch(made.train_batch(0, 16) for _ in [0]).targets
        assert len(targets) == 16
        for split in (made.validation(50), made.test(50)):
            assert 3 not in one_batch(split).targets


class TestStream:
    @pytest.mark.parametrize(
        "augmentation",
        [Augmentation(), Augmentation(mixup=0.2, cutmix=1.0, erasing=0.5, randaugment=2)],
        ids=["plain", "everything"],
    )
    def test_any_number_of_workers_gives_the_same_batches(
        self, folder: Path, augmentation: Augmentation
    ) -> None:
        one, two = (task(folder, workers=n, augmentation=augmentation) for n in (0, 2))
        for step in (0, 1, 2, 3, 7):
            assert same(one.train_batch(step, 20), two.train_batch(step, 20))
        for split in ("validation", "test"):
            pairs = zip(getattr(one, split)(7), getattr(two, split)(7), strict=True)
            assert all(same(a, b) for a, b in pairs)

    @pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(mixup=1, cutmix=1)])
    def test_a_ranks_share_is_that_of_the_whole_batch(
        self, folder: Path, augmentation: Augmentation
    ) -> None:
        """Rank r of R asks for batch `step * R + r` of a size R times smaller."""
        made = task(folder, augmentation=augmentation)
        whole = made.train_batch(2, 15)
        parts = one_batch(made.train_batch(2 * 3 + rank, 5) for rank in range(3))
        assert same(whole, parts)

    def test_mixed_targets_are_shares_of_two_classes(self, folder: Path) -> None:
        made = task(folder, augmentation=Augmentation(mixup=1.0))
        images, targets = made.train_batch(0, 40)
        assert targets.shape == (40, 3)
        assert torch.allclose(targets.sum(1), torch.ones(40))
        assert (targets > 0).sum(1).max() == 2
        logits = torch.randn(40, 3)
        assert made.loss(logits, targets, 0.1).isfinite()
        plain = task(folder).train_batch(0, 40).images
        assert images.shape == plain.shape
        assert not torch.equal(images, plain)

    def test_the_classes_can_be_told(self, folder: Path) -> None:
        """Colours survive decoding, crops and normalisation; the channels are in their order."""
        made = task(folder)
        images, targets = one_batch(made.validation(50))
        shape = made.input_format
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (shape.mean, shape.std))
        tints = (images * std + mean).mean((2, 3)) * 255
        for tint, target in zip(tints, targets, strict=True):
            expected = torch.tensor(COLOURS[made.labels[target]], dtype=torch.float32)
            assert (tint - expected).abs().max() < 25

    def test_what_was_made_ready_in_vain_is_forgotten(self, folder: Path) -> None:
        made = task(folder, workers=1)
        expected = task(folder)
        for step in (0, 1, 2, 9, 10, 3, 4, 5):
            assert same(made.train_batch(step, 8), expected.train_batch(step, 8))


def test_a_task_that_is_done_with_leaves_no_word_and_no_process(folder: Path) -> None:
    """Batches that were made ready in vain are forgotten with it."""
    script = (
        "from netadapt.search.tasks.image_folder import ImageFolder\n"
        "from netadapt.search.tasks.settings import ImageFolderSettings\n"
        f"task = ImageFolder(ImageFolderSettings(root={str(folder)!r}, workers=1))\n"
        "for _ in range(2):\n"
        "    task = ImageFolder(task.settings)\n"
        "    for step in range(3): task.train_batch(step, 64)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout + done.stderr == ""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def rotated() -> bytes:
    """A picture whose upper half is red, held sideways: its file has red on one side."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    sideways = Image.new("RGB", (64, 64), (0, 0, 255))
    sideways.paste((255, 0, 0), (0, 0, 32, 64))
    return encoded(sideways, "JPEG", exif=exif)


class TestPictures:
    @pytest.mark.parametrize(
        "data",
        [
            encoded(Image.new("L", (50, 40), 100), "JPEG"),
            encoded(Image.new("RGBA", (50, 40), (100, 100, 100, 7)), "PNG"),
            encoded(Image.new("RGB", (50, 40), (100, 100, 100)).quantize(4), "PNG"),
            encoded(Image.new("RGB", (50, 40), (100, 100, 100)).quantize(4), "PNG", transparency=0),
            encoded(Image.new("I;16", (50, 40), 100 * 257), "PNG"),
            encoded(Image.new("LA", (50, 40), (100, 3)), "PNG"),
            encoded(Image.new("CMYK", (50, 40), (0, 0, 0, 155)), "JPEG"),
            encoded(Image.new("RGB", (50, 40), (100, 100, 100)), "JPEG", progressive=True),
            encoded(Image.new("RGB", (1, 1), (100, 100, 100)), "PNG"),
            encoded(Image.new("RGB", (1, 900), (100, 100, 100)), "JPEG"),
            encoded(Image.new("RGB", (50, 40), (100, 100, 100)), "WEBP"),
        ],
        ids=[
            "grey", "alpha", "palette", "transparent", "16bit", "grey-alpha", "cmyk", "progressive",
            "dot", "line", "webp",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("augmentation", [None, Augmentation(erasing=0.0, flip=0.5)])
    def test_any_kind_of_file(self, data: bytes, augmentation: Augmentation | None) -> None:
        pixels = render(data, View(16, 3, 0.875, augmentation), (1, 2))
        assert pixels.shape == (16, 16, 3)
        assert np.abs(pixels.astype(int) - 100).max() <= 4

    def test_a_picture_is_turned_as_the_camera_was_held(self) -> None:
        pixels = render(rotated(), PLAIN, ())
        assert pixels[:6, :, 0].min() > 200 > 60 > pixels[10:, :, 0].max()
        assert Image.open(io.BytesIO(shrunk(rotated(), 32))).getpixel((16, 4))[0] > 200  # type: ignore[index]

    def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(self) -> None:
        rng = np.random.default_rng(0)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        large = coarse.resize((1600, 1200), Image.Resampling.BICUBIC)
        jpeg, png = encoded(large, "JPEG", quality=98), encoded(large, "PNG")
        for view, key in itertools.product(
            (View(64, 3, 0.875, None), View(64, 3, 1, Augmentation())), ((1,), (2,), (3,))
        ):
            difference = render(jpeg, view, key).astype(int) - render(png, view, key)
            assert np.abs(difference).mean() < 3

    @given(
        width=st.integers(1, 60), height=st.integers(1, 60), seed=st.integers(0, 2**32),
        area=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
        ratio=st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted).map(tuple),
    )  # fmt: skip
    def test_any_crop_of_any_size_is_within_the_picture(
        self, width: int, height: int, seed: int, area: tuple[float, float],
        ratio: tuple[float, float],
    ) -> None:  # fmt: skip
        given = Augmentation(crop_area=area, crop_ratio=ratio, erasing=0.3)
        data = encoded(Image.new("RGB", (width, height), (9, 9, 9)), "PNG")
        assert render(data, View(7, 3, 1.0, given), (seed,)).shape == (7, 7, 3)

    @pytest.mark.parametrize(
        "data",
        [b"", b"some words\n", rotated()[:400], encoded(picture((9, 9, 9), 1), "PNG")[:300]],
        ids=["empty", "text", "cut jpeg", "cut png"],
    )
    def test_what_is_no_picture(self, data: bytes) -> None:
        with pytest.raises(ImageError) as caught:
            render(data, PLAIN, ())
        assert "\n" not in str(caught.value)

    def test_shrunk_only_where_it_is_larger(self) -> None:
        small = encoded(picture((9, 9, 9), 1, (40, 30)), "PNG")
        assert shrunk(small, 30) == small
        image = Image.open(io.BytesIO(shrunk(small, 20)))
        assert (image.size, image.format) == ((27, 20), "JPEG")


class TestBroken:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Path:
        root = make_folder(tmp_path / "damaged", train=8, size=(64, 64))
        (root / "red" / "empty.jpg").write_bytes(b"")
        (root / "green" / "words.png").write_text("no picture at all")
        whole = (root / "blue" / "000.jpg").read_bytes()
        (root / "blue" / "000.jpg").write_bytes(whole[: len(whole) // 2])
        return root

    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_first_one_ends_it_in_one_line(self, damaged: Path, workers: int) -> None:
        made = task(damaged, workers=workers)
        words = r"a picture must be whole.*set skip_broken"
        with pytest.raises(ImageError, match=words) as caught:
            made.train_batch(0, made.train_images)
        assert "\n" not in str(caught.value)
        assert str(damaged) in str(caught.value)

    def test_they_are_left_out_and_named(
        self, damaged: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            made = task(damaged, skip_broken=True)
        assert made.train_images + made.validation_images + made.test_images == 23
        assert {line.partition(" (")[0].rpartition("/")[2] for line in caplog.messages} == {
            "empty.jpg",
            "words.png",
            "000.jpg",
        }
        epoch = made.train_batch(0, made.train_images)
        assert len(epoch.images) == made.train_images
        caplog.clear()
        again = task(damaged, skip_broken=True)
        assert again.name == made.name
        assert len(caplog.messages) == 3
        picture((1, 2, 3), 7).save(damaged / "red" / "empty.jpg")  # mended
        mended = task(damaged, skip_broken=True)
        assert mended.train_images + mended.validation_images + mended.test_images == 24

    def test_what_was_whole_is_not_looked_for_again(
        self, damaged: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task(damaged, skip_broken=True)
        looked: list[int] = []
        before = PictureWorkers.problems

        def problems(workers: PictureWorkers, numbers: Sequence[int]) -> object:
            looked.extend(numbers)
            return before(workers, numbers)

        monkeypatch.setattr(PictureWorkers, "problems", problems)
        task(damaged, skip_broken=True)
        assert len(looked) == 3

    def test_a_file_that_goes_meanwhile(self, damaged: Path) -> None:
        made = task(damaged, skip_broken=True)
        for file in damaged.rglob("*.*"):
            file.unlink()
        with pytest.raises(ImageError, match=r"listed must be readable|must be whole"):
            made.train_batch(0, 4)


class TestList:
    def test_odd_names_and_what_is_no_picture(self, tmp_path: Path) -> None:
        for name in ("with blank", "ümlaut 猫", "deeper"):
            (tmp_path / name / "below").mkdir(parents=True)
            picture((1, 2, 3), 1).save(tmp_path / name / "A b.JPG", "JPEG")
            picture((1, 2, 3), 2).save(tmp_path / name / "below" / "x.png")
            (tmp_path / name / "notes.txt").write_text("not a picture")
            (tmp_path / name / "._A b.JPG").write_bytes(b"left by another system")
        odd = os.fsencode(tmp_path / "deeper") + b"/\xff.png"
        picture((1, 2, 3), 3).save(tmp_path / "deeper" / "y.png")
        os.rename(tmp_path / "deeper" / "y.png", odd)
        images = list_images(tmp_path)
        assert images.classes == ("deeper", "with blank", "ümlaut 猫")
        assert len(images) == 7
        for number in range(7):
            assert render(images.read(number), PLAIN, ()).shape == (16, 16, 3)
            assert images.place(number).isprintable()

    def test_it_is_made_anew_where_a_folder_changed(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "some", train=3)
        first = list_images(tmp_path / "some")
        assert list_images(tmp_path / "some").file == first.file
        made_at = first.file.stat().st_mtime_ns
        assert list_images(tmp_path / "some").file.stat().st_mtime_ns == made_at
        time.sleep(0.01)
        picture((1, 2, 3), 9).save(tmp_path / "some" / "red" / "new.png")
        assert len(list_images(tmp_path / "some")) == len(first) + 1

    def test_a_damaged_list_is_made_anew(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "some", train=3)
        file = list_images(tmp_path / "some").file
        file.write_bytes(file.read_bytes()[:-40])
        assert len(list_images(tmp_path / "some")) == 9

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda root: shutil.rmtree(root), "there is neither at"),
            (lambda root: _emptied(root / "train" / "red"), "red holds none; fill it, or remove"),
            (lambda root: (root / "val" / "pink").mkdir(), "pink in .* is no folder of"),
            (lambda root: [shutil.rmtree(root / "train" / n) for n in ("red", "blue")], "has 1"),
        ],
    )
    def test_folders_that_are_none_of_pictures(
        self, tmp_path: Path, spoil: Callable[[Path], object], words: str
    ) -> None:
        root = make_folder(tmp_path / "some", train=3, test=2)
        spoil(root)
        with pytest.raises(ImageError, match=words) as caught:
            list_images(root)
        assert "\n" not in str(caught.value)

    def test_a_class_may_lack_test_images(self, tmp_path: Path) -> None:
        root = make_folder(tmp_path / "some", train=5, test=3)
        shutil.rmtree(root / "val" / "red")
        made = task(root)
        assert made.test_images == 6
        assert made.outputs == 3

    def test_any_file_is_no_pack(self, tmp_path: Path) -> None:
        file = tmp_path / "photos.arrow"
        file.write_bytes(b"ARROW1 or so")
        with pytest.raises(ImageError, match=r"photos.arrow \(.*\); name another, or pack it"):
            list_images(file)


class TestSettings:
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"size": 0}, "size"),
            ({"mean": (0.5, 0.5)}, "as many values of mean"),
            ({"std": (0.0,)}, "std is above 0"),
            ({"channels": 2}, "channels"),
        ],
    )
    def test_bounds(self, changed: dict[str, object], words: str) -> None:
        with pytest.raises(InvalidSettingError, match=words):
            ImageFolderSettings(**changed)  # type: ignore[arg-type]

    @pytest.mark.parametrize("pair", [(0.0, 1.0), (0.9, 0.1), (math.nan, 1.0)])
    def test_a_crop_is_of_something(self, pair: tuple[float, float]) -> None:
        with pytest.raises(InvalidSettingError, match="crop_area"):
            Augmentation(crop_area=pair)

    def test_a_root_has_to_be_named(self) -> None:
        with pytest.raises(InvalidSettingError, match=r"set root in \[task.image_folder\]"):
            ImageFolder(ImageFolderSettings())

    def test_grey_images_take_the_mean_of_colours(self, folder: Path) -> None:
        made = task(folder, channels=1)
        assert made.input_format.channels == ("grey",)
        assert made.input_format.mean == pytest.approx((0.449,), abs=1e-3)
        assert made.train_batch(0, 2).images.shape == (2, 1, 16, 16)


def _emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def test_samples_are_of_the_kind_that_is_promised(folder: Path) -> None:
    batch = task(folder).train_batch(0, 3)
    assert isinstance(batch, Samples)
    assert batch.targets.dtype == torch.int64
