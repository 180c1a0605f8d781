"""`netadapt reference`: published networks, what is known of them and how they are timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netadapt.models import make_model
from netadapt.reference import ReferenceNetwork, reference_networks
from tests.command_line import exit_code


@pytest.mark.parametrize("network", reference_networks(), ids=lambda network: network.name)
def test_parameters_and_sizes_are_the_published_ones(network: ReferenceNetwork) -> None:
    module, (shape,) = make_model(network.model)
    assert sum(p.numel() for p in module.parameters()) == network.parameters
    assert shape == network.input_shape


def test_they_are_listed_without_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("reference", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "network"
    assert len(lines) == 1 + len(reference_networks()) >= 13
    assert lines[1].startswith("MobileNetV4-Conv-M "), "the most accurate first"


def test_one_is_timed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "reference.svg"
    arguments = ("--table", str(tmp_path / "rows.sqlite"), "--picture", str(picture), "--json")
    assert exit_code("reference", "mobilenetv3-small", *arguments) == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["name"] == "MobileNetV3-Small"
    assert network["ms"] > 0
    assert "<svg" in picture.read_text()


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("reference", "MobileNetV3-Smal") == 2
    assert "did you mean MobileNetV3-Small?" in capsys.readouterr().err
