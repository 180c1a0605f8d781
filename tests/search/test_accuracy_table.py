"""A table of scores in an evaluator's place."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from netadapt.search.accuracy_table import AccuracyTable
from netadapt.search.driver import run_search
from netadapt.search.errors import AccuracyTableError, SearchError
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.space import Arch
from tests.contracts.searcher import SPACE, latency, score, true_ms


def archs(count: int = 5) -> list[Arch]:
    rng = np.random.default_rng(0)
    return [SPACE.random(rng) for _ in range(count)]


def write_csv(path: Path, rows: list[tuple[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("arch", "score"), *rows])
    return path


def test_every_form_of_a_file_says_the_same(tmp_path: Path) -> None:
    scores = {arch.to_json(): round(score(arch), 6) for arch in archs()}
    reordered = {
        json.dumps(dict(reversed(json.loads(text).items())), indent=1): s
        for text, s in scores.items()
    }
    forms = {
        "by_arch.json": json.dumps(scores),
        "rows.json": json.dumps([{"arch": a, "score": s} for a, s in scores.items()]),
        "objects.json": json.dumps(
            [{"arch": json.loads(a), "score": s} for a, s in scores.items()]
        ),
        "written_otherwise.json": json.dumps(reordered),
    }
    paths = [write_csv(tmp_path / "table.csv", list(scores.items()))]
    for name, text in forms.items():
        paths.append(tmp_path / name)
        paths[-1].write_text(text)
    for path in paths:
        table = AccuracyTable.read(path)
        assert len(table) == 5
        assert table(archs()) == list(scores.values())
        assert archs()[0] in table
        assert SPACE.full() not in table


def test_an_arch_that_is_not_there_is_named() -> None:
    known, unknown = archs(2)
    table = AccuracyTable({known.to_json(): 0.5})
    with pytest.raises(AccuracyTableError) as caught:
        table([known, unknown])
    assert unknown.to_json() in str(caught.value)
    assert isinstance(caught.value, SearchError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", "network,score\n", "nothing"),
        ("a.csv", "network,score\n1,2\n", "columns arch and score"),
        ("a.csv", "arch,score\n{},good\n", "could not convert"),
        ("a.csv", "arch,score\n{}\n", "columns arch and score"),
        ("a.csv", "arch,score\n{},nan\n", "a score is a finite number, got nan"),
        ("a.csv", "arch,score\nstem,1\n", "as Arch.to_json writes it, got 'stem'"),
        ("a.csv", "arch,score\n{},1\n{ },2\n", "one score, got 1 and 2"),
        ("a.json", "[1]", "columns arch and score"),
        ("a.json", "7", "columns arch and score"),
        ("a.json", '{"{}": true}', "a score is a finite number, got True"),
        ("a.json", '{"{}": "0.5"}', "a score is a finite number, got '0.5'"),
        ("a.json", '{"{}": 1' + "0" * 400 + "}", "a score is a finite number"),
        ("a.json", "[" * 100_000, "JSON of scores"),
    ],
)
def test_a_file_that_is_no_table_is_one_clear_line(
    tmp_path: Path, name: str, content: str, what: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    if what == "nothing":
        assert len(AccuracyTable.read(path)) == 0
        return
    with pytest.raises(AccuracyTableError, match=what) as caught:
        AccuracyTable.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(AccuracyTableError, match="No such file"):
        AccuracyTable.read(tmp_path / "none.csv")


def test_a_search_goes_by_a_table(tmp_path: Path) -> None:
    """A first search asks for scores, its archs make the table, a second one finds the same."""
    asked: dict[str, float] = {}

    def evaluate(candidates: list[Arch]) -> list[float]:
        found = [score(arch) for arch in candidates]
        asked.update({arch.to_json(): s for arch, s in zip(candidates, found, strict=True)})
        return found

    def search() -> Search:
        budget = Constraint(latency(), 0.6 * true_ms(SPACE.reference()))
        return Search(RandomSearch(SPACE, RandomSettings(20, 10)), [budget], seed=0)

    first = run_search(search(), evaluate)  # type: ignore[arg-type]
    path = write_csv(tmp_path / "table.csv", [(a, repr(s)) for a, s in asked.items()])
    table = AccuracyTable.read(path)
    again = run_search(search(), table)
    assert (again.arch, again.score) == (first.arch, first.score)
