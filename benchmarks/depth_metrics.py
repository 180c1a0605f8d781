"""The depth task's figures of a picture whose figures are known.

    python -m benchmarks.depth_metrics --pair FOLDER [--quick]

FOLDER has `depth.npy`, true metres, and `pred.npy`, predicted ones, of one size; of NYU's pair that
FastDepth's authors publish, RMSE 0.618, delta-1 0.777 and AbsRel 0.140 are on record. `--quick`
makes a pair itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.common import parser, print_result, work_folder
from netadapt.search.tasks.depth.metric import DepthErrors


def main() -> None:
    """Judge, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--pair", type=Path, help="a folder with depth.npy and pred.npy")
    options = arguments.parse_args()
    folder: Path | None = options.pair
    if options.quick and folder is None:
        folder = _made_up(work_folder("depth_metrics_quick"))
    if folder is None:
        arguments.error("name a folder of a pair with --pair")
    true, predicted = (
        torch.from_numpy(np.load(folder / f"{name}.npy").squeeze()) for name in ("depth", "pred")
    )
    errors = DepthErrors()
    errors.update(predicted[None, None], true[None, None])
    figures = {name: round(value, 4) for name, value in errors.figures().items()}
    print_result({"benchmark": "depth_metrics", "pixels": int((true > 0).sum()), **figures})


def _made_up(folder: Path) -> Path:
    """A pair whose prediction is a tenth too far everywhere."""
    true = np.random.default_rng(0).uniform(1, 9, (24, 24)).astype(np.float32)
    for name, metres in (("depth", true), ("pred", true * np.float32(1.1))):
        np.save(folder / f"{name}.npy", metres)
    return folder


if __name__ == "__main__":
    main()
