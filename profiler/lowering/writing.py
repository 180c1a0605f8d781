"""Programs written without the exporter, a share of them compared with its own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.lowering.cache import ProgramCache
from netadapt.profiler.lowering.seam import Draft, Lowering
from netadapt.profiler.lowering.workers import one_thread

logger = logging.getLogger(__name__)

COMPARED_SHARE = 50
"""One in so many written programs is exported as well, beside the first of every kind of layer."""

Result = bytes | LoweringError
Exporter = Callable[[Sequence[int]], Generator[tuple[int, Result]]]
"""Exports what has these indices, each program given back with its index."""


def stamp_of(lowering: Lowering) -> str:
    """Under which a cache knows what was compared of a lowering's programs."""
    return hashlib.sha256("\n".join(lowering.stamp).encode()).hexdigest()[:16]


def write_compared(
    drafts: Mapping[int, Draft],
    cache: ProgramCache,
    lowering: Lowering,
    exported: Exporter,
) -> dict[int, bytes]:
    """The programs of these drafts by their index; none once one differs from the exporter's."""
    if not drafts or not cache.trusts_written():
        return {}
    try:
        with one_thread():
            programs = dict(zip(drafts, lowering.write(list(drafts.values())), strict=True))
    except Exception as error:  # another version of what serialises may raise anything
        _distrust(cache, f"could not be written ({type(error).__name__}: {error})")
        return {}
    stamp = stamp_of(lowering)
    compared = cache.compared(stamp)
    chosen: dict[int, set[str]] = {}
    for index, draft in drafts.items():
        news = set(draft.layers) - compared
        if not draft.layers:
            continue
        if news or int(hashlib.sha256(programs[index]).hexdigest()[:8], 16) % COMPARED_SHARE == 0:
            chosen[index] = news
            compared |= news
    if not chosen:
        return programs
    # Where the exporter's program is another one than ours, ours is written in its way, too.
    others = {i: o for i in chosen if (o := lowering.as_exported(drafts[i])) is not drafts[i]}
    expected = dict(programs)
    if others:
        with one_thread():
            expected |= zip(others, lowering.write(list(others.values())), strict=True)
    with closing(exported(list(chosen))) as stock:
        for index, data in stock:
            if data != expected[index]:
                _distrust(cache, f"differ from the exporter's ({', '.join(drafts[index].layers)})")
                return {}
            cache.note_compared(stamp, chosen[index])
    return programs


def _distrust(cache: ProgramCache, why: str) -> None:
    why = f"programs that are written without the exporter {' '.join(why.split())[:300]}"
    path = cache.distrust_written(why)
    logger.warning(
        "%s: all are exported from now on, slowly; please report it, and remove %s to try again",
        why, path,
    )  # fmt: skip
