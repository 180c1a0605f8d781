"""Final trainings, and what the trained networks are worth: their accuracy and their latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.profiler.lowering import ShapedNetwork
from netadapt.runs.context import FinalNetwork, phases
from netadapt.runs.examples import keep_examples
from netadapt.runs.folder import TRAINED
from netadapt.runs.result import NetworkResult
from netadapt.search.evaluation import judge_network
from netadapt.search.task import KeptBatches
from netadapt.search.training import train_network

if TYPE_CHECKING:
    from torch import nn

    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.strategy import Strategy


TEST_BATCH = 256
"""Images of the test split judged at a time."""


class TrainFinals:
    """Train the reference, the found and the scaled networks to their end, one recipe for all."""

    name = "final training"

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    def done(self, folder: RunFolder) -> bool:
        return False  # trained networks are only read

    def do(self, context: Context) -> None:
        for final in _finals(context):
            context.trained[final.label] = self._train(context, final)

    def _train(self, context: Context, final: FinalNetwork) -> nn.Module:
        network = self._strategy.network(context, final.arch).to(context.parts.compute)
        final.checkpoint.parent.mkdir(exist_ok=True)
        with context.training(final.label, final.label) as on_progress:
            train_network(
                network,
                context.task,
                context.parts.final_training,
                seed=context.config.run.seed,
                checkpoint=final.checkpoint,
                on_progress=on_progress,
            )
        return network.cpu()  # where it is lowered


class JudgeFinals:
    """The metric on the test split, and the latencies of the trained programs in one session.

    All are timed as shares of the reference.
    """

    name = "time final networks"

    def done(self, folder: RunFolder) -> bool:
        return False

    def do(self, context: Context) -> None:
        finals, space, task = _finals(context), context.space, context.task
        trained = {
            f"{TRAINED}{final.label}": ShapedNetwork(
                context.trained[final.label], space.input_shape_of(final.arch)
            )
            for final in finals
        }
        with phases(context.progress, "final networks") as on_progress:
            timed = context.timer.together(trained, f"{TRAINED}{finals[0].label}", on_progress)
        reference_ms, reference_spread = context.timer.reference()
        predicted = context.predictor.predict_networks([space.kernels(f.arch) for f in finals])
        test = KeptBatches(lambda: task.test(TEST_BATCH))
        images = task.test_images if task.metric_name == "accuracy" else None
        for final, ms, timing in zip(finals, predicted, timed.values(), strict=True):
            network = context.trained[final.label].to(context.parts.compute)
            metric, others = judge_network(network, task, test)
            context.judged[final.label] = NetworkResult(
                test_metric=metric,
                test_others=others,
                test_images=images,
                predicted_ms=float(ms),
                measured_ms=timing.ratio * reference_ms,
                measured_spread=reference_spread if final is finals[0] else timing.spread,
                latency_ratio=timing.ratio,
                macs=space.macs(final.arch),
                params=space.params(final.arch),
                planned_memory_bytes=space.planned_memory_bytes(final.arch),
                depth=space.depth(final.arch),
                arch=final.arch.to_json(),
                kernel_sizes=final.kernel_sizes,
                multiplier=final.multiplier,
            )
            network.cpu()
        found = {label: context.trained[one.network.label] for label, one in context.found.items()}
        reference = context.trained[finals[0].label]
        keep_examples(context.folder, task, test, reference, found)


def _finals(context: Context) -> list[FinalNetwork]:
    """The reference first."""
    found = (final for one in context.found.values() for final in one.finals)
    return [context.reference(), *found]
