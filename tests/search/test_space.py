"""Spaces: the published network, canonical archs, CBC's channel counts, the file reader."""

from __future__ import annotations

import copy
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.profiler.kernels import AddKernel, BypassKernel, SqueezeExciteKernel
from netadapt.search.errors import ArchError, SpaceFileError
from netadapt.search.families.inverted_residual import REMOVED, BlockArch
from netadapt.search.families.inverted_residual.file import SqueezeExciteSpec, make_divisible
from netadapt.search.space import Dimension, Space
from netadapt.search.space_file import SPACES

NAMES = ("digits", "mobilenet_v3_large")
DIGITS = Space.load("digits", bypass=True)


def dimension(space: Space, name: str) -> Dimension:
    (found,) = (d for d in space.dimensions if d.name == name)
    return found


def test_the_reference_is_the_published_mobilenet_v3_large() -> None:
    space = Space.load("mobilenet_v3_large", bypass=False)
    reference = space.reference()
    assert space.params(reference) == 5_483_032
    assert space.macs(reference) == pytest.approx(219e6, rel=0.02)
    # All residual additions of the published network, and none where 80 channels become 112.
    joins = [k for k in space.kernels(reference) if isinstance(k, AddKernel | BypassKernel)]
    assert joins == [
        AddKernel(c, size, size)
        for c, size in [(16, 112), (24, 56), (40, 28), (40, 28)]
        + [(80, 14)] * 3
        + [(112, 14)]
        + [(160, 7)] * 2
    ]


def test_scaling_by_one_is_the_reference_and_kernels_can_be_set() -> None:
    for name in NAMES:
        space = Space.load(name)
        assert space.scaled(1.0) == space.reference()
        small = space.scaled(0.5, kernel_size=3)
        assert {b.kernel_size for b in small.blocks} == {3}
        assert space.macs(small) < 0.5 * space.macs(space.reference())


@pytest.mark.parametrize("multiplier", [0.0, -1.0, 2.0, float("nan")])
def test_a_multiplier_that_leaves_the_space_is_refused(multiplier: float) -> None:
    with pytest.raises(ArchError):
        DIGITS.scaled(multiplier)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bypass", [True, False])
def test_random_archs_are_valid_and_survive_json(name: str, bypass: bool) -> None:
    space = Space.load(name, bypass=bypass)
    rng = np.random.default_rng(0)
    drawn = [space.random(rng) for _ in range(50)]
    assert len(set(drawn)) == 50
    for arch in drawn:
        space.validate(arch)
        assert space.arch_from_json(arch.to_json()) == arch
        assert space.depth(arch) <= len(space.blocks)
        assert space.planned_memory_bytes(arch) <= space.planned_memory_bytes(space.full())
    assert any(block.removed for arch in drawn for block in arch.blocks) == bypass


def test_the_same_seed_draws_the_same_arch() -> None:
    assert DIGITS.random(np.random.default_rng(3)) == DIGITS.random(np.random.default_rng(3))


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "null", '{"stem": 8}', '{"stem": 8.0, "blocks": [], "head": 8}']
)
def test_text_that_is_no_arch_is_refused(text: str) -> None:
    with pytest.raises(ArchError):
        DIGITS.arch_from_json(text)


@given(st.data())
def test_cbc_gives_what_is_left_of_the_block_and_beyond_it_the_input(data: st.DataObject) -> None:
    """max(min(C, T), M) channels, counted one by one as the paper describes them."""
    index = data.draw(
        st.sampled_from([i for i in range(len(DIGITS.blocks)) if DIGITS.removable(i)])
    )
    largest = DIGITS.blocks[index].max_width
    channels = data.draw(st.integers(1, 2 * largest))
    filters = data.draw(st.integers(0, largest))
    present = [i for i in range(largest) if i < filters or i < channels]
    assert DIGITS.out_channels(index, channels, filters) == len(present)


@given(st.data())
def test_every_smaller_arch_differs_in_its_dimension_only(data: st.DataObject) -> None:
    arch = DIGITS.random(np.random.default_rng(data.draw(st.integers(0, 2**32))))
    chosen = data.draw(st.sampled_from(DIGITS.dimensions))
    value = DIGITS.value(arch, chosen)
    smaller = DIGITS.smaller(arch, chosen)
    values = [DIGITS.value(other, chosen) for other in smaller]
    assert values == [v for v in reversed(chosen.values) if value and v < value]
    for other, v in zip(smaller, values, strict=True):
        DIGITS.validate(other)
        if v:
            assert value is not None
            assert DIGITS.with_value(other, chosen, value) == arch
        else:
            assert REMOVED in other.blocks


def test_zero_filters_and_zero_expansion_are_the_same_arch() -> None:
    full = DIGITS.full()
    without = [
        DIGITS.with_value(full, dimension(DIGITS, f"blocks.4.{name}"), 0)
        for name in ("width", "expansion")
    ]
    assert without[0] == without[1]
    assert without[0].blocks[4] == REMOVED
    assert DIGITS.value(without[0], dimension(DIGITS, "blocks.4.kernel_size")) is None
    assert DIGITS.smaller(without[0], dimension(DIGITS, "blocks.4.width")) == ()
    with pytest.raises(ArchError, match="stays removed"):
        DIGITS.with_value(without[0], dimension(DIGITS, "blocks.4.width"), 8)


def test_only_stride_one_blocks_with_the_bypass_can_vanish() -> None:
    for bypass, removable in ((True, [2, 4, 5, 6, 7]), (False, [])):
        space = Space.load("digits", bypass=bypass)
        zero = {d.name.split(".")[1] for d in space.dimensions if 0 in d.values}
        assert sorted(map(int, zero)) == removable


def test_errors_name_the_allowed_values() -> None:
    with pytest.raises(ArchError, match=r"stem of space 'digits' is one of 8, 16, got 12"):
        DIGITS.with_value(DIGITS.full(), dimension(DIGITS, "stem"), 12)
    with pytest.raises(ArchError, match="another space"):
        DIGITS.value(DIGITS.full(), Dimension("stem", (8,)))
    full = DIGITS.full()
    bad = [
        replace(full, stem=12),
        replace(full, blocks=full.blocks[1:]),
        replace(full, blocks=(REMOVED, *full.blocks[1:])),
        replace(full, blocks=(*full.blocks[:-1], BlockArch(0, 8, 3))),
        replace(full, blocks=(*full.blocks[:-1], BlockArch(8, 0, 3))),
        replace(full, blocks=(*full.blocks[:-1], BlockArch(8, 8, None))),
    ]
    for arch in bad:
        with pytest.raises(ArchError):
            DIGITS.validate(arch)


def test_the_squeeze_width_is_a_quarter_of_the_sampled_expansion() -> None:
    for expansion in (8, 24, 40, 72, 120):
        arch = DIGITS.with_value(DIGITS.full(), dimension(DIGITS, "blocks.4.expansion"), expansion)
        kernels = [k for k in DIGITS.kernels(arch) if isinstance(k, SqueezeExciteKernel)]
        assert kernels[1].channels == expansion
        assert kernels[1].squeeze_channels == make_divisible(expansion / 4, 8)


@pytest.mark.parametrize("spec", [SqueezeExciteSpec(), SqueezeExciteSpec(1 / 24, "input", 1)])
def test_squeezed_channels_are_the_same_for_one_and_for_many(spec: SqueezeExciteSpec) -> None:
    counts = np.arange(0, 2000, 3)
    each = [spec.channels(count, count) for count in counts.tolist()]
    assert spec.channels_of_all(counts, counts).tolist() == each


@given(st.floats(1, 4000), st.sampled_from([1, 4, 8, 16]))
def test_make_divisible_rounds_and_never_loses_a_tenth(value: float, divisor: int) -> None:
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= 0.9 * value
    assert rounded <= max(value + divisor, divisor)


def test_planned_memory_counts_the_kept_block_input() -> None:
    """In the middle of a joined block its input is alive beside both sides of the depthwise."""
    arch = replace(
        DIGITS.full(),
        stem=8,
        blocks=(
            BlockArch(8, 0, 3),
            BlockArch(24, 8, 3),
            BlockArch(24, 72, 3),
            *DIGITS.full().blocks[3:],
        ),
    )
    at_24_px = 24 * 24 * (8 + 8 + 8)  # the first block's addition; its middle holds as much
    at_12_px = 12 * 12 * (24 + 72 + 72)
    assert DIGITS.planned_memory_bytes(arch) == 4 * max(at_24_px, at_12_px)
    without_block_2 = DIGITS.with_value(arch, dimension(DIGITS, "blocks.2.expansion"), 0)
    at_6_px = 6 * 6 * (64 + 256 + 256)
    assert DIGITS.planned_memory_bytes(without_block_2) == 4 * max(at_24_px, at_6_px)


def test_a_file_of_your_own_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((SPACES / "digits.toml").read_text())
    assert Space.load(path) == Space.load("digits")
    assert Space.load(path, bypass=False) != Space.load("digits")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("in_channels = 1", "", "in_channels is missing"),
        ("in_channels = 1", "in_channels = true", "in_channels is of type int"),
        ("in_channels = 1", "in_channels = 0", "at least 1"),
        ("in_channels = 1", "in_chanels = 1\nin_channels = 1", "in_chanels is not known"),
        ("width_step = 8", "width_step = 5", "multiples of width_step"),
        ("[3, 5, 7]", "[3, 4]", "kernel_sizes are odd"),
        ("[3, 5, 7]", "[5, 7]", "kernel_size is one of"),
        ("expansion = 72", "expansion = 73", "multiples of width_step"),
        ("width = 24, activation", "width = 24, max_width = 16, activation", "ascending"),
        ("width = 80", "width = 56", "max_width is at least its input's, 64"),
        ('"relu"', '"gelu"', "activation is one of"),
        ("stride = 2 },", "stride = 3 },", "stride is 1 or 2"),
        ("blocks = [", "blocks = [ 3,", "blocks is of type dict"),
        ("dropout = 0.0", "dropout = 1.0", "dropout"),
        ("dropout = 0.0", f"dropout = 1{'0' * 400}", "dropout is in [0, 1), got inf"),
        ("dropout = 0.0", "dropout = inf", "dropout is in [0, 1), got inf"),
        ("resolution = 24", "resolution = 1000000000", "resolution is at least 1 and at most"),
        ("resolution = 24", f"resolution = 0x{'f' * 5000}", "a value too long to show"),
        ("resolution = 24", f"resolution = {'9' * 5000}", "is readable TOML"),
        ("classes = 10", "classes = inf", "classes is of type int, got inf"),
        ("in_channels = 1", "in_channels = 1000000000", "in_channels is at least 1 and at most"),
        (
            "width = 256",
            f"width = 256\nmax_width = 8{'0' * 400}",
            "head has at most 65536 channels",
        ),
        ("width = 256", "width = 256\nmax_width = 8000000000", "head has at most 65536 channels"),
        ("kernel_sizes = [3, 5, 7]", "kernel_sizes = [3, 5, 7, 1000001]", "kernels have at most"),
        ("blocks = [", f"blocks = {'[' * 100_000}", "is readable TOML"),
        ("width = 256", "width = 256\nmax_width = 264\nsearched = false", "head is not searched"),
    ],
)
def test_a_file_with_a_mistake_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (SPACES / "digits.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SpaceFileError, match=re.escape(message)) as caught:
        Space.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceFileError, match=r"digits, .*, mobilenet_v3_large, .* or a TOML"):
        Space.load("digit")
    for content in (b"\xff\xfe", b"name = ", b""):
        path = tmp_path / "broken.toml"
        path.write_bytes(content)
        with pytest.raises(SpaceFileError):
            Space.load(path)
    with pytest.raises(SpaceFileError):
        Space.load(tmp_path / "none.toml")


TABLE = tomllib.loads((SPACES / "digits.toml").read_text())
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 99),
    st.floats(),
    st.text(max_size=3),
    st.integers(),
    st.floats(),
    st.integers(300, 400).map(lambda digits: 10**digits),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(st.sampled_from(["width", "stride"]), st.integers(0, 16)),
)


@given(st.data())
def test_any_value_anywhere_makes_a_space_or_a_named_error(data: st.DataObject) -> None:
    table = copy.deepcopy(TABLE)
    part = data.draw(st.sampled_from([table, table["stem"], table["hidden"], *table["blocks"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(VALUES)
    try:
        space = Space.from_table(table)
    except SpaceFileError:
        return
    space.validate(space.reference())
    assert space.macs(space.full()) >= space.macs(space.reference()) > 0


def test_what_is_not_searched_stays_as_the_reference_has_it() -> None:
    table = copy.deepcopy(TABLE)
    table["head"]["searched"] = table["stem"]["searched"] = table["blocks"][4]["searched"] = False
    space = Space.from_table(table)
    names = {d.name for d in space.dimensions}
    assert not names & {"head", "stem"}
    assert not any(name.startswith("blocks.4.") for name in names)
    for arch in (space.full(), space.scaled(0.5, 3), space.random(np.random.default_rng(0))):
        space.validate(arch)
        assert arch.head == space.head.width
        assert arch.blocks[4] == space.reference().blocks[4]


def test_a_space_forgets_rather_than_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netadapt.search.families.inverted_residual.space.MAX_PARTS", 20)
    space = Space.load("digits")
    rng = np.random.default_rng(0)
    for arch in (space.random(rng) for _ in range(30)):
        assert space.kernels(arch) == Space.load("digits").kernels(arch)
