"""A whole search on photographs: is what was found better than the reference scaled down?

    python -m benchmarks.photographs --data FOLDER [--seeds N] [--steps N] [--quick]

FOLDER has pictures by class (docs/images.md), CIFAR-10 as JPEGs for instance, or is their pack. Per
seed the run of `netadapt/examples/photographs.toml` is made on this machine, at half the
reference's latency; the first one's table serves all. What is done is kept, and it goes on when
started again. `--steps`: of the super-network's training, those of the final ones in proportion.
`--quick` makes some pictures itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.common import QUICK_COLOUR_SPACE, QUICK_PROFILE, parser, print_result, work_folder
from benchmarks.found_against_scaled import figures, run_all
from benchmarks.image_folder import make_pictures
from netadapt.config import RunConfig, example_config
from netadapt.search.tasks.image_list import list_images

SEEDS = 1
QUICK_PICTURES = 120


def main() -> None:
    """Run, compare in pairs, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, help="a folder of pictures by class, or a pack")
    arguments.add_argument("--seeds", type=int, default=SEEDS)
    arguments.add_argument("--steps", type=int, help="of the super-network's training")
    options = arguments.parse_args()
    root: Path | None = options.data
    if options.quick:
        root = make_pictures(work_folder("image_folder") / "pictures-quick", QUICK_PICTURES, 80)
    if root is None:
        arguments.error("name a folder of pictures with --data")
    steps = 12 if options.quick else options.steps
    seeds = range(1 if options.quick else options.seeds)
    configs = [_config(seed, root.resolve(), steps, quick=options.quick) for seed in seeds]
    mark = hashlib.sha256(f"{root.resolve()} {steps} {options.quick}".encode()).hexdigest()[:12]
    results = run_all(configs, work_folder("photographs") / mark)
    print_result(
        {
            "benchmark": "photographs",
            "pictures": len(list_images(root)),
            "classes": configs[0].space.classes,
            **figures(results),
            "budget_share": configs[0].search.constraints.latency_share,
            "supernet_steps": configs[0].supernet.training.steps,
            "final_steps": configs[0].final.training.steps,
        }
    )


def _config(seed: int, root: Path, steps: int | None, *, quick: bool) -> RunConfig:
    config = example_config("photographs").changed(
        {
            "run": {"name": f"seed{seed}", "seed": seed},
            "space": {"classes": len(list_images(root).classes)},
            "task": {"image_folder": {"root": str(root)}},
        }
    )
    if steps is not None:
        before = config.supernet.training.steps
        trainings = {"supernet": config.supernet.training, "final": config.final.training}
        config = config.changed(
            {
                name: {
                    "steps": max(training.steps * steps // before, 2),
                    "warmup_steps": training.warmup_steps * steps // before,
                }
                for name, training in trainings.items()
            }
        )
    if not quick:
        return config
    return config.changed(
        {
            "space": {"name": QUICK_COLOUR_SPACE},
            "task": {"image_folder": {"skip_broken": True, "validation_images": 20}},
            "sample": {"kernels": 24, "chains": 2, "networks": 3},
            "profile": QUICK_PROFILE,
            "supernet": {"batch_size": 8},
            "final": {"batch_size": 8, "norm_batches": 1},
            "search": {
                "loop": "predictor",
                "guard": False,
                "evaluation": {"validation_images": 20, "calibration_images": 16},
                "mcd": {"candidates": 2, "schedule": {"approach": 0.9, "finest_step": 0.5}},
            },
        }
    )


if __name__ == "__main__":
    main()
