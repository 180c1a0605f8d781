"""Lowering in worker processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)


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
    with _signals_held():
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


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started within leave Ctrl-C and the like to this one, which ends them.

    They also start processes that warn of what an ended one could not put away, and do it then.
    """
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    given = os.environ.get("PYTHONWARNINGS")
    silent = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{given},{silent}" if given else silent
    try:
        yield
    finally:
        if given is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = given
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_worker(parent: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """In a worker process: it ends with the one that asked, however that ends."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return function(*arguments)
