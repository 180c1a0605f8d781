"""`masking.jsonl`: how a differentiable search went, a point about every epoch, one a line.

A line is a `netadapt.search.dmasking.points.MaskingPoint`: the costs that were expected beside
what was measured, the temperature, and the probabilities of every dimension. A search that was
killed resumes from its last checkpoint, so steps may come again: the last line of a step counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from netadapt.android_runner.files import cut_torn_line
from netadapt.search.dmasking.points import MaskingPoint


@contextmanager
def masking_log(path: Path) -> Iterator[Callable[[MaskingPoint], None]]:
    """Takes points and appends them to the file at `path`."""
    cut_torn_line(path)

    def write(point: MaskingPoint) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(asdict(point))}\n")

    yield write


def read_masking(path: Path) -> tuple[MaskingPoint, ...]:
    """The points at `path`, steps ascending; none where there is no such file.

    Lines that are no points are left out.
    """
    if not path.exists():
        return ()
    points: dict[int, MaskingPoint] = {}
    known = TypeAdapter(MaskingPoint)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            point = known.validate_json(line)
        except ValidationError:
            continue
        points[point.step] = point
    return tuple(points[step] for step in sorted(points))
