"""The pictures of a folder: listed once and kept in the cache; or packed, all in one file.

Both are Arrow files that are mapped into memory, so that a million pictures cost a process next to
nothing: a list has where each picture lies, a pack has the picture itself besides.

Symbols: `N` pictures.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from netadapt.android_runner.files import writing_atomically
from netadapt.android_runner.paths import cache_folder
from netadapt.android_runner.text import printable
from netadapt.search.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
TRAIN: Final = "train"
TEST: Final = ("test", "val", "validation")
"""The folder of test images has one of these names, the first that is there."""

_FORMAT: Final = "netadapt images 1"
_BATCH: Final = 65_536
_PACKED_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture: its path below the root, the number of its class, and of which folder it is."""

    path: bytes
    label: int
    test: bool
    image: bytes | None = None


class ImageList:
    """N pictures by number, of a list or a pack.

    Made by `list_images`. Reads its file again where it is pickled to another process.

    Attributes
    ----------
    classes: names of the classes' folders, in the order of their numbers.
    labels: `(N,)`, the number of each picture's class.
    test: `(N,)`, whether a picture is of the folder of test images.
    has_test: whether there is such a folder.
    """

    def __init__(self, file: Path, root: Path) -> None:

        self.file, self.root = file, root
        self._table, about = _opened(file)
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.has_test: bool = about["has_test"]
        self.labels: NDArray[np.int32] = self._table["label"].to_numpy()
        self.test: NDArray[np.bool_] = self._table["test"].to_numpy()
        self._paths = self._table["path"]
        self._images = self._table["image"] if "image" in self._table.column_names else None

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageList, (self.file, self.root)

    @property
    def packed(self) -> bool:
        """Whether the file holds the pictures themselves."""
        return self._images is not None

    def place(self, number: int) -> str:
        """Where picture `number` is, for people."""
        path = os.fsdecode(self._paths[number].as_py())
        return printable(f"{self.root}: {path}" if self.packed else str(self.root / path))

    def listed(self, number: int, image: bytes | None = None) -> Listed:
        """What stands in the list of picture `number`, with a file of its own."""
        label, test = int(self.labels[number]), bool(self.test[number])
        return Listed(self._paths[number].as_py(), label, test, image)

    def read(self, number: int) -> bytes:
        """The file of picture `number`. Raises `ImageError` where it is gone."""
        if self._images is not None:
            return bytes(self._images[number].as_buffer())
        path = self.root / os.fsdecode(self._paths[number].as_py())
        try:
            return path.read_bytes()
        except OSError as error:
            raise ImageError(
                f"a picture that is listed must be readable, {printable(str(path))} is not "
                f"({error.strerror}); put it back, or remove what else is amiss in its folder"
            ) from error

    def digest(self) -> str:
        """Of the names and classes of all pictures: equal for the same pictures in one order."""
        return str(_opened(self.file)[1]["digest"])


def list_images(root: Path) -> ImageList:
    """The pictures of a folder, listed anew where a folder in it has changed, or of a pack.

    Raises `ImageError` for a root that is missing, holds no pictures, or has a class without any.
    """
    if root.is_file():
        return ImageList(root, root)
    if not root.is_dir():
        raise ImageError(
            "pictures lie in a folder of classes, or in a file that `netadapt data pack` wrote, "
            f"there is neither at {printable(str(root))}; correct root"
        )
    root = root.resolve()
    place = cache_folder() / "images" / hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
    file = place.with_suffix(".arrow")
    with contextlib.suppress(ImageError):
        stamp = _opened(file)[1]["folders"]
        if stamp == _stamp(root, stamp):
            return ImageList(file, root)
    folders: dict[str, int] = {}
    classes, parts = _classes(root, folders)

    def found() -> Iterator[Listed]:  # one by one: a million of them are a gigabyte
        for test, folder in parts:
            for label, name in enumerate(classes):
                some = False
                for one in _pictures(root, folder / name, label, test, folders):
                    some = True
                    yield one
                if not (some or test):
                    raise ImageError(
                        f"a class's folder holds a picture ({', '.join(SUFFIXES)}) or more, "
                        f"{printable(str(folder / name))} holds none; fill it, or remove it"
                    )

    write_list(file, found(), classes, has_test=len(parts) > 1, folders=folders)
    return ImageList(file, root)


def write_list(
    file: Path,
    pictures: Iterable[Listed],
    classes: Sequence[str],
    *,
    has_test: bool,
    folders: dict[str, int] | None = None,
    packed: bool = False,
) -> None:
    """Write a list, or a pack of pictures that have their `image`.

    Parameters
    ----------
    folders: the stamp of each folder that was looked into, `_stamp`.
    """
    import pyarrow as pa

    fields = [("path", pa.binary()), ("label", pa.int32()), ("test", pa.bool_())]
    schema = pa.schema([*fields, ("image", pa.large_binary())] if packed else fields)
    digest = hashlib.sha256("\n".join(classes).encode(errors="surrogateescape"))
    with writing_atomically(file) as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(pictures, _PACKED_BATCH if packed else _BATCH):
            for one in batch:
                digest.update(b"%b\0%d%d" % (one.path, one.label, one.test))
            columns = [[getattr(one, name) for one in batch] for name in schema.names]
            arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
            writer.write(pa.record_batch(arrays, schema=schema))
        # Known at the end only: as the last batch, empty but for what it says of itself
        about = {
            "format": _FORMAT,
            "classes": [name.encode(errors="replace").decode() for name in classes],
            "has_test": has_test,
            "folders": folders or {},
            "digest": digest.hexdigest(),
        }
        writer.write_batch(
            pa.record_batch([pa.array([], t) for t in schema.types], schema=schema),
            custom_metadata={"about": json.dumps(about)},
        )


@functools.lru_cache(maxsize=8)
def _mapped(file: Path, stamp: tuple[int, int, int]) -> tuple[Any, dict[str, Any]]:
    import pyarrow as pa

    with pa.ipc.open_file(pa.memory_map(str(file))) as reader:
        *rest, (_, last) = [
            reader.get_batch_with_custom_metadata(i) for i in range(reader.num_record_batches)
        ]
        about = json.loads(last["about"])
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']}")
        return pa.Table.from_batches([b for b, _ in rest], reader.schema), about


def _opened(file: Path) -> tuple[Any, dict[str, Any]]:
    import pyarrow as pa

    try:
        status = file.stat()
        return _mapped(file, (status.st_mtime_ns, status.st_size, status.st_ino))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            "pictures lie in a folder, or in a file that `netadapt data pack` wrote, cannot read "
            f"{printable(str(file))} ({type(error).__name__}); name another, or pack it again"
        ) from error


def _stamp(root: Path, folders: Iterable[str]) -> dict[str, int]:
    """When each folder was changed last, -1 for one that is gone; adding a file changes one."""
    found = {}
    for name in folders:
        try:
            found[name] = (root / name).stat().st_mtime_ns
        except OSError:
            found[name] = -1
    return found


def _classes(root: Path, folders: dict[str, int]) -> tuple[list[str], list[tuple[bool, Path]]]:
    """The classes by name, and the folders that hold them: whether of test images, and which."""
    folders |= _stamp(root, [""])
    if not (root / TRAIN).is_dir():
        parts = [(False, Path())]
    else:
        tests = [(True, Path(name)) for name in TEST if (root / name).is_dir()]
        parts = [(False, Path(TRAIN)), *tests[:1]]
        folders |= _stamp(root, [str(folder) for _, folder in parts])
    classes = sorted(_below(root / parts[0][1], os.DirEntry.is_dir))
    where = printable(str(root / parts[0][1]))
    if len(classes) < 2:
        raise ImageError(
            f"pictures lie in a folder for each class, two or more, {where} has {len(classes)}; "
            "sort them into folders that are named like their classes"
        )
    for _, folder in parts[1:]:
        there = _below(root / folder, os.DirEntry.is_dir)
        if unknown := sorted(set(there) - set(classes)):
            raise ImageError(
                f"test images are of classes that are trained, {printable(unknown[0])} in "
                f"{printable(str(root / folder))} is no folder of {where}; rename or remove it"
            )
    return classes, parts


def _pictures(
    root: Path, folder: Path, label: int, test: bool, folders: dict[str, int]
) -> Iterator[Listed]:
    """Of one class's folder and those below it, in the order of their names."""
    if not (root / folder).is_dir():
        return
    folders |= _stamp(root, [str(folder)])
    for name in sorted(_below(root / folder, os.DirEntry.is_file)):
        if name.lower().endswith(SUFFIXES):
            yield Listed(os.fsencode(folder / name), label, test)
    for name in sorted(_below(root / folder, os.DirEntry.is_dir)):
        yield from _pictures(root, folder / name, label, test, folders)


def _below(folder: Path, kind: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    """Names of a folder's entries of a kind; hidden ones are none of anybody's pictures."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name[0] != "." and kind(entry)]


def _batches(pictures: Iterable[Listed], size: int) -> Iterator[list[Listed]]:
    batch: list[Listed] = []
    for one in pictures:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
