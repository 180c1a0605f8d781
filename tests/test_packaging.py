"""What is shipped, and with which versions of others it is tested."""

from __future__ import annotations

import os
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.wheel import ROOT, Installed


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.partition("==") for line in lines if not line.startswith("#")]
    assert all(separator == "==" and version for _, separator, version in pinned)
    names = [canonicalize_name(name) for name, _, _ in pinned]
    assert len(set(names)) == len(names)
    return dict(zip(names, (version for _, _, version in pinned), strict=True))


def test_every_requirement_has_one_version_that_it_allows() -> None:
    found = project()
    extras = found["optional-dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(found["dependencies"], list)
    wanted = [Requirement(r) for group in extras.values() for r in group]
    wanted += [Requirement(r) for r in found["dependencies"]]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pinned = pins()
    for requirement in (*wanted, *map(Requirement, build)):
        if requirement.name != "netadapt":
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), (requirement, version)


def test_make_installs_those_versions_and_torch_by_itself_first() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "VENV=new", "lint"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    installs = [line for line in recipe.splitlines() if "pip install" in line]
    assert all("PIP_CONSTRAINT=constraints.txt" in line for line in installs)
    unpacked, *resolved = installs
    assert "--no-deps" in unpacked
    assert len(resolved) == 2
    assert resolved[0].endswith(f"torch=={pins()['torch']}")


def test_no_versions_from_anywhere_in_particular() -> None:
    """Pins name versions, not where somebody got them."""
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run", ".ci/wheel-test"):
        text = (ROOT / name).read_text()
        for word in ("index-url", "find-links", "file://", "http://", "trusted-host", " @ "):
            assert word not in text, (name, word)


@pytest.mark.slow
class TestWheel:
    def test_it_holds_the_packages_and_nothing_else(self, installed: Installed) -> None:
        with zipfile.ZipFile(installed.wheel) as wheel:
            shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
            (metadata,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
            text = wheel.read(metadata).decode()
        sources = {
            os.path.relpath(os.path.join(folder, name), ROOT)
            for folder, _, names in os.walk(ROOT / "netadapt", followlinks=True)
            for name in names
            if not name.endswith(".pyc")
        }
        assert shipped == sources
        assert "netadapt/py.typed" in shipped
        assert "License-Expression: Apache-2.0" in text
        assert "Requires-Dist: torch==2.13.0" in text

    def test_it_runs_far_from_the_checkout(self, installed: Installed, tmp_path: Path) -> None:
        code = (
            "from netadapt import android_runner, predictor, profiler, search\n"
            "print(*(m.__file__ for m in (android_runner, predictor, profiler, search)))"
        )
        done = subprocess.run(
            [str(installed.python), "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        for path in done.stdout.split():
            assert Path(path).is_relative_to(installed.packages)
