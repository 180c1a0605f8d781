"""Do several processes train the network that one does, and do they come back from the dead?

    python -m benchmarks.distributed [--quick] [--kills N]

A super-network of the digits is trained by one process that accumulates two halves of each batch,
and by two that torchrun starts on this machine (gloo), so that batch norms see the same halves:
`max_weight_diff` is the largest difference of a weight. Then one of the two is killed (SIGKILL,
each in turn) at `kills` moments of a training; the other one has to end by itself and say why
(`hung`, `silent` count those that do not), the next start resumes, and the weights in the end have
to be those of the unbroken run to the bit (`equal`). A quick run kills nobody.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import QUICK_SPACE, parser, print_result, say, work_folder

if TYPE_CHECKING:
    import torch

KILLS = 20
RANKS = 2
PATIENCE_S = 60.0


def main() -> None:
    """Train in all these ways, compare, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--kills", type=int, default=KILLS)
    arguments.add_argument("--rank-of", type=Path, metavar="CHECKPOINT", help=argparse.SUPPRESS)
    arguments.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.rank_of:
        train(options.rank_of, options.steps, 1, quick=options.quick)
        return
    folder = work_folder("distributed" + ("_quick" if options.quick else ""))
    for left_over in folder.glob("*.pt"):
        left_over.unlink()
    # A rank's death takes as many imports more: tests/search/test_ranks.py has it for less
    kills = 0 if options.quick else options.kills
    steps = kills + 3
    alone, whole, broken = (folder / f"{name}.pt" for name in ("alone", "whole", "broken"))
    train(alone, steps, RANKS, quick=options.quick)
    if not options.quick:
        finish(whole, steps, quick=False)
    hung = silent = 0
    for number in range(kills):
        ended, said = kill_at(broken, number + 1, number % RANKS, steps)
        hung, silent = hung + (not ended), silent + (not said)
        say(f"kill {number + 1} of {kills}, rank {number % RANKS}")
    finish(broken, steps, quick=options.quick)
    unbroken = weights(whole) if whole.exists() else weights(broken)
    difference = max_difference(weights(alone), unbroken)
    say(f"two processes against one: weights differ by {difference:.1e} at most")
    print_result(
        {
            "benchmark": "distributed",
            "equal": difference <= 1e-5 and max_difference(unbroken, weights(broken)) == 0,
            "max_weight_diff": difference,
            "steps": steps,
            "kills": kills,
            "hung": hung,
            "silent": silent,
        }
    )


def train(checkpoint: Path, steps: int, parts: int, *, quick: bool) -> None:
    """This process's part of the training that is kept at `checkpoint`."""
    import torch

    from netadapt.search import ranks
    from netadapt.search.ordered_dropout import OrderedDropout
    from netadapt.search.space import Space
    from netadapt.search.tasks.digits import ClutteredDigits
    from netadapt.search.tasks.settings import DigitsSettings
    from netadapt.search.training import (
        OrderedDropoutSettings,
        OrderedDropoutStep,
        TrainingSettings,
        train_supernet,
    )

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    space = Space.load(QUICK_SPACE if quick else "digits")
    task = ClutteredDigits(DigitsSettings(train_images=1000), seed=0)
    settings = TrainingSettings(
        steps=steps, warmup_steps=1, batch_size=32, accumulate=parts, checkpoint_every_steps=1
    )
    step = OrderedDropoutStep(OrderedDropout(space, OrderedDropoutSettings(ramp=(0.0, 0.0))))
    with ranks.joined() as own:
        if own.number:
            ranks.follow(task, torch.device("cpu"))
        else:
            supernet = space.supernetwork(generator=torch.Generator().manual_seed(0))
            train_supernet(supernet, task, settings, step, seed=0, checkpoint=checkpoint)
    torch.set_num_threads(threads)


def started(checkpoint: Path, steps: int, *, quick: bool) -> subprocess.Popen[str]:
    """Torchrun with the processes of a training."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    words += ["-m", "benchmarks.distributed", "--rank-of", str(checkpoint), "--steps", str(steps)]
    return subprocess.Popen(
        [sys.executable, *words, *(["--quick"] if quick else [])],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[1],
    )


def finish(checkpoint: Path, steps: int, *, quick: bool) -> None:
    """Start a training, or what is left of it, and see it to its end."""
    process = started(checkpoint, steps, quick=quick)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"a training by {RANKS} processes failed:\n{said}")


def kill_at(checkpoint: Path, step: int, rank: int, steps: int) -> tuple[bool, bool]:
    """Kill one rank once the training is at `step`; whether all ended, and one said why."""
    process = started(checkpoint, steps, quick=False)
    while process.poll() is None and step_of(checkpoint) < step:
        time.sleep(0.01)
    os.kill(rank_process(process.pid, rank), signal.SIGKILL)
    try:
        _, said = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False, False
    # Torchrun itself says which rank was killed; the survivor why it ends, if it still comes to it
    return True, "SIGKILL" in said or "lost another one" in said


def rank_process(torchrun: int, rank: int) -> int:
    """The process of a rank, by what torchrun gave it."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    for child in map(int, children):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            return child
    raise SystemExit(f"torchrun has no rank {rank}; its processes are {children}")


def step_of(checkpoint: Path) -> int:
    """How far a training is."""
    import torch

    if not checkpoint.exists():
        return 0
    return int(torch.load(checkpoint, weights_only=True)["step"])


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The parameters that a training has come to, without the norms' statistics.

    Of two parts of a batch one process counts first one in and then the other, two processes their
    mean.
    """
    import torch

    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["module"]
    return {k: v for k, v in state.items() if v.is_floating_point() and "running_" not in k}


def max_difference(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The largest of any element."""
    return max(float((value - others[name]).abs().max()) for name, value in ones.items())


if __name__ == "__main__":
    main()
