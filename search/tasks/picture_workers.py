"""Pictures made ready in worker processes, ahead of who waits for them."""

from __future__ import annotations

import functools
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from netadapt.android_runner.processes import end_with, signals_held
from netadapt.search.errors import ImageError
from netadapt.search.tasks.image_list import ImageList
from netadapt.search.tasks.pictures import problem, render, shrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

_CHUNK: Final = 16
"""Pictures that a worker is handed at a time: enough not to wait for the next ones."""
_UNDER_WAY: Final = 4
"""Chunks of each worker that may wait, or be waited for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to be made ready: its number, how it is seen, and the key of what is random."""

    number: int
    view: Any
    key: tuple[int, ...] = ()


class PictureWorkers:
    """Renders pictures of a list.

    Parameters
    ----------
    images: what pictures come from; it is sent to each process.
    workers: processes; 0 renders in this one. They are started when they are first needed, and end
        with this object or this process, however it ends.
    render: some pictures of `images` made ready, `(len(wanted), ...)`; a function of a module's.
    """

    def __init__(
        self,
        images: Any,
        workers: int,
        render: Callable[[Any, Sequence[Wanted]], NDArray[Any]] | None = None,
    ) -> None:
        self._images = images
        self._workers = workers
        self._render = render or _render
        self._pool: Any = None
        self._waiting: set[Future[Any]] = set()

    def begin(self, wanted: Sequence[Wanted]) -> Callable[[], NDArray[Any]]:
        """Have these rendered; what is returned waits for them: `(len(wanted), P, P, C)`.

        That raises `ImageError` for a picture that cannot be read, and names it.
        """
        if not self._workers:
            return lambda: self._render(self._images, wanted)
        chunks = [self._submit(_own_rendered, self._render, chunk) for chunk in _chunks(wanted)]
        return lambda: np.concatenate([_answer(chunk) for chunk in chunks])

    def problems(self, numbers: Sequence[int]) -> Iterator[tuple[int, str | None]]:
        """Each number, and why its picture cannot be decoded; None where it can."""
        return self._each(_problem, numbers)

    def shrunk(self, numbers: Sequence[int], side: int) -> Iterator[tuple[int, bytes | ImageError]]:
        """Each number, and its picture's file with a shorter side of at most `side` pixels."""
        return self._each(functools.partial(_shrunk, side=side), numbers)

    def _each(self, function: Callable[[ImageList, int], Any], numbers: Sequence[int]) -> Any:
        """`function` of each picture, in their order, a bounded number of them under way."""
        if not self._workers:
            for number in numbers:
                yield number, function(self._images, number)
            return
        under_way: deque[tuple[Sequence[int], Future[Any]]] = deque()
        for chunk in _chunks(numbers):
            under_way.append((chunk, self._submit(_own_each, function, chunk)))
            if len(under_way) > self._workers * _UNDER_WAY:
                done, future = under_way.popleft()
                yield from zip(done, _answer(future), strict=True)
        for done, future in under_way:
            yield from zip(done, _answer(future), strict=True)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self._pool = self._pool or self._new_pool()
        try:
            future: Future[Any] = self._pool.submit(function, *arguments)
        except BrokenExecutor as error:
            raise _ended() from error
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def _new_pool(self) -> Any:
        # joblib's: those of the standard library run a user's script again in each process
        from joblib.externals.loky import ProcessPoolExecutor

        pool = ProcessPoolExecutor(
            self._workers, initializer=_begin, initargs=(self._images, os.getpid())
        )
        weakref.finalize(self, _dismiss, pool, self._waiting)
        with signals_held():
            pool.submit(os.getpid)  # starts them
        return pool


def _dismiss(pool: Any, waiting: set[Future[Any]]) -> None:
    """End a pool: what nobody waits for any more is not begun."""
    for future in list(waiting):
        future.cancel()
    pool.shutdown(wait=False)


_own_images: list[Any] = []
"""Of a worker process: what it reads from."""


def _begin(images: Any, parent: int) -> None:
    end_with(parent)
    _own_images[:] = [images]


def _own_rendered(
    render: Callable[[Any, Sequence[Wanted]], NDArray[Any]], wanted: Sequence[Wanted]
) -> NDArray[Any]:
    return render(_own_images[0], wanted)


def _own_each(function: Callable[[ImageList, int], Any], numbers: Sequence[int]) -> list[Any]:
    return [function(_own_images[0], number) for number in numbers]


def _render(images: ImageList, wanted: Sequence[Wanted]) -> Pixels:
    if not wanted:
        raise ValueError("a batch has a picture or more")
    rendered = []
    for one in wanted:
        try:
            rendered.append(render(images.read(one.number), one.view, one.key))
        except ImageError as error:
            raise ImageError(
                f"a picture must be whole, {images.place(one.number)} is not "
                f"({error.__cause__ or error}); mend or remove it, or set skip_broken = true "
                "(`netadapt data check` lists all)"
            ) from None
    return np.stack(rendered)


def _problem(images: ImageList, number: int) -> str | None:
    try:
        return problem(images.read(number))
    except ImageError as error:
        return str(error.__cause__ or error)


def _shrunk(images: ImageList, number: int, side: int) -> bytes | ImageError:
    try:
        return shrunk(images.read(number), side)
    except ImageError as error:
        return ImageError(str(error.__cause__ or error))


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _answer(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise _ended() from error


def _ended() -> ImageError:
    return ImageError(
        "processes that decode pictures must live, one was ended from outside; is there enough "
        "memory? set fewer workers"
    )


def usual_workers() -> int:
    """One for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
