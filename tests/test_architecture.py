"""The house's rules: one import root, imports run left to right, no package is heavy to look at."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["search", "predictor", "profiler", "android_runner"]
"""Left to right; `netadapt` itself stands before all of them."""
PARTS = [*ORDER, "virtual_phone"]
HEAVY = {"torch", "executorch", "sklearn", "matplotlib", "pandas", "scipy"}


def sources(part: str) -> list[Path]:
    """The modules of a part; "netadapt" is what stands in that folder itself, links left out."""
    found = (ROOT / part).rglob("*.py")
    return [path for path in found if path.is_relative_to(ROOT / part) and not _linked(path)]


def _linked(path: Path) -> bool:
    return any(folder.is_symlink() for folder in path.parents if folder.is_relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, and the names it takes from packages, dotted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """Of a dotted name below `netadapt`: "search" and the like; "netadapt" is the front door."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in PARTS else names[0]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_reached_through_a_link(part: str) -> None:
    assert (ROOT / "netadapt" / part).readlink() == Path("..") / part


@pytest.mark.parametrize("folder", ["netadapt", *PARTS, "tests", "benchmarks"])
def test_there_is_one_import_root(folder: str) -> None:
    for path in sources(folder):
        for name in imports(path):
            assert name.partition(".")[0] not in PARTS, (
                f"{path} imports {name}, not netadapt.{name}"
            )


@pytest.mark.parametrize("part", ORDER)
def test_imports_run_left_to_right(part: str) -> None:
    forbidden = {"netadapt", "virtual_phone", *ORDER[: ORDER.index(part)]}
    for path in sources(part):
        for name in imports(path):
            assert part_of(name) not in forbidden, f"{path} imports {name}"


KNOWN_TO_THE_PHONE = {
    "netadapt.android_runner.errors",
    "netadapt.android_runner.runner.protocol",
}
"""And no more: what it is told, and what it may raise."""


def test_the_virtual_phone_knows_little_of_who_talks_to_it() -> None:
    for path in sources("virtual_phone"):
        for name in imports(path):
            ours = name.split(".")[0] in ("netadapt", *PARTS)
            if not ours or part_of(name) == "virtual_phone":
                continue
            module = name if name in KNOWN_TO_THE_PHONE else name.rpartition(".")[0]
            assert module in KNOWN_TO_THE_PHONE, f"{path} imports {name}"


def test_only_its_command_imports_the_virtual_phone() -> None:
    importers = {
        path.relative_to(ROOT).as_posix()
        for part in ("netadapt", *ORDER)
        for path in sources(part)
        if any(part_of(name) == "virtual_phone" for name in imports(path))
    }
    assert importers == {"netadapt/commands/virtual_phone.py"}


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports at the top of modules; those within functions and for types alone do not count."""
    modules = {_name(path): path for part in ("netadapt", *PARTS) for path in sources(part)}
    needs = {name: _needed(path, modules) for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in needs[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in needs:
        visit(name, ())


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "netadapt" else ("netadapt", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _needed(path: Path, modules: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in inner}
    return (found & set(modules)) - {_name(path)}


@pytest.mark.parametrize("part", ["netadapt", *(f"netadapt.{part}" for part in PARTS)])
def test_packages_import_alone_and_lightly(part: str) -> None:
    code = (
        f"import sys, {part}; heavy = {HEAVY} & set(sys.modules); "
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", ORDER)
def test_a_package_offers_what_it_names(part: str) -> None:
    module = importlib.import_module(f"netadapt.{part}")
    assert module.__all__ == sorted(module.__all__, key=lambda name: (name.islower(), name))
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


def test_the_usual_names_are_one_import_away() -> None:
    from netadapt.predictor import LatencyPredictor
    from netadapt.profiler import LatencyTable
    from netadapt.search import Space

    assert Space.load("digits").name == "digits"
    assert LatencyPredictor().get_params()
    with LatencyTable() as table:
        assert len(table) == 0
