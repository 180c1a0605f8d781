"""Records are valid from birth, and the estimator withstands what shared machines do."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner import Conditions, InvalidRunError, Measurement, Program, RunSpec

CONDITIONS = Conditions(
    cpus=(1,), threads=1, freq_khz_before=None, freq_khz_after=None, temperature_c_before=None,
    temperature_c_after=None, load_avg_before=None, load_avg_after=None,
    sentinel_us=(), started_at="2025-01-01T00:00:00+00:00",
)  # fmt: skip


def _measurement(*rounds_us: tuple[float, ...]) -> Measurement:
    return Measurement("p", "0" * 64, rounds_us, 1, CONDITIONS)


@given(st.lists(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=5), min_size=1, max_size=9))
def test_latency_lies_among_the_samples(rounds: list[list[float]]) -> None:
    measurement = _measurement(*map(tuple, rounds))
    fastest = list(map(min, rounds))
    assert min(fastest) <= measurement.latency_us <= max(fastest)
    assert measurement.spread >= 0


def test_latency_withstands_slow_spells() -> None:
    calm = _measurement(*[(10.0, 10.1, 10.2)] * 12)
    busy = _measurement(*[(10.0, 10.1, 15.0)] * 5, *[(15.0, 15.2, 99.0)] * 7)
    assert busy.latency_us == calm.latency_us == 10.0
    assert calm.spread == 0
    assert busy.spread == pytest.approx(0.5)


@pytest.mark.parametrize("rounds", [(), ((),), ((1.0,), ()), ((0.0,),), ((float("nan"),),)])
def test_a_measurement_needs_positive_samples_in_every_round(
    rounds: tuple[tuple[float, ...], ...],
) -> None:
    with pytest.raises(InvalidRunError):
        _measurement(*rounds)


def test_sentinel_drift_compares_the_halves() -> None:
    drifted = dataclasses.replace(CONDITIONS, sentinel_us=(10.0, 10.0, 50.0, 11.0, 11.0))
    assert drifted.sentinel_drift == pytest.approx(0.1)
    assert CONDITIONS.sentinel_drift is None


def test_the_digest_tells_bytes_and_methods_apart() -> None:
    first = Program("a", b"data")
    assert first.sha256 == Program("b", b"data").sha256
    assert first.sha256 != Program("a", b"date").sha256
    assert first.sha256 != Program("a", b"data", "other").sha256


@pytest.mark.parametrize(
    "fields",
    [
        {"threads": 0},
        {"rounds": 0},
        {"cpus": ()},
        {"cpus": (-1,)},
        {"cpus": (1, 1)},
        {"visit_ms": float("nan")},
        {"warmup_ms": -1.0},
        {"timeout_s": 0.0},
        {"seed": -1},
        {"seed": 2**63},
    ],
)
def test_a_bad_spec_is_refused_in_one_line(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRunError, match=next(iter(fields))) as error:
        RunSpec(**fields)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "", "data": b"x"},
        {"name": "n", "data": b""},
        {"name": "n", "data": b"x", "method": "a b"},
        {"name": "n", "data": b"x", "method": "größe"},
    ],
)
def test_a_bad_program_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRunError):
        Program(**fields)  # type: ignore[arg-type]
