"""The wheel, built from this checkout and installed where nothing else of it can be found."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment of its own that has the wheel, and what it needs from the tests' environment.

    packages: where the wheel's files are. They may be changed.
    """

    wheel: Path
    python: Path
    packages: Path

    @property
    def program(self) -> Path:
        """`netadapt`, as the wheel installed it."""
        return self.python.with_name("netadapt")


def install_wheel(folder: Path) -> Installed:
    """Build the wheel and install it below `folder`."""
    _run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--no-index", "--wheel-dir", str(folder), str(_sources(folder / "sources"))),
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    _run(
        *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
        *("--no-deps", "--no-index", str(wheel)),
    )
    base = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", vars=base))
    # Plain folders of a .pth are searched after the environment's own; their .pth files, by which
    # an editable install would find the checkout, are not read.
    shared = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "tests_environment.pth").write_text("\n".join([*shared, *site.getsitepackages()]))
    return Installed(wheel, python, packages)


def _sources(copy: Path) -> Path:
    """What a clone has: a build leaves folders behind, which do not belong into the checkout."""
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    # As files: the links in it lead to folders beside it.
    shutil.copytree(
        ROOT / "netadapt", copy / "netadapt", ignore=shutil.ignore_patterns("__pycache__")
    )
    return copy


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
