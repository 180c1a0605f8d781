"""The whole line on files of NYU Depth V2's own layout and size, for a network of small inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from netadapt.config import example_config
from netadapt.console import PlainProgress
from netadapt.report.page import render
from netadapt.report.reading import read_run
from netadapt.runs.bundle import load_network
from netadapt.runs.examples import read_examples
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.run import run
from tests.search.test_depth import written_scene
from tests.two_levels import TwoLevels


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_few_steps_of_the_example(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    frames = ("00001.h5", "00006.h5", "00201.h5")
    for number, scene in enumerate(("kitchen_0001a", "office_0003")):
        written_scene(tmp_path / "nyu" / "train" / scene, frames, number, 480)
    written_scene(tmp_path / "nyu" / "val" / "official", ("00001.h5", "00002.h5"), 7, 480)
    config = example_config("nyu").changed(
        {
            # At the example's own 224 pixels it takes minutes
            "space": {"name": "rooms"},
            "task": {"depth": {"root": str(tmp_path / "nyu"), "size": 64, "workers": 0}},
            "sample": {"kernels": 12, "networks": 2},
            "search": {
                "evaluation": {"calibration_images": 2, "batch_size": 2},
                "mcd": {"candidates": 2, "schedule": {"approach": 0.5, "finest_step": 0.3}},
                "constraints": {"latency_share": 0.8},
            },
        }
    )
    config = config.with_steps(3).changed(
        {name: {"batch_size": 2, "norm_batches": 1} for name in ("supernet", "final")}
    )
    folder = RunFolder(tmp_path / "run")
    result = run(Parts(config, given_device=TwoLevels()), folder, PlainProgress())
    (search,) = result.searches
    assert result.metric == "RMSE"
    assert not result.higher_is_better
    assert search.found.latency_ratio is not None
    assert 0.76 <= search.found.latency_ratio <= 0.8
    assert set(search.found.test_others) >= {"delta1", "abs_rel"}
    kept = read_examples(folder, [search.label])
    assert kept is not None
    assert kept.truth.shape == (2, 64, 64)
    saved = load_network(folder.search(search.label).weights)
    image = torch.from_numpy(np.ascontiguousarray(kept.pictures.transpose(0, 3, 1, 2)))[:1]
    assert saved.network(image).shape == (1, 1, 64, 64)
    assert f'id="figure-maps-{search.label.replace(".", "-")}"' in render(read_run(folder))
