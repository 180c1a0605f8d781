"""`netadapt reference`: published networks, what is known of them and how they are timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from netadapt.models import export_model, make_model
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
from netadapt.reference import ReferenceNetwork, reference_networks
from tests.command_line import exit_code


@pytest.mark.parametrize("network", reference_networks(), ids=lambda network: network.name)
def test_parameters_and_sizes_are_the_published_ones(network: ReferenceNetwork) -> None:
    module, shapes = make_model(network.model)
    assert sum(p.numel() for p in module.parameters()) == network.parameters
    assert shapes in ([], [network.input_shape]), "timm's know their own"


def test_fastdepth_does_the_published_work_and_gives_a_depth_to_each_pixel() -> None:
    (network,) = reference_networks(["FastDepth"])
    module, _ = make_model(network.model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert module.eval()(torch.zeros(network.input_shape)).shape == (1, 1, 224, 224)
    assert counter.get_total_flops() / 2e6 == pytest.approx(network.macs, abs=0.05)
    assert network.macs == 366.4
    assert list(map(str, network.metrics)) == [
        "NYU Depth V2 RMSE 0.604 m",
        "NYU Depth V2 delta-1 0.771",
    ]


def test_fastdepth_is_exported_with_its_up_samplings_and_additions() -> None:
    (network,) = reference_networks(["FastDepth"])
    exported, _ = export_model(network.model, [(1, 3, 32, 32)], XnnpackFp32())
    called = [str(node.target) for node in exported.graph.nodes]
    joining = [name for name in called if "upsample" in name or "add." in name]
    up, add = "aten.upsample_nearest2d.vec", "aten.add.Tensor"
    assert joining == [up, up, add, up, add, up, add, up]


def test_they_are_listed_without_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("reference", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "network"
    assert len(lines) == 1 + len(reference_networks()) >= 13
    assert lines[1].startswith("MobileNetV4-Conv-M ImageNet top-1 79.9 % "), "the best first"
    assert lines[-1].startswith("FastDepth          NYU Depth V2 RMSE 0.604 m "), "no top-1 at all"


def test_one_is_timed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "reference.svg"
    arguments = ("--table", str(tmp_path / "rows.sqlite"), "--picture", str(picture), "--json")
    assert exit_code("reference", "mobilenetv3-small", *arguments) == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["name"] == "MobileNetV3-Small"
    assert network["ms"] > 0
    assert network["metrics"][0]["value"] == 67.66
    assert "<svg" in picture.read_text()


def test_errors_in_metres_are_not_drawn_as_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "reference.png"
    assert exit_code("reference", "FastDepth", "--picture", str(picture)) == 2
    assert "networks with an ImageNet top-1, got FastDepth; name" in capsys.readouterr().err


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("reference", "MobileNetV3-Smal") == 2
    assert "did you mean MobileNetV3-Small?" in capsys.readouterr().err
