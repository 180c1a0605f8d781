"""Several processes, on one machine or many, that train and score together; torchrun starts them.

    torchrun --nproc-per-node 2 -m netadapt search run.toml

Rank 0 leads: it alone has the run's folder, its log and its device, and does everything that is
done once. The others `follow`: they wait for jobs, which rank 0 hands to all where there is work to
share (a training's batches, candidates to be scored), and do their part of each. In one process by
itself nothing of this is seen.

Communication is torch.distributed's: gloo, NCCL between GPUs.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from netadapt.search.errors import RankLostError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from netadapt.search.task import Task

# While rank 0 profiles a phone the others wait for hours; one that dies is noticed at once all the
# same, because its connections close.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among `count`."""

    number: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process has others to lead."""
        return self.number == 0 and self.count > 1

    def hand_out(self, job: Job | None) -> None:
        """Give all others the next job, None to dismiss them. Rank 0 alone does this."""
        self._broadcast([job])

    def next_job(self) -> Job | None:
        """What rank 0 hands out next; None: it is done."""
        box: list[Job | None] = [None]
        self._broadcast(box)
        return box[0]

    def _broadcast(self, box: list[Job | None]) -> None:
        import torch
        from torch import distributed

        with self._together():
            distributed.broadcast_object_list(box, 0, device=torch.device("cpu"))

    def everyones(self, own: object) -> list[Any]:
        """What each rank gave, in the order of the ranks, on every rank."""
        if self.count == 1:
            return [own]
        from torch import distributed

        given: list[Any] = [None] * self.count
        with self._together():
            distributed.all_gather_object(given, own)
        return given

    def add_up(self, tensor: Tensor) -> None:
        """Replace `tensor` on every rank by the sum over all of them."""
        from torch import distributed

        with self._together():
            distributed.all_reduce(tensor)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Raises `RankLostError` where one of the others does not take part."""
        try:
            yield
        except RuntimeError as error:
            said = str(error).strip().partition("\n")[0][:200]
            raise RankLostError(
                f"processes that train together all go on to the end, but rank {self.number} of "
                f"{self.count} lost another one ({said}); start them again, the run is resumed"
            ) from error


class Job(ABC):
    """Work that rank 0 shares with the others; it is pickled to them."""

    @abstractmethod
    def follow(self, follower: Follower) -> None:
        """Do the part of a rank that is not 0."""


@dataclass(slots=True)
class Follower:
    """A rank that is not 0, and what it has at hand for all jobs.

    Parameters
    ----------
    task: the run's.
    device: where this rank computes.
    kept: what a job leaves for the next ones, by name.
    """

    ranks: Ranks
    task: Task
    device: torch.device
    kept: dict[str, Any]


_current = Ranks()


def current() -> Ranks:
    """This process's place; the only one's where it was not started with others."""
    return _current


def launched() -> bool:
    """Whether torchrun started this process together with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[Ranks]:
    """Take this process's place among those of torchrun; rank 0 dismisses the others in the end.

    Raises `RankLostError` when the others cannot be reached.
    """
    global _current
    if not launched():
        yield _current
        return
    import torch
    from torch import distributed

    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with ranks._together():
        distributed.init_process_group(backend, timeout=_PATIENCE)
    _current = ranks
    try:
        yield ranks
        if ranks.leads:
            ranks.hand_out(None)
    finally:
        # What fails on one rank fails on the others too, as its connections close
        _current = Ranks()
        distributed.destroy_process_group()


def follow(task: Task, device: torch.device) -> None:
    """Do this rank's part of all that rank 0 hands out, until it is done.

    Raises `RankLostError` when rank 0 is gone, and what the jobs raise.
    """
    follower = Follower(current(), task, device, {})
    while (job := follower.ranks.next_job()) is not None:
        job.follow(follower)


def add_up_gradients(module: nn.Module, loss: float, ranks: Ranks) -> float:
    """Sum all ranks' gradients in place, and the statistics' mean; returns the losses' sum.

    What had no gradient on any rank still has none, so that an optimiser leaves it alone. Batch
    norms see a rank's images at a time, as they see a part's where a batch is accumulated.
    """
    import torch

    if ranks.count == 1:
        return loss
    parameters = [p for p in module.parameters() if p.requires_grad]
    statistics = [b for b in module.buffers() if b.is_floating_point()]
    device = parameters[0].device
    touched = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    tensors = [*gradients, *statistics]
    flat = torch.cat(
        [touched, torch.tensor([loss], device=device), *(t.detach().flatten() for t in tensors)]
    )
    ranks.add_up(flat)
    sizes = [len(parameters), 1, len(flat) - len(parameters) - 1]
    touched, whole, rest = torch.split(flat, sizes)
    sums = torch.split(rest, [t.numel() for t in tensors])
    for parameter, total, count in zip(
        parameters, sums[: len(parameters)], touched.tolist(), strict=True
    ):
        parameter.grad = total.view_as(parameter) if count else None
    for statistic, total in zip(statistics, sums[len(parameters) :], strict=True):
        statistic.copy_(total.view_as(statistic) / ranks.count)
    return float(whole)
