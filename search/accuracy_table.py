"""A table of scores in the place of training and evaluation: architectures that were judged before.

A file is CSV with a header line and the columns `arch` and `score`, or JSON: an object of scores by
arch, or a list of objects with `arch` and `score`. An arch is written as `Arch.to_json` writes it
(in JSON also as the object that this text is).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from netadapt.search.errors import AccuracyTableError, shown

if TYPE_CHECKING:
    from netadapt.search.space import Arch


class AccuracyTable:
    """Scores by arch; higher is better. Stands in for an `Evaluator`.

    Parameters
    ----------
    scores: by the archs' JSON. White space and the order of keys do not matter.

    Raises `AccuracyTableError` for a key that is no JSON, a score that is no finite number, and an
    arch with two different scores.
    """

    def __init__(self, scores: Mapping[str, float]) -> None:
        self._scores = _checked(scores.items())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The table in the file at `path`, CSV or JSON by its name.

        Raises `AccuracyTableError` as the class does, and for a file that cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
            pairs = list(_from_csv(text) if path.suffix == ".csv" else _from_json(text))
        except OSError as error:
            raise AccuracyTableError(
                f"a table of accuracies is a readable file, {path} is not ({error.strerror}); "
                "name another"
            ) from error
        except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
            raise AccuracyTableError(
                "a table of accuracies is CSV with the columns arch and score, or JSON of scores "
                f"by arch, {path} is not ({type(error).__name__}: {shown(str(error))}); mend it"
            ) from error
        try:
            table = cls({})
            table._scores = _checked(pairs)
        except AccuracyTableError as error:
            raise AccuracyTableError(f"{path}: {error}") from error
        return table

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, arch: Arch) -> bool:
        return _key(arch.to_json()) in self._scores

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        """The score of each arch. Raises `AccuracyTableError` that names one it lacks."""
        scores = []
        for arch in archs:
            text = arch.to_json()
            try:
                scores.append(self._scores[_key(text)])
            except KeyError:
                raise AccuracyTableError(
                    f"a table of accuracies has every arch that is asked for, this one of "
                    f"{len(self)} lacks {text}; judge that arch and add it, or search by training"
                ) from None
        return scores


def _from_csv(text: str) -> Iterator[tuple[str, object]]:
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield row["arch"], float(row["score"])


def _from_json(text: str) -> Iterator[tuple[str, object]]:
    document = json.loads(text)
    if isinstance(document, dict):
        yield from document.items()
        return
    for row in document:
        arch = row["arch"]
        yield arch if isinstance(arch, str) else json.dumps(arch), row["score"]


def _checked(pairs: Iterable[tuple[str, object]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text, score in pairs:
        if isinstance(score, bool) or not isinstance(score, int | float) or not _finite(score):
            raise AccuracyTableError(
                f"a score is a finite number, got {shown(score)} for {shown(text)}; correct it"
            )
        try:
            key = _key(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise AccuracyTableError(
                f"an arch is written as Arch.to_json writes it, got {shown(text)}; take it from a "
                "trial log unchanged"
            ) from error
        if found.setdefault(key, float(score)) != score:
            raise AccuracyTableError(
                f"an arch has one score, got {found[key]:g} and {score:g} for {shown(text)}; "
                "remove one"
            )
    return found


def _finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:  # an integer beyond any float
        return False


def _key(text: str) -> str:
    """One text for all ways to write an arch."""
    return json.dumps(json.loads(text), sort_keys=True)
