"""How large the drawn sub-networks are, under each law of ordered dropout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from netadapt.search.errors import InvalidSettingError
from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.space import Arch, Space
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.training import OrderedDropoutSettings, OrderedDropoutStep
from tests.contracts.step import StepContract

SPACES = ["digits", "mobilenet_v3_large"]


def drawn(space: Space, count: int = 1024, **settings: Any) -> Sequence[Arch]:
    sample = OrderedDropout(space, OrderedDropoutSettings(**settings))
    archs = sample(count, np.random.default_rng(1))
    assert isinstance(archs, Sequence)
    return archs


def shares(space: Space, archs: Sequence[Arch]) -> np.ndarray[Any, Any]:
    """Of the reference's multiply-accumulates."""
    return np.array([space.macs(arch) for arch in archs]) / space.macs(space.reference())


def test_uniform_draws_are_those_of_before() -> None:
    """A run file without a law trains what it trained."""
    sample = OrderedDropout(Space.load("digits"))
    texts = [
        arch.to_json()
        for progress in (0.3, 0.5, 1.0)
        for arch in sample(32, np.random.default_rng((3, 7)), progress)  # type: ignore[union-attr]
    ]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    assert digest == "316c9ca1ff3f7d03a04ea1703d2210d9359ef70240e03a802e64097ed0126e7e"


@pytest.mark.parametrize("name", SPACES)
def test_by_macs_all_sizes_are_drawn_alike(name: str) -> None:
    space = Space.load(name)
    archs = drawn(space, law="macs")
    for arch in archs[:20]:
        space.validate(arch)
    found = shares(space, archs)
    # All kernels being the largest is not drawn: their sizes stay uniform.
    top = 0.85 * space.macs(space.full()) / space.macs(space.reference())
    bins, _ = np.histogram(found, np.linspace(0, top, 6))
    assert bins.min() > 0.6 * len(found) / 5
    assert (found >= 0.6).mean() > 0.4
    assert (shares(space, drawn(space)) >= 0.6).mean() < 0.1, "what it is for"


@pytest.mark.parametrize("removal", [None, 0.2])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_by_budget_the_mean_is_the_budget(share: float, removal: float | None) -> None:
    space = Space.load("digits")
    found = shares(space, drawn(space, law="budget", budget_share=share, removal=removal))
    assert found.mean() == pytest.approx(share, abs=0.03)
    assert found.std() < 0.15


@pytest.mark.parametrize("law", ["uniform", "macs", "budget"])
def test_blocks_are_removed_alike(law: str) -> None:
    space = Space.load("mobilenet_v3_large")
    archs = drawn(space, 2048, law=law, removal=0.15)
    removed = np.array([[layer.removed for layer in space.drawing(a)] for a in archs]).mean(0)
    able = removed > 0
    assert able.sum() == 10
    assert removed[able] == pytest.approx(0.15, abs=0.03)
    always = drawn(space, 64, law=law, removal=0.0)
    assert not any(layer.removed for arch in always for layer in space.drawing(arch))


def test_other_families_dimensions_are_drawn_too() -> None:
    """Depths and a resolution a batch; the table is of their mean."""
    space = Space.load("ofa_mobilenet_v3")
    rng, sample = (
        np.random.default_rng(0),
        OrderedDropout(space, OrderedDropoutSettings(law="macs")),
    )
    archs = [arch for _ in range(40) for arch in sample(16, rng)]  # type: ignore[union-attr]
    found = shares(space, archs)
    for arch in archs[:16]:
        space.validate(arch)
    uniform = shares(space, drawn(space, 640))
    assert found.std() > 1.3 * uniform.std()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("digits", {"law": "budget", "budget_share": 3.0}, r"0\.04\d to 1\.1\d+, got 3; choose"),
        ("ofa_mobilenet_v3", {"removal": 0.1}, "has none, got 0.1; leave it out"),
    ],
)
def test_what_a_space_cannot_do_is_one_clear_line(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSettingError, match=said) as caught:
        drawn(Space.load(name), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"law": "latency"}, {"removal": 1.0}, {"budget_share": 0}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError):
        OrderedDropoutSettings(**settings)


class TestByMacs(StepContract):
    space = Space.load("digits")

    def step(self) -> OrderedDropoutStep:
        settings = OrderedDropoutSettings(ramp=(0.0, 0.0), law="macs", removal=0.1)
        return OrderedDropoutStep.of(settings, self.space)

    def task(self) -> ClutteredDigits:
        return ClutteredDigits(DigitsSettings(train_images=50))
