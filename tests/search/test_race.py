"""A race by itself, on made-up losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.search.race import Losses, lead, raced, stretches_of

PART = 16.0


def run(
    losses: Losses, counts: Sequence[int]
) -> tuple[list[float], list[list[int]], Sequence[Losses]]:
    """Scores, who ran on each stretch, and the stretches, all of whose parts are equal."""
    ends = np.cumsum(counts)
    begins = ends - counts
    stretches = [np.full(count, PART) for count in counts]
    ran: list[list[int]] = []

    def judge(running: Sequence[int], number: int) -> Losses:
        ran.append(list(running))
        return losses[running, begins[number] : ends[number]]

    return raced(len(losses), stretches, judge), ran, stretches


def made_up(networks: int, parts: int, spread: float, seed: int = 0) -> Losses:
    """Networks a little apart, on parts of which some are far harder than others."""
    rng = np.random.default_rng(seed)
    own = np.linspace(0, 0.3, networks)[:, None]
    return own + rng.gamma(2, 1, parts) + rng.normal(0, spread, (networks, parts))


def test_the_worse_half_leaves_and_the_rest_sees_more() -> None:
    losses = made_up(16, 14, spread=0.5)
    scores, ran, _ = run(losses, [2, 4, 8])
    assert [len(each) for each in ran] == [16, 8, 4]
    assert ran[0] == list(range(16))
    for before, after, seen in zip(ran, ran[1:], (2, 6), strict=False):
        means = {i: losses[i, :seen].mean() for i in before}
        worst_that_stayed = max(means[i] for i in after)
        assert all(means[i] >= worst_that_stayed for i in before if i not in after)
    for i in ran[-1]:
        assert scores[i] == pytest.approx(losses[i].mean())


def test_who_left_is_as_far_behind_as_on_the_images_both_saw() -> None:
    """Which parts are hard, far more than the networks differ, drops out."""
    losses = made_up(16, 64, spread=0.01)
    scores, ran, _ = run(losses, [8, 8, 16, 32])
    assert scores == pytest.approx(losses.mean(axis=1), abs=0.02)
    assert np.argsort(scores)[0] == 0
    (left_first, *_) = set(ran[0]) - set(ran[1])
    alone = losses[left_first, :8].mean()
    assert abs(alone - losses[left_first].mean()) > 0.1, "its own mean would say little"


def test_a_clear_leader_runs_on_alone() -> None:
    losses = made_up(16, 64, spread=0.001)
    _, ran, _ = run(losses, [8, 8, 16, 32])
    assert ran[1:] == [[0], [0], [0]]


@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_the_winner_saw_all_and_nobody_scores_better(
    networks: int, counts: list[int], seed: int
) -> None:
    losses = np.random.default_rng(seed).normal(size=(networks, sum(counts)))
    scores, ran, _ = run(losses, counts)
    winner = int(np.argmin(scores))
    assert scores[winner] == pytest.approx(losses[winner].mean())
    assert all(winner in running for running in ran)
    if len(counts) == 1:
        assert scores == pytest.approx(losses.mean(axis=1))


@given(st.integers(1, 5000), st.integers(0, 6000), st.integers(1, 600))
def test_stretches_double_to_all_images(total: int, first: int, batch_size: int) -> None:
    counts = stretches_of(total, first, batch_size)
    assert sum(counts) == -(-total // batch_size)
    assert all(count > 0 for count in counts)
    if len(counts) > 1:
        assert (counts[0] - 1) * batch_size < first < total
        assert all(count == sum(counts[:i]) for i, count in enumerate(counts[1:-1], 1))


def test_a_lead_is_of_the_same_images() -> None:
    rng = np.random.default_rng(1)
    hard = rng.gamma(2, 1, 400)
    one, other = hard + rng.normal(0, 0.1, 400), hard + 0.05 + rng.normal(0, 0.1, 400)
    ahead, error = lead(one, other, np.full(400, PART))
    assert ahead == pytest.approx(float((other - one).mean()))
    assert error == pytest.approx(float((other - one).std(ddof=1)) / 20)
    uneven = np.full(400, PART)
    uneven[-1] = 1.0
    assert lead(one, other, uneven)[1] == pytest.approx(error, rel=0.02)
