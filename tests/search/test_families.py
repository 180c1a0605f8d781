"""The families that come along keep the contract, in every feature of their space's files."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netadapt.profiler.kernels import AddKernel, BypassKernel
from netadapt.profiler.lowering import find_lowering
from netadapt.search.errors import ArchError, SpaceFileError
from netadapt.search.families.inverted_residual import REMOVED, InvertedResidualSpace
from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.space import Dimension, Space
from tests.contracts.space import SpaceContract, images_of
from tests.toy_family import STACK, Stack


def row(width: int, **keys: object) -> dict[str, object]:
    """A row of `blocks`."""
    return {"kernel_size": 3, "width": width, "activation": "relu", "stride": 1} | keys


TOY: dict[str, Any] = {
    "name": "toy",
    "in_channels": 1,
    "resolution": 12,
    "classes": 4,
    "width_step": 8,
    "kernel_sizes": [3, 5],
    "stem": {"width": 8, "stride": 1},
    "head": {"width": 24},
    "hidden": {"width": 16},
    "blocks": [
        row(8),
        row(16, expansion=16, stride=2),
        row(16, expansion=24, kernel_size=5, se=True, activation="hardswish"),
    ],
}


def toy(**changes: object) -> InvertedResidualSpace:
    """The toy space with other values for some keys of its file; None leaves a key out."""
    table = TOY | changes
    return InvertedResidualSpace.from_table({k: v for k, v in table.items() if v is not None})


class TestDigits(SpaceContract):
    drawn = 3
    lowered = 0

    def make_space(self) -> Space:
        return Space.load("digits")


class TestResidual(SpaceContract):
    """MobileNetV3 as published: no bypass."""

    lowered = 0

    def make_space(self) -> Space:
        return toy(bypass=False)


BEYOND: dict[str, Any] = {
    "widest": 1.5,
    "blocks": [
        row(8),
        row(16, expansion=16, stride=2),
        row(16, expansion=32, extra=True),
        row(16, expansion=24, kernel_size=5, se=True, activation="hardswish"),
    ],
}


class TestBeyondTheReference(SpaceContract):
    """Wider than the reference, with a block that it lacks."""

    lowered = 1

    def make_space(self) -> Space:
        return toy(**BEYOND)


def test_a_space_may_reach_beyond_its_reference() -> None:
    plain, wide = toy(), toy(**BEYOND)
    reference = wide.reference()
    assert reference.blocks[2] == REMOVED
    assert [b for b in reference.blocks if b != REMOVED] == list(plain.reference().blocks)
    assert wide.macs(reference) == plain.macs(plain.reference())
    assert named(wide, "stem").values[-1] == 16  # 1.5 times 8, to the step
    assert named(wide, "blocks.3.expansion").values[-1] == 40
    assert named(wide, "blocks.2.width").values == (0, 8, 16, 24)
    assert wide.scaled(0.5).blocks[2] == REMOVED
    same = wide.scaled(1.0)
    assert same == reference
    assert wide.macs(wide.full()) > 1.5 * plain.macs(plain.full())
    assert toy(widest=1.0) == plain


class TestClampedInColour(SpaceContract):
    """RGB, rectangular, relu6, a large stem, no hidden layer, no shortcut."""

    def make_space(self) -> Space:
        return toy(
            in_channels=3,
            resolution=[10, 17],
            stem={"width": 8, "stride": 2, "kernel_size": 5, "activation": "relu6"},
            head={"width": 24, "activation": "relu6"},
            hidden=None,
            blocks=[
                row(8, activation="relu6", shortcut=False),
                row(16, ratio=2, activation="relu6", repeat=3, shortcut=False),
            ],
        )


class TestSmoothWithSqueezeExcite(SpaceContract):
    """SiLU, squeeze-excite of the input's channels with a sigmoid, a hidden layer that clamps."""

    def make_space(self) -> Space:
        return toy(
            stem={"width": 8, "stride": 1, "activation": "silu"},
            head={"width": 24, "activation": "none"},
            hidden={"width": 16, "activation": "relu"},
            squeeze_excite={
                "ratio": 0.5,
                "base": "input",
                "divisor": 1,
                "activation": "silu",
                "gate": "sigmoid",
            },
            blocks=[
                row(8, se=True, activation="silu"),
                row(16, expansion=16, se=True, activation="silu", stride=2),
                row(16, expansion=24, se=True, activation="silu", kernel_size=5),
            ],
        )


class TestDenseBlocks(SpaceContract):
    """Fused inverted residuals, with and without expansion, and plain residual blocks; no head."""

    def make_space(self) -> Space:
        return toy(
            head=None,
            hidden=None,
            blocks=[
                row(8, kind="fused"),
                row(16, kind="fused", expansion=16, activation="hardswish", stride=2, repeat=2),
                row(16, kind="fused", expansion=24, kernel_size=5, se=True, activation="silu"),
                row(16, kind="residual", expansion=16, stride=2, repeat=2),
            ],
        )


class TestRatios(SpaceContract):
    lowered = 0

    def make_space(self) -> Space:
        return toy(expansion_ratios=[2, 3.5], blocks=[row(8), row(16, ratio=2, repeat=2)])


class TestOnceForAll(SpaceContract):
    """Depths, ratios and resolutions to choose from, widths fixed."""

    drawn = 8

    def make_space(self) -> Space:
        return toy(
            resolution=16,
            resolutions=[12, 16],
            expansion_ratios=[2, 3],
            search_widths=False,
            bypass=False,
            blocks=[
                row(8, searched=False),
                row(16, ratio=3, stride=2, repeat=3, depths=[1, 2, 3]),
                row(24, ratio=2, se=True, repeat=2, depths=[1, 2], depth=1),
            ],
        )


class TestDepthsAndWidths(SpaceContract):
    """Blocks left out of stages whose widths are searched too; rectangles to choose from."""

    lowered = 0
    drawn = 12

    def make_space(self) -> Space:
        return toy(
            resolution=[12, 15],
            resolutions=[[10, 15], [12, 15], [13, 16]],
            bypass=False,
            blocks=[
                row(16, expansion=16, stride=2, repeat=3, depths=[1, 3]),
                row(16, kind="fused", activation="relu6", repeat=2, depths=[1, 2]),
            ],
        )


class TestOperations(SpaceContract):
    """Squeeze-excite and activations to choose, widths one by one, blocks skipped (FBNetV2's)."""

    drawn = 12

    def make_space(self) -> Space:
        either = {"either_se": True, "activations": ["relu", "hardswish"]}
        return toy(
            resolution=16,
            resolutions=[12, 16],
            width_step=4,
            bypass=False,
            hidden=None,
            stem={"width": 8, "stride": 2, "searched": False},
            blocks=[
                row(8, widths=[8, 12], **either),
                row(12, ratio=1.5, expansion_ratios=[0.75, 1.5, 2.5], widths=[8, 12], **either),
                row(
                    12,
                    ratio=2,
                    expansion_ratios=[1, 2],
                    widths=[8, 12],
                    skip=True,
                    repeat=2,
                    se=True,
                    **either,
                ),
            ],
        )


class TestOperationsWithBypass(SpaceContract):
    """The same beside channel-level bypass connections, in fused blocks too; two of one kind."""

    lowered = 1

    def make_space(self) -> Space:
        return toy(
            blocks=[
                row(8, activations=["relu", "relu6"]),
                row(16, kind="fused", expansion=16, either_se=True, stride=2),
                row(
                    16,
                    expansion=24,
                    activation="silu",
                    activations=["relu6", "hardswish", "silu"],
                    either_se=True,
                ),
            ],
        )


class TestSomebodyElses(SpaceContract):
    """A family that the package does not know, named by its place."""

    mixes = False

    def make_space(self) -> Space:
        return Space.from_table(STACK)


def test_nothing_is_left_of_resizing_in_a_program() -> None:
    space = TestOnceForAll().make_space()
    for size in (12, 16):
        arch = space.point([size, *(d.values[0] for d in space.dimensions[1:])])
        network = space.network(arch, generator=torch.Generator().manual_seed(0)).eval()
        assert space.input_shape_of(arch)[2:] == (size, size)
        assert find_lowering().draft(network, [space.input_shape_of(arch)]) is not None
        other = (1, space.input_shape[1], size + 1, size)
        assert find_lowering().draft(network, [other]) is None, "the exporter's to lower"
        assert network(torch.zeros(other)).shape == (1, space.classes)


DRAWN = [TestOnceForAll, TestDepthsAndWidths, TestOperations, TestSomebodyElses]


@pytest.mark.parametrize("contract", DRAWN)
def test_ordered_dropout_draws_any_space(contract: type[SpaceContract]) -> None:
    """Points of the space, one resolution a batch, each value as often as the others."""
    space = contract().make_space()
    sample, rng = OrderedDropout(space), np.random.default_rng(0)
    batches = [sample(16, rng) for _ in range(60)]
    for archs in batches:
        assert isinstance(archs, Sequence)
        assert len({space.input_shape_of(arch) for arch in archs}) == 1
        for arch in archs[:4]:
            space.validate(arch)
    for dimension in space.dimensions:
        if dimension.kind in ("depth", "resolution", "operation"):
            seen = [space.value(arch, dimension) for archs in batches for arch in archs]
            seen = [value for value in seen if value]  # none of a removed block
            shares = np.array([seen.count(value) for value in dimension.values]) / len(seen)
            assert shares.sum() == pytest.approx(1)
            assert shares.min() > 0.5 / len(shares)
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(0)).train()
    supernet(images_of(space, 16), batches[0]).square().mean().backward()


# The published networks: parameters as torchvision's and timm's have them, MACs as the papers say.
PUBLISHED = {
    "mobilenet_v2": (3_504_872, 301e6),
    "efficientnet_b0": (5_288_548, 386e6),
    "mnasnet_a1": (3_887_038, 312e6),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_references_are_the_published_networks(name: str) -> None:
    space = InvertedResidualSpace.load(name)
    reference = space.reference()
    params, macs = PUBLISHED[name]
    assert space.params(reference) == params
    assert space.macs(reference) == pytest.approx(macs, rel=0.01)
    assert sum(p.numel() for p in space.network(reference).parameters()) == params
    # Joined as published: residual additions, and nothing where a block changes the channels.
    joins = [k for k in space.kernels(reference) if isinstance(k, AddKernel | BypassKernel)]
    before = [space.stem.width, *(block.width for block in space.blocks)]
    assert joins
    assert all(isinstance(join, AddKernel) for join in joins)
    assert len(joins) == sum(
        block.stride == 1 and block.width == channels
        for channels, block in zip(before, space.blocks, strict=False)
    )


def test_once_for_all_has_its_choices() -> None:
    space = InvertedResidualSpace.load("ofa_mobilenet_v3")
    # Of the paper: ((3 x 3)^2 + (3 x 3)^3 + (3 x 3)^4)^5, about 2 x 10^19, for each resolution
    assert space.count() == 4 * (9**2 + 9**3 + 9**4) ** 5
    assert space.input_shape == (1, 3, 224, 224)
    assert len(space.blocks) == 21
    full = space.full()
    assert [b.expansion for b in full.blocks[1:3]] == [16 * 6, 24 * 6]
    smallest = full
    for dimension in space.dimensions:
        smallest = (smallest, *space.smaller(smallest, dimension))[-1]
    assert space.input_shape_of(smallest) == (1, 3, 128, 128)
    assert sum(not block.removed for block in smallest.blocks) == 1 + 5 * 2
    assert space.macs(smallest) < 0.1 * space.macs(full)


def named(space: Space, name: str) -> Dimension:
    (found,) = (d for d in space.dimensions if d.name == name)
    return found


def test_blocks_leave_and_come_back_at_the_end_of_their_stage() -> None:
    blocks = [row(16, expansion=16, stride=2, repeat=3, depths=[1, 2, 3], depth=2)]
    space = toy(bypass=False, blocks=blocks)
    depth = named(space, "blocks.0.depth")
    assert depth.kind == "depth"
    assert space.value(space.reference(), depth) == 2
    full = space.full()
    one = space.with_value(full, depth, 1)
    assert one.blocks == (full.blocks[0], REMOVED, REMOVED)
    two = space.with_value(one, depth, 2)
    assert two.blocks[1:] == (space.with_value(space.reference(), depth, 3).blocks[1], REMOVED)
    with pytest.raises(ArchError, match="removed"):
        space.with_value(one, named(space, "blocks.1.width"), 8)
    gap = type(full)(full.stem, (full.blocks[0], REMOVED, full.blocks[2]), full.head, full.hidden)
    with pytest.raises(ArchError):
        space.validate(gap)


def test_archs_are_counted_with_depths_and_resolutions() -> None:
    space = TestOnceForAll().make_space()
    values = (dimension.values for dimension in space.dimensions)
    found = {space.point(point) for point in itertools.product(*values)}
    assert len(found) == space.count() == 2 * (4 + 4**2 + 4**3) * (4 + 4**2)


def test_archs_are_counted_with_operations_and_skipped_blocks() -> None:
    either = {"either_se": True, "activations": ["relu", "silu"]}
    blocks = [row(8, searched=False), row(8, ratio=1, skip=True, max_width=16, **either)]
    space = toy(bypass=False, head=None, hidden=None, expansion_ratios=[1], blocks=blocks)
    values = (dimension.values for dimension in space.dimensions)
    found = {space.point(point) for point in itertools.product(*values)}
    assert len(found) == space.count() == 1 + 2 * 2 * 2 * 2  # skipped; widths, kernels, operations
    assert all(space.arch_from_json(arch.to_json()) == arch for arch in found)
    for arch in found:
        skipped, one = arch.blocks[1] == REMOVED, space.network(arch)
        assert (len(list(one.blocks.children())) == 1) == skipped


def test_operations_are_the_blocks_own() -> None:
    space = TestOperations().make_space()
    se, activation = named(space, "blocks.1.se"), named(space, "blocks.1.activation")
    assert (se.kind, se.values, activation.values) == ("operation", (1, 2), (1, 3))
    plain = space.with_value(space.with_value(space.full(), se, 1), activation, 1)
    assert plain.blocks[1].se is False
    assert plain.blocks[1].activation == "relu"
    assert '12, 20, 5, false, "relu"]' in plain.to_json()
    types = [type(kernel).__name__ for kernel in space.kernels(plain)]
    full = [type(kernel).__name__ for kernel in space.kernels(space.full())]
    assert full.count("SqueezeExciteKernel") == types.count("SqueezeExciteKernel") + 1
    assert full.count("ActivationKernel") == types.count("ActivationKernel") + 2
    # The last two widths of a reference are 12: what is listed is all there is.
    assert named(space, "blocks.1.width").values == (8, 12)
    assert space.scaled(0.6).blocks[1].width == 8
    assert [layer.activation for layer in space.drawing(plain)][2] == "relu"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"activations": ["relu"]}, "two or more"),
        ({"activations": ["hardswish", "relu"]}, "in the order relu, hardswish"),
        ({"activations": ["silu", "hardswish"]}, "'relu' among them"),
        ({"activations": ["relu", "tanh"]}, "is one of relu"),
        ({"either_se": True, "searched": False, "max_expansion": 16}, "so it is searched"),
        ({"widths": [16, 8]}, "ascending multiples"),
        ({"widths": [8, 24]}, "one of its widths"),
        ({"widths": [8, 16], "max_width": 24}, "its maximum the last"),
        ({"skip": True, "stride": 2}, "may be left out"),
        ({"skip": True, "repeat": 2, "depths": [1, 2]}, "none is skipped"),
        ({"kind": "residual", "either_se": True}, "no se"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, object], refusal: str) -> None:
    with pytest.raises(SpaceFileError, match=refusal):
        toy(bypass=False, blocks=[row(16), row(16, expansion=16) | changes])


def test_a_space_extends_one_that_comes_along(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "digits"\nname = "mine"\nkernel_sizes = [3, 5]\n')
    space, digits = InvertedResidualSpace.load(mine), InvertedResidualSpace.load("digits")
    assert (space.name, space.kernel_sizes, space.blocks) == ("mine", (3, 5), digits.blocks)
    mine.write_text('extends = "other.toml"\nname = "mine"\n')
    with pytest.raises(SpaceFileError, match="extends is one of digits"):
        Space.load(mine)


def test_fbnetv2_spaces_have_their_choices() -> None:
    space = InvertedResidualSpace.load("fbnetv2_p")
    assert space.input_shape == (1, 3, 288, 288)
    assert space.count() > 10**30
    first, last = space.blocks[1], space.blocks[-1]
    assert first.widths == (16, 20, 24, 28)
    assert last.ratios == ()
    assert named(space, "blocks.17.expansion").values == (0, *space.ratio_values(17))
    kinds = {d.name.split(".")[-1] for d in space.dimensions}
    assert kinds == {"width", "expansion", "kernel_size", "se", "activation"}
    others = [InvertedResidualSpace.load(name).resolutions for name in ("fbnetv2_f", "fbnetv2_l")]
    assert [len(heights) for heights in others] == [4, 2]
    assert InvertedResidualSpace.load("digits_sizes").count() > 1e20


def test_a_family_comes_from_a_registered_name_or_from_outside() -> None:
    assert type(Space.from_table(TOY | {"family": "inverted_residual"})) is InvertedResidualSpace
    other = Space.from_table(STACK)
    assert type(other) is Stack
    with pytest.raises(SpaceFileError, match="the family is"):
        InvertedResidualSpace.from_table(STACK)
    with pytest.raises(ArchError, match="another space"):
        toy().kernels(other.reference())


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("inverted_residuals", "one of encoder_decoder, inverted_residual or package.module:Class"),
        (3, "family is a name"),
        ("", "one of encoder_decoder"),
        ("no.such.module:Space", "there is no 'no'"),
        (f"{__name__}:Nothing", "has no 'Nothing'"),
        ("netadapt.search.errors:ArchError", "subclass of netadapt.search.space.Space"),
    ],
)
def test_a_family_that_is_none_is_refused_in_one_line(family: object, message: str) -> None:
    with pytest.raises(SpaceFileError, match=message) as caught:
        Space.from_table(TOY | {"family": family})
    assert "\n" not in str(caught.value)


def test_options_stand_in_for_the_files_keys() -> None:
    changed = Space.load("digits", bypass=False, classes=7, resolution=20)
    assert changed.options == {"bypass": False}
    assert (changed.classes, changed.input_shape) == (7, (1, 1, 20, 20))
    assert Space.load("digits", bypass=None) == Space.load("digits")
    with pytest.raises(SpaceFileError, match="bypas is not known"):
        Space.load("digits", bypas=False)


WRONG: list[tuple[dict[str, object], str]] = [
    ({"resolution": [12]}, "one side of a square or [height, width]"),
    ({"resolution": [12, 12.5]}, "one side of a square or [height, width]"),
    ({"resolution": [0, 12]}, "resolution is at least 1"),
    ({"resolutions": [12]}, "resolutions are two or more"),
    ({"resolutions": [16, 12]}, "resolutions are two or more"),
    ({"resolutions": [16, 20]}, "resolution is one of the resolutions"),
    ({"expansion_ratios": [3, 2]}, "expansion_ratios ascend"),
    ({"expansion_ratios": [2, 4]}, "are one of (32, 64) by expansion_ratios"),
    ({"stem": {"width": 8, "stride": 1, "kernel_size": 4}}, "stem's kernel_size is odd"),
    ({"stem": {"width": 8, "stride": 1, "activation": "gelu"}}, "stem's activation is one of"),
    ({"stem": None}, "[stem] is missing"),
    ({"squeeze_excite": {"ratio": 0}}, "ratio is above 0"),
    ({"squeeze_excite": {"base": "output"}}, "base is one of expansion, input"),
    ({"squeeze_excite": {"gate": "relu"}}, "gate is one of hardsigmoid, sigmoid"),
    ({"squeeze_excite": {"share": 1}}, "share is not known"),
    ({"search_widths": False, "head": {"width": 8, "max_width": 16}}, "head is not searched"),
    ({"kernel_sizes": [1, 3], "blocks": [row(8, kind="fused")]}, "is dense, its kernels 3 px"),
    ({"widest": 0.9}, "widest is at least 1 and at most 4"),
    ({"widest": 1.5, "search_widths": False}, "widest is 1 where widths are not searched"),
    ({"blocks": [row(8, extra=True)]}, "is extra, so it has stride 1, a bypass and is searched"),
    ({"blocks": [row(8, kind="plain")]}, "one of inverted_residual, fused, residual"),
    ({"blocks": [row(8, kind="residual")]}, "has an expansion and no se"),
    ({"blocks": [row(8, kind="fused", se=True)]}, "a fused block needs an expansion"),
    ({"blocks": [row(8, repeat=2, depths=[1, 2])]}, "needs a space without bypass"),
    (
        {"bypass": False, "blocks": [row(8, repeat=3, depths=[1, 2])]},
        "depths end with the row's repeat",
    ),
    (
        {"bypass": False, "blocks": [row(8, repeat=2, depths=[1, 2], depth=3)]},
        "blocks.0.depth is one of (1, 2)",
    ),
    ({"blocks": [row(8, repeat=2, depth=1)]}, "depth is one of the row's depths"),
    ({"blocks": [row(8, repeat=10**9)]}, "repeat is at least 1 and at most"),
    ({"blocks": [row(8, ratio=float("inf"))]}, "ratio is above 0 and at most"),
    ({"blocks": [row(8, ratio=2, expansion=8)]}, "ratio stands in place of expansion"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_file_with_a_mistake_is_refused_in_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpaceFileError) as caught:
        toy(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


RICH = TOY | {
    "resolution": [16, 12],
    "resolutions": [[12, 8], [16, 12]],
    "expansion_ratios": [2, 3.5],
    "search_widths": False,
    "bypass": False,
    "squeeze_excite": {"ratio": 0.5, "base": "input", "divisor": 1, "gate": "sigmoid"},
    "stem": {"width": 8, "stride": 1, "kernel_size": 5, "activation": "silu"},
    "blocks": [
        row(8, kind="fused", searched=False, shortcut=False),
        row(16, ratio=2, se=True, repeat=3, depths=[1, 2, 3], depth=2),
    ],
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 99),
    st.integers(),
    st.integers(300, 400).map(lambda digits: 10**digits),
    st.floats(),
    st.sampled_from(["", "relu", "fused", "residual", "input", "silu"]),
    st.lists(st.integers(-1, 20) | st.floats(), max_size=3),
    st.lists(st.lists(st.integers(1, 20), max_size=3), max_size=3),
)


@given(st.data())
def test_any_value_anywhere_makes_a_space_or_a_named_error(data: st.DataObject) -> None:
    table = copy.deepcopy(RICH)
    parts = [table, table["stem"], table["squeeze_excite"], *table["blocks"]]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(VALUES)
    try:
        space = Space.from_table(table)
    except SpaceFileError:
        return
    for arch in (space.reference(), space.full(), space.random(np.random.default_rng(0))):
        space.validate(arch)
        assert space.macs(arch) <= space.macs(space.full())
