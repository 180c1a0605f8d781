"""The evaluator against the plain way: calibrate, extract, run the stand-alone network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from netadapt.search.errors import InvalidSettingError
from netadapt.search.evaluation import Evaluator, evaluate_network
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.space import Arch, Space
from netadapt.search.supernet import SuperNetwork, calibrate, extract
from netadapt.search.task import one_batch
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=64, validation_images=100))


FEW = EvaluationSettings(calibration_images=32, race_images=0)


@pytest.fixture(scope="module")
def supernet() -> SuperNetwork:
    return Space.load("digits").supernetwork(generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def archs(supernet: SuperNetwork) -> list[Arch]:
    rng = np.random.default_rng(0)
    space = supernet.space
    return [space.scaled(0.25), *(space.random(rng) for _ in range(3))]


def test_score_is_that_of_the_extracted_network(
    supernet: SuperNetwork, task: ClutteredDigits, archs: list[Arch]
) -> None:
    by_loss = Evaluator(supernet, task, replace(FEW, batch_size=64))
    by_metric = Evaluator(supernet, task, replace(FEW, batch_size=64, score="metric"))
    images = one_batch(task.calibration(32, 32)).images
    validation = one_batch(task.validation(64))
    scores = zip(archs, by_loss(archs), by_metric(archs), strict=True)
    for arch, minus_loss, accuracy in scores:
        network = extract(supernet, arch, calibrate(supernet, arch, images)).eval()
        with torch.inference_mode():
            loss = torch.nn.functional.cross_entropy(
                network(validation.images), validation.targets
            ).item()
        assert minus_loss == pytest.approx(-loss, rel=1e-4)
        # One image may fall on the other side of a near tie.
        assert accuracy == pytest.approx(
            evaluate_network(network, task, task.validation(64)), abs=0.011
        )


def test_scores_depend_on_the_arch_alone(
    supernet: SuperNetwork, task: ClutteredDigits, archs: list[Arch]
) -> None:
    evaluate = Evaluator(supernet, task, FEW)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    together = evaluate(archs)
    assert evaluate(archs[::-1]) == together[::-1]
    assert [evaluate([arch])[0] for arch in archs] == together
    supernet.train()  # as a training leaves it
    assert Evaluator(supernet, task, FEW)(archs) == together
    assert supernet.training
    supernet.eval()
    after = supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_in_a_race_only_the_better_ones_are_judged_on_all_images(
    supernet: SuperNetwork, task: ClutteredDigits, archs: list[Arch]
) -> None:
    few = replace(FEW, batch_size=32)
    all_images = Evaluator(supernet, task, few)(archs)
    racing = Evaluator(supernet, task, replace(few, race_images=32))
    raced = racing(archs)
    winner = max(range(4), key=raced.__getitem__)
    assert raced[winner] == all_images[winner]
    assert sum(a == b for a, b in zip(raced, all_images, strict=True)) <= 2
    assert raced == pytest.approx(all_images, abs=0.05)
    assert racing(archs) == raced
    assert racing(archs[:1]) == all_images[:1], "nobody to race against"
    anew = Evaluator(supernet, task, replace(racing.settings, memory_mb=0.01))
    assert anew(archs) == raced


def test_a_lead_is_the_difference_of_two_scores(
    supernet: SuperNetwork, task: ClutteredDigits, archs: list[Arch]
) -> None:
    evaluate = Evaluator(supernet, task, FEW)
    first, second = evaluate(archs[:2])
    found = evaluate.lead(archs[0], archs[1])
    assert found is not None
    ahead, error = found
    assert ahead == pytest.approx(first - second, abs=1e-6)
    assert 0 < error < 1
    few = Evaluator(supernet, task, replace(FEW, validation_images=16))
    assert few.lead(archs[0], archs[1]) is None


def test_first_validation_images_are_used(
    supernet: SuperNetwork, task: ClutteredDigits, archs: list[Arch]
) -> None:
    few = Evaluator(supernet, task, replace(FEW, validation_images=40, batch_size=32))
    fewer_in_all = ClutteredDigits(DigitsSettings(train_images=64, validation_images=40))
    # Means of other batches, added up
    expected = Evaluator(supernet, fewer_in_all, FEW)(archs[:1])
    assert few(archs[:1]) == pytest.approx(expected, rel=1e-5)


def test_images_that_are_made_anew_for_each_arch_give_the_same_scores(
    supernet: SuperNetwork, task: ClutteredDigits, archs: list[Arch]
) -> None:
    anew = Evaluator(supernet, task, replace(FEW, memory_mb=0.01))
    assert anew(archs) == Evaluator(supernet, task, FEW)(archs)


def test_network_is_judged_in_eval_mode_and_left_as_it_was(task: ClutteredDigits) -> None:
    class Cheat(torch.nn.Module):
        """Right in eval mode only."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not self.training
            whole = one_batch(task.validation(50))
            lookup = {image.numpy().tobytes(): t for image, t in zip(*whole, strict=True)}
            labels = torch.stack([lookup[image.numpy().tobytes()] for image in images])
            return torch.nn.functional.one_hot(labels, 10).float()

    network = Cheat().train()
    assert evaluate_network(network, task, task.validation(33)) == 1.0
    assert network.training


def test_impossible_validation_is_refused(supernet: SuperNetwork, task: ClutteredDigits) -> None:
    with pytest.raises(InvalidSettingError, match="1 to 100 images of this task, got 101"):
        Evaluator(supernet, task, replace(FEW, validation_images=101))


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"validation_images": 0}, "validation_images is at least 1, got 0"),
        ({"calibration_images": 1}, "calibration_images is at least 2, got 1"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, int], what: str) -> None:
    with pytest.raises(InvalidSettingError, match=what):
        EvaluationSettings(**setting)  # type: ignore[arg-type]
