"""What stands where in `android_runner/`: phones know the runner, the runner its building."""

from __future__ import annotations

from pathlib import Path

import pytest

from netadapt import android_runner
from tests.test_architecture import imports, sources

SUBJECTS = ("phone", "runner", "building")
"""Imports run left to right, and to what stands beside them for everybody."""


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subjects_import_left_to_right(subject: str) -> None:
    before = SUBJECTS[: SUBJECTS.index(subject)]
    forbidden = tuple(f"netadapt.android_runner.{each}" for each in before)
    for path in sources(f"android_runner/{subject}"):
        for name in imports(path):
            assert not name.startswith(forbidden), f"{path} imports {name}"


def test_what_everybody_uses_imports_no_subject() -> None:
    folder = Path(android_runner.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "__init__.py":  # it offers all of them, and imports none at run time
            continue
        for name in imports(path):
            subject = name.removeprefix("netadapt.android_runner.").partition(".")[0]
            assert subject not in SUBJECTS, f"{path} imports {name}"


def test_every_public_name_is_one_import_away() -> None:
    from netadapt.android_runner import phone

    for package in (android_runner, phone):
        for name in package.__all__:
            assert getattr(package, name).__name__ == name
