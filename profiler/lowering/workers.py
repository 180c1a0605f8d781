"""Lowering in worker processes that end with the one that started them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from netadapt.android_runner.processes import end_with, signals_held


def in_processes(
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    workers: int | None,
    pays_from: int,
) -> Generator[Any, None, None]:
    """`function` of each tuple of arguments, in their order, in worker processes where it pays.

    Parameters
    ----------
    workers: processes at a time; None takes one for each core.
    pays_from: fewer calls than this are made right here: a process imports for seconds.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(arguments) < pays_from:
        yield from (function(*a) for a in arguments)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator")
    with signals_held():
        results = parallel(delayed(_in_worker)(os.getpid(), function, a) for a in arguments)
    yield from results  # ended early, it ends the workers at once


@contextmanager
def one_thread() -> Iterator[None]:
    """Lowering computes next to nothing; a pool of threads would only be in other workers' way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_worker(parent: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """In a worker process: it ends with the one that asked, however that ends."""
    end_with(parent)
    return function(*arguments)
