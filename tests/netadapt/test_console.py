"""Progress: estimates that hold, bars that end where the step ends."""

from __future__ import annotations

import io
import re

import pytest

from netadapt.console import Pace, TerminalProgress


def test_no_estimate_from_the_start_alone() -> None:
    """Worker processes import for a quarter of a minute before the first of 130 programs comes."""
    pace = Pace()
    assert pace.remaining_s(0, 130, 0.0) is None
    assert pace.remaining_s(1, 130, 14.0) is None, "0.1 said 30 minutes here"
    assert pace.remaining_s(2, 130, 14.1) is None
    estimates = [pace.remaining_s(1 + n, 130, 14.0 + 0.5 * n) for n in range(20, 129)]
    assert estimates == [pytest.approx(0.5 * (129 - n)) for n in range(20, 129)]


def test_what_was_there_before_costs_nothing() -> None:
    pace = Pace()
    assert pace.remaining_s(90, 100, 0.0) is None
    assert pace.remaining_s(91, 100, 10.0) is None
    assert pace.remaining_s(92, 100, 20.0) == pytest.approx(80.0)


def test_a_step_that_counts_anew_is_judged_anew() -> None:
    pace = Pace()
    for done in range(5):
        pace.remaining_s(done, 10, 10.0 * done)
    assert pace.remaining_s(0, 10, 50.0) is None
    assert pace.remaining_s(10, 10, 60.0) in (None, 0.0)


@pytest.mark.parametrize("counts", [[], [(0, 4)], [(1, 4), (4, 4)]], ids=str)
def test_a_finished_bar_is_full(counts: list[tuple[int, int]]) -> None:
    from rich.console import Console

    shown = io.StringIO()
    progress = TerminalProgress(Console(file=shown, force_terminal=True, width=100))
    with progress.step("Fitting the predictor") as update:
        for done, total in counts:
            update(done, total)
    assert re.findall(r"(\d+) %", shown.getvalue())[-1] == "100"


def test_an_interrupted_bar_is_not_full() -> None:
    from rich.console import Console

    shown = io.StringIO()
    progress = TerminalProgress(Console(file=shown, force_terminal=True, width=100))

    def interrupted() -> None:
        with progress.step("Timing kernels") as update:
            update(1, 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "100 %" not in shown.getvalue()
