"""The house's one rule: imports run left to right only, and no package is heavy to look at."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["netadapt", "search", "predictor", "profiler", "android_runner"]


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_left_to_right(package: str) -> None:
    forbidden = set(ORDER[: ORDER.index(package)])
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] not in forbidden, f"{path} imports {name}"


@pytest.mark.parametrize("package", ORDER)
def test_packages_import_alone_and_lightly(package: str) -> None:
    code = (
        f"import sys, {package}; heavy = {{'torch', 'executorch', 'sklearn', 'matplotlib'}} "
        "& set(sys.modules); sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ORDER)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("package", ["search", "predictor", "profiler", "android_runner"])
def test_a_package_offers_what_it_names(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (name.islower(), name))
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


def test_the_usual_names_are_one_import_away() -> None:
    from predictor import LatencyPredictor
    from profiler import LatencyTable
    from search import Space

    assert Space.load("digits").name == "digits"
    assert LatencyPredictor().get_params()
    with LatencyTable() as table:
        assert len(table) == 0
