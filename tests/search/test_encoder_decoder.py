"""Encoder-decoder networks: the family's contract, its published networks, its file."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from netadapt.profiler.kernels import AddKernel, BypassKernel, UpsampleKernel
from netadapt.search.errors import ArchError, SpaceFileError
from netadapt.search.families.encoder_decoder import EncoderDecoderSpace
from netadapt.search.space import Space
from tests.contracts.space import (
    TOLERANCE,
    SpaceContract,
    difference,
    images_of,
    unsettled,
    unsettled_supernetwork,
)

SMALL: dict[str, Any] = {
    "family": "encoder_decoder",
    "name": "small",
    "resolution": [16, 24],
    "kernel_sizes": [3, 5],
    "width_step": 4,
    "upsamplings": ["bilinear"],
    "stem": {"width": 8, "stride": 2},
    "encoder": [
        {"width": 8, "max_width": 12},
        {"width": 12, "max_width": 16, "stride": 2},
        {"width": 12, "max_width": 16},
        {"width": 16},
        {"width": 8, "max_width": 20},
    ],
    "decoder": [
        {"width": 8, "max_width": 12, "skip": 1},
        {"width": 4, "max_width": 8, "kernel_size": 3},
    ],
}


class TestSmall(SpaceContract):
    drawn = 10

    def make_space(self) -> Space:
        return Space.from_table(SMALL)


class TestBothUpsamplings(SpaceContract):
    """Without bypass; a skip that cannot be removed; an output that is cut off at 0."""

    lowered = 2

    def make_space(self) -> Space:
        changed = {
            "upsamplings": ["nearest", "bilinear"],
            "bypass": False,
            "optional_skips": False,
            "output_activation": "relu",
            "resolution": 16,
            "classes": 2,
        }
        return Space.from_table(SMALL | changed)


@pytest.fixture(scope="module")
def small() -> EncoderDecoderSpace:
    return EncoderDecoderSpace.from_table(SMALL)


def test_fastdepth_is_the_published_network() -> None:
    """MobileNetV1 without its classifier, and five depthwise 5x5 and pointwise layers."""
    space = Space.load("fastdepth")
    reference = space.reference()
    assert space.params(reference) == 3_206_976 + 753_954
    network = space.network(reference).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 1, 224, 224)


def test_what_netadapt_made_of_it_is_in_its_space() -> None:
    space, whole = Space.load("fastdepth_pruned"), Space.load("fastdepth")
    assert space.macs(space.reference()) == pytest.approx(366.4e6, abs=0.05e6)
    assert space.full() == whole.full()
    whole.validate(space.reference())


def test_every_shape_of_network_is_the_same_masked_sliced_and_extracted(
    small: EncoderDecoderSpace,
) -> None:
    """Removed layers, removed skips, partial bypasses and all of them beside each other."""
    supernet, rng = unsettled_supernetwork(small), np.random.default_rng(0)
    archs = [small.random(rng) for _ in range(60)]
    images = images_of(small, len(archs))
    with torch.no_grad():
        common = unsettled(supernet.calibrate(small.full(), images))
        together = supernet(images, archs, common)
        for index, arch in enumerate(archs):
            network = supernet.extract(arch, common)
            alone = network(images[index : index + 1])
            assert difference(together[index : index + 1], alone) <= 4 * TOLERANCE
    kernels = [kernel for arch in archs for kernel in small.kernels(arch)]
    assert any(isinstance(kernel, BypassKernel) for kernel in kernels)
    assert any(layer.removed for arch in archs for layer in arch.encoder)
    skips = {arch.decoder[0].skip for arch in archs}
    assert skips == {True, False}


def test_skips_tie_the_widths_that_they_add(small: EncoderDecoderSpace) -> None:
    names = {dimension.name for dimension in small.dimensions}
    assert "encoder.0.width" in names
    assert "decoder.0.width" not in names
    width = next(d for d in small.dimensions if d.name == "encoder.0.width")
    arch = small.with_value(small.full(), width, 4)
    assert (arch.encoder[0].width, arch.decoder[0].width) == (4, 4)
    untied = arch.to_json().replace('"decoder": [[4', '"decoder": [[8')
    with pytest.raises(ArchError, match=r"decoder.0 has the width of encoder.0"):
        small.arch_from_json(untied)


def test_a_removed_skip_is_no_addition(small: EncoderDecoderSpace) -> None:
    skip = next(d for d in small.dimensions if d.name == "decoder.0.skip")
    (without,) = small.smaller(small.reference(), skip)

    def additions(arch: Any) -> int:
        part = next(p for p in small.parts(arch) if p.name == "decoder 1")
        return sum(isinstance(kernel, AddKernel) for kernel in part.kernels)

    assert (additions(small.reference()), additions(without)) == (1, 0)
    assert small.planned_memory_bytes(without) <= small.planned_memory_bytes(small.reference())


def test_only_layers_that_keep_their_size_can_be_removed(small: EncoderDecoderSpace) -> None:
    removable = {d.name for d in small.dimensions if d.values[0] == 0 and d.kind == "width"}
    assert removable == {f"encoder.{index}.width" for index in (2, 3, 4)}


def test_upsampling_doubles_height_and_width() -> None:
    for mode, channels in itertools.product(("nearest", "bilinear"), (3, 8)):
        kernel = UpsampleKernel(mode, channels, 5, 7)
        x = kernel.example_inputs()[0]
        assert kernel.module()(x).shape == kernel.output_shape == (1, channels, 10, 14)
    nearest = UpsampleKernel("nearest", 1, 2, 2).module()(torch.tensor([[[[1.0, 2], [3, 4]]]]))
    assert nearest.tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"upsamplings": ["cubic"]}, "nearest, bilinear"),
        ({"upsamplings": []}, "one or more"),
        ({"resolution": [16, 18]}, "halved 2 times"),
        ({"resolution": [16]}, "height, width"),
        ({"kernel_sizes": [4]}, "odd"),
        ({"output_activation": "relu6"}, "none, relu"),
        ({"decoder": SMALL["decoder"][:1]}, "doubles as often"),
        ({"encoder": []}, "has a"),
        ({"stem": {"width": 9, "stride": 2}}, "multiple of width_step"),
        ({"stem": {"width": 8, "stride": 3}}, "1 or 2"),
        ({"stem": {"width": 8, "max_width": 4, "stride": 2}}, "at least"),
        ({"decoder": [{"width": 8, "skip": 1}, {"width": 4}]}, "has the width of encoder 1"),
        ({"decoder": [{"width": 8}, {"width": 8, "max_width": 12, "skip": 1}]}, "starts where"),
        ({"decoder": [{"width": 8, "skip": 9}, {"width": 4}]}, "1 to 5"),
        ({"head": {"width": 8}}, "head is not known"),
    ],
)
def test_a_file_that_is_none_says_why(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceFileError, match=said) as caught:
        Space.from_table(SMALL | change, "my.toml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("my.toml")
