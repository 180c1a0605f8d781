"""Candidates scored after a short fine-tuning each: how NetAdaptV1 judges them.

Yang et al. 2018, "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications",
algorithm 1: every candidate of an iteration is made of the network that the last one kept, trained
for a short while, and judged; the one that is kept hands its weights on.

A smaller network is the first channels of the larger one, and the centre of its kernels
(assumption: NetAdaptV1 keeps the filters of the largest norm, for which nothing ties widths or
lets a block be left out).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.android_runner.files import write_atomically
from netadapt.search.errors import CheckpointError
from netadapt.search.evaluation import evaluate_network, first_images, validation_count
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.fine_tuning_settings import FineTuningSettings
from netadapt.search.task import KeptBatches
from netadapt.search.training import TrainingSettings, train_network
from netadapt.search.training.checkpoint import content_digest
from netadapt.search.training.loop import device_of

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.supernet import SuperNetwork
    from netadapt.search.task import Task


class FineTuned:
    """Scores archs by their networks, fine-tuned from the weights of what was kept last.

    Higher is better. A score depends on the archs that `keep` was called with before, and on
    nothing else: a search that is interrupted and resumed, its log replayed, comes to the same.

    Parameters
    ----------
    weights: what the search starts from, a trained network of the space's full arch; changed by
        `keep`, which writes what is kept over it.
    training: whose optimizer, batch size and other settings the fine-tuning has, in steps.
    path: where the weights are kept from iteration to iteration; None: nowhere.

    Raises `CheckpointError` where `path` holds another search's, `InvalidSettingError` for more
    validation images than the task has.
    """

    def __init__(
        self,
        weights: SuperNetwork,
        task: Task,
        training: TrainingSettings,
        settings: FineTuningSettings,
        evaluation: EvaluationSettings,
        *,
        seed: int,
        path: Path | None = None,
    ) -> None:
        self._weights = weights
        self._task = task
        self._evaluation = evaluation
        self._training = replace(
            training.shortened(settings.steps),
            learning_rate=settings.learning_rate,
            schedule="constant",
            norm_batches=settings.norm_batches,
            ema=0.0,
            compile=False,  # it takes longer than the fine-tuning
        )
        self._seed = seed
        self._path = path
        self._tuned: dict[Arch, dict[str, Tensor]] = {}  # from the weights of now
        self._origin = content_digest(weights)
        self._kept: list[str] = []
        self._restored: list[str] = []
        if path is not None and path.exists():
            self._restore(path)
        count = validation_count(task, evaluation)
        self._validation = KeptBatches(
            lambda: first_images(task.validation(evaluation.batch_size), count),
            evaluation.memory_mb,
        )

    @property
    def digest(self) -> str:
        """Of all that the scores depend on but for the task: weights at first, and settings."""
        text = f"{self._origin} {self._training} {self._evaluation} {self._seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        """Fine-tune and judge: by the evaluation's settings the task's score, or its loss negated.

        Raises `TrainingDivergedError`, and `CheckpointError` where what was kept is ahead of those
        who ask.
        """
        if len(self._kept) < len(self._restored):
            raise self._another()
        scores = []
        for arch in archs:
            network = self._tune(arch)
            scores.append(self._score(network))
            self._tuned[arch] = {k: v.clone() for k, v in network.state_dict().items()}
        return scores

    def keep(self, arch: Arch) -> None:
        """What comes next is made of this arch's network, as it was fine-tuned."""
        if len(self._kept) < len(self._restored):
            # A resumed search passes by what its weights hold already
            if self._restored[len(self._kept)] != arch.to_json():
                raise self._another()
            self._kept.append(arch.to_json())
            return
        state = self._tuned.get(arch)
        self._weights.write(self._tune(arch).state_dict() if state is None else state)
        self._kept.append(arch.to_json())
        self._tuned.clear()
        if self._path is not None:
            self._save(self._path)

    def network(self, arch: Arch) -> nn.Module:
        """The arch's network with the weights of what was kept."""
        return self._weights.extract(arch)

    def _tune(self, arch: Arch) -> nn.Module:
        network = self._weights.extract(arch).to(device_of(self._weights))
        train_network(
            network,
            self._task,
            self._training,
            seed=self._seed,
            # Every iteration sees other images, all of its candidates the same
            first_batch=len(self._kept) * self._training.steps,
        )
        return network

    @torch.inference_mode()
    def _score(self, network: nn.Module) -> float:
        if self._evaluation.score == "metric":
            return self._task.score(evaluate_network(network, self._task, self._validation))
        device, total, count = device_of(network), 0.0, 0
        for images, targets in self._validation:
            loss = self._task.loss(network(images.to(device)), targets.to(device))
            total, count = total + loss.item() * len(images), count + len(images)
        return -total / count

    def _another(self) -> CheckpointError:
        return CheckpointError(
            f"{self._path} holds the weights of another search, which kept {len(self._restored)} "
            "networks; remove it and the search's log to search anew"
        )

    def _save(self, path: Path) -> None:
        data = io.BytesIO()
        state = self._weights.state_dict()
        torch.save({"origin": self._origin, "kept": self._kept, "weights": state}, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.getvalue())

    def _restore(self, path: Path) -> None:
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            origin, kept, state = saved["origin"], list(saved["kept"]), saved["weights"]
        except Exception as error:  # torch.load raises anything for a damaged file
            raise CheckpointError(
                f"{path} holds what a search kept, got {type(error).__name__}; remove it, and the "
                "search goes on from its log"
            ) from error
        if origin != self._origin:
            raise CheckpointError(
                f"{path} holds what was kept of other weights; remove it and the search's log to "
                "search anew"
            )
        self._weights.load_state_dict(state)
        self._restored = kept
