"""The pages say what is there: every key of a run file, every link, every file that is named."""

from __future__ import annotations

import collections.abc
import dataclasses
import importlib
import json
import re
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.plugins import Registry
from netadapt.config import MOVED, RunConfig, SearchSection, demo_config, parse_config
from netadapt.runs.parts import Parts
from netadapt.runs.strategy import STRATEGIES
from netadapt.search.driver import run_search
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint, macs
from netadapt.search.searchers.base import SEARCHERS
from netadapt.search.task import TASKS
from netadapt.search.training.step import STEPS
from netadapt.settings import WeightsFrom

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
HEADER = ["key", "default", "values", "meaning"]

Key = tuple[str, str]
"""What a page says of a key: its default and its values, as they are written there."""


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def documented() -> Iterator[tuple[str, Key]]:
    """Keys of `docs/search.md`: tables under headings that name one or more tables of the file."""
    tables: list[str] = []
    inside = False
    for line in (ROOT / "docs" / "search.md").read_text().splitlines():
        if line.startswith("#"):
            tables = re.findall(r"`\[([\w.]+)\]`", line)
        row = cells(line) if line.startswith("|") else []
        if row == HEADER:
            assert tables, "a table of keys stands under a heading with its table's name"
            inside = True
        elif inside and row and not set(line) <= set("|- "):
            assert len(row) == len(HEADER), line
            assert row[-1], f"{row[0]} has a meaning"
            for table in tables:
                yield f"{table}.{row[0].strip('`')}", (row[1], row[2])
        inside = inside and bool(row)


def default_text(value: object) -> str:
    """A default as the file would have it."""
    return "none" if value is None else f"`{json.dumps(value, default=dict)}`"


def values_text(hint: Any) -> str:
    """What a key takes, from the annotation of its field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return "; or ".join(values_text(one) for one in arguments if one is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{json.dumps(one)}`" for one in arguments)
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f" {len(arguments)}"
        return f"list of{count}: {values_text(arguments[0])}"
    if origin is collections.abc.Mapping:
        return "a table"
    if origin is typing.Annotated:
        bounds = _bounds(arguments[1:])
        return bounds if arguments[0] is float else f"whole, {bounds}"
    return {str: "text", bool: "`true`, `false`", float: "number"}[hint]


def _bounds(notes: tuple[Any, ...]) -> str:
    found: dict[str, float] = {}
    for note in notes:
        assert isinstance(note, Ge | Gt | Interval)
        for bound in ("ge", "gt", "le", "lt"):
            if (value := getattr(note, bound, None)) is not None:
                found[bound] = value
    low = found.get("ge", found.get("gt"))
    high = found.get("le", found.get("lt"))
    above, below = "above " * ("gt" in found), "below " * ("lt" in found)
    if low is None:
        return f"{below}{_number(high)}" if below else f"up to {_number(high)}"
    if high is None:
        return f"above {_number(low)}" if above else f"{_number(low)} or more"
    return f"{above}{_number(low)} to {below}{_number(high)}"


def _number(value: float | None) -> str:
    assert value is not None
    return "2^63" if value == 2**63 else f"{value:,}"


def settings_keys(prefix: str, settings: Any) -> Iterator[tuple[str, Key]]:
    """Keys of a settings dataclass, tables in it included; of a union all that may stand there."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        key, value, hint = (
            f"{prefix}.{field.name}",
            getattr(settings, field.name),
            hints[field.name],
        )
        if not dataclasses.is_dataclass(value):
            yield key, (default_text(value), values_text(hint))
            continue
        yield from settings_keys(key, value)
        for other in typing.get_args(hint):
            if other is not type(value):
                yield from settings_keys(key, other())


def chosen_keys(table: str, key: str, registry: Registry[Any], usual: str) -> Iterator[Any]:
    """The key that names a part of a seam, and the keys of all parts that come along."""
    names = ", ".join(f'`"{name}"`' for name in registry.places)
    yield f"{table}.{key}", (f'`"{usual}"`', f"{names}, or `package.module:Class`")
    for name in registry.places:
        yield from settings_keys(f"{table}.{name}", registry.settings_class(name)())


def there() -> dict[str, Key]:
    """Every key that a run file can have."""
    config = RunConfig()
    found: dict[str, Key] = {}
    for name in ("run", "device", "space", "sample", "profile"):
        found |= dict(settings_keys(name, getattr(config, name)))
    found |= dict(chosen_keys("task", "name", TASKS, config.task.name))
    found |= dict(settings_keys("supernet", config.supernet.training))
    found |= dict(chosen_keys("supernet", "step", STEPS, config.supernet.step.name))
    found |= dict(settings_keys("search", config.search.loop))
    found |= dict(chosen_keys("search", "strategy", STRATEGIES, config.search.strategy.name))
    found |= dict(chosen_keys("search", "searcher", SEARCHERS, config.search.searcher.name))
    for name in ("landing", "evaluation", "constraints"):
        found |= dict(settings_keys(f"search.{name}", getattr(SearchSection(), name)))
    found |= dict(settings_keys("final", config.final.training))
    found["final.weights"] = (default_text(config.final.weights), values_text(WeightsFrom))
    found["final.scaled"] = (default_text(config.final.scaled), values_text(bool))
    return found


def test_every_key_of_a_run_file_is_explained_with_its_default_and_its_values() -> None:
    expected, written = there(), list(documented())
    page = dict(written)
    assert len(page) == len(written), "no key stands there twice"
    assert {key: page.get(key) for key in expected} == expected
    assert set(page) == set(expected)
    for config in (RunConfig(), demo_config()):
        assert set(config.flat()) <= set(page)


def test_every_key_that_moved_is_listed_with_its_place() -> None:
    text = (ROOT / "docs" / "search.md").read_text()
    _, _, below = text.partition("## Keys of 0.1\n")
    rows = [cells(line) for line in below.splitlines() if line.startswith("| `")]
    assert {old.strip("`"): new.replace("`", "") for old, new in rows} == MOVED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else page.parent / path
        assert found.exists(), target
        if anchor:
            assert anchor in set(_anchors(found)), target


def _anchors(page: Path) -> Iterator[str]:
    """As GitHub makes them of headings."""
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


FOLDERS = "android_runner|benchmarks|docs|netadapt|predictor|profiler|search|tests|virtual_phone"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", page.read_text()):
        assert "NAME" in name or (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    listed = re.findall(r"\]\((\w[\w-]*\.md)\)", index)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(listed) == pages
    assert len(listed) == len(pages)


def test_every_seam_is_named_with_what_is_there() -> None:
    """The seams' table of `docs/architecture.md`: what it names as `module:Name` can be found."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    places = re.findall(r"`(netadapt(?:\.\w+)+):(\w+)`", text)
    assert len(places) > 10
    for module, name in places:
        assert hasattr(importlib.import_module(module), name), f"{module}:{name}"
    contracts = dict(re.findall(r"`(\w+Contract)`, `(tests/contracts/\w+\.py)`", text))
    files = {path.name for path in (ROOT / "tests" / "contracts").glob("*.py")} - {"__init__.py"}
    assert {Path(path).name for path in contracts.values()} == files
    for name, path in contracts.items():
        assert f"class {name}" in (ROOT / path).read_text()


def fenced(page: Path, first: str) -> str:
    """The fenced block of a page whose first line is `first`."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    (found,) = (block for block in blocks if block.startswith(f"{first}\n"))
    return str(found)


def test_the_readmes_searcher_finds_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_parts.py").write_text(fenced(ROOT / "README.md", "# my_parts.py"))
    monkeypatch.syspath_prepend(tmp_path)
    config = parse_config(tomllib.loads(fenced(ROOT / "README.md", "# my_run.toml")), "README")
    searcher = Parts(config).searcher
    assert searcher.name == "my_parts:Shuffled"
    space = searcher.space
    limit = 0.5 * space.macs(space.reference())
    search = Search(searcher, [Constraint(macs(space), limit)], seed=0)
    found = run_search(search, lambda archs: [float(space.params(arch)) for arch in archs])
    assert space.macs(found.arch) <= limit
