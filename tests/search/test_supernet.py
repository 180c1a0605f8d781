"""A sub-network is the same on slices, masked image by image, and extracted."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.equivalence import archs as peculiar_archs
from benchmarks.equivalence import relative_error, unsettle, unsettled_stats
from netadapt.search.errors import ArchError, InvalidSettingError
from netadapt.search.families.inverted_residual import REMOVED, BlockArch
from netadapt.search.families.inverted_residual import InvertedResidualArch as Arch
from netadapt.search.families.inverted_residual.network import passing_by
from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.space import Space
from netadapt.search.supernet import BatchNormStats, SuperNetwork, calibrate, extract
from netadapt.search.training import OrderedDropoutSettings

TOLERANCE = 1e-4


def make(name: str, bypass: bool) -> SuperNetwork:
    """A small super-network: the blocks of a space on few pixels."""
    space = replace(Space.load(name, bypass=bypass), resolution=(24, 24), dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    supernet = space.supernetwork(generator=generator).eval()
    unsettle(supernet, generator)
    return supernet


def images_of(space: Space, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *space.input_shape[1:], generator=generator) * 2 + 1


def stats_of(supernet: SuperNetwork, arch: Arch) -> BatchNormStats:
    calibrated = calibrate(supernet, arch, images_of(supernet.space, 8, seed=7))
    return unsettled_stats(calibrated, torch.Generator().manual_seed(1))


DIGITS = make("digits", bypass=True)


@pytest.mark.parametrize(("name", "count"), [("digits", 12), ("mobilenet_v3_large", 4)])
@torch.no_grad()
def test_the_extracted_network_gives_what_the_supernetwork_gives(name: str, count: int) -> None:
    supernet = make(name, bypass=True)
    images = images_of(supernet.space, 3)
    for arch in itertools.islice(peculiar_archs(supernet.space, seed=2), count):
        stats = stats_of(supernet, arch)
        generator_state = torch.get_rng_state()
        network = extract(supernet, arch, stats)
        assert torch.equal(torch.get_rng_state(), generator_state)
        expected = supernet(images, arch, stats)
        assert relative_error(network(images), expected) <= TOLERANCE
        assert relative_error(extract(supernet, arch)(images), expected) > 0.01, "stats matter"
        assert sum(p.numel() for p in network.parameters()) == supernet.space.params(arch)


@torch.no_grad()
def test_the_extracted_network_agrees_without_the_bypass_too() -> None:
    supernet = make("digits", bypass=False)
    images = images_of(supernet.space, 3)
    rng = np.random.default_rng(0)
    for _ in range(8):
        arch = supernet.space.random(rng)
        stats = stats_of(supernet, arch)
        expected = supernet(images, arch, stats)
        assert relative_error(extract(supernet, arch, stats)(images), expected) <= TOLERANCE


@pytest.mark.parametrize("name", ["digits", "mobilenet_v3_large"])
@pytest.mark.parametrize("bypass", [True, False])
@torch.no_grad()
def test_masks_give_each_image_its_own_network(name: str, bypass: bool) -> None:
    supernet = make(name, bypass)
    space = supernet.space
    rng = np.random.default_rng(3)
    archs = [space.reference(), *(space.random(rng) for _ in range(9))]
    if bypass:
        archs += itertools.islice(peculiar_archs(space, seed=4), 4)
    else:  # the first block keeps its residual addition only with a stem as wide
        archs += [space.scaled(0.5), replace(space.full(), stem=8)]
    images = images_of(space, len(archs))
    stats = stats_of(supernet, space.full())
    for common in (stats, None):
        together = supernet(images, archs, common)
        for index, arch in enumerate(archs):
            alone = supernet(images[index : index + 1], arch, common)
            assert relative_error(together[index : index + 1], alone) <= TOLERANCE


def block_archs(index: int) -> st.SearchStrategy[BlockArch]:
    spec = DIGITS.space.blocks[index]
    widths = st.integers(1, spec.max_width // 8).map(lambda n: 8 * n)
    expansions = (
        st.integers(1, spec.max_expansion // 8).map(lambda n: 8 * n)
        if spec.expansion
        else st.just(0)
    )
    present = st.builds(BlockArch, widths, expansions, st.sampled_from([3, 5, 7]))
    return st.just(REMOVED) | present if DIGITS.space.removable(index) else present


ARCHS = st.builds(
    Arch,
    st.sampled_from([8, 16]),
    st.tuples(*map(block_archs, range(len(DIGITS.space.blocks)))),
    st.integers(1, 32).map(lambda n: 8 * n),
    st.integers(1, 16).map(lambda n: 8 * n),
)
COMMON = stats_of(DIGITS, DIGITS.full)


@settings(max_examples=25)
@given(st.lists(ARCHS, min_size=1, max_size=5))
def test_any_archs_in_a_batch_leave_each_other_alone(archs: list[Arch]) -> None:
    images = images_of(DIGITS.space, len(archs))
    with torch.no_grad():
        together = DIGITS(images, archs, COMMON)
        for index, arch in enumerate(archs):
            alone = DIGITS(images[index : index + 1], arch, COMMON)
            assert relative_error(together[index : index + 1], alone) <= TOLERANCE


@torch.no_grad()
def test_images_stand_in_any_order() -> None:
    """More runs of kernel sizes than are computed one by one: the images are sorted first."""
    sizes = [3, 7, 5] * 4
    full = DIGITS.full
    archs = [
        replace(full, blocks=tuple(replace(b, kernel_size=k) for b in full.blocks)) for k in sizes
    ]
    images = images_of(DIGITS.space, len(archs))
    together = DIGITS(images, archs, COMMON)
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    grouped = DIGITS(images[order], [archs[i] for i in order], COMMON)
    assert relative_error(together[order], grouped) <= TOLERANCE


def test_what_is_dropped_gets_no_gradient() -> None:
    supernet = DIGITS.space.supernetwork(generator=torch.Generator().manual_seed(0)).train()
    space = supernet.space
    blocks = tuple(
        REMOVED if space.removable(i) else replace(b, width=8, expansion=b.expansion and 8)
        for i, b in enumerate(supernet.full.blocks)
    )
    small = Arch(8, tuple(b if b.removed else replace(b, kernel_size=3) for b in blocks), 8, 8)
    supernet(images_of(space, 4), [small] * 4).square().sum().backward()
    network = supernet.network
    hidden = network.get_parameter("hidden.linear.weight").grad
    depthwise = network.get_parameter("blocks.block1.depthwise.conv.weight").grad
    removed = network.get_parameter("blocks.block2.project.conv.weight").grad
    assert hidden is not None
    assert depthwise is not None
    assert removed is not None
    assert hidden[:8, :8].abs().sum() > 0
    assert hidden[8:].abs().sum() == 0
    assert hidden[:, 8:].abs().sum() == 0
    assert depthwise[:8, :, 2:5, 2:5].abs().sum() > 0
    assert depthwise[8:].abs().sum() == 0
    depthwise[:, :, 2:5, 2:5] = 0
    assert depthwise.abs().sum() == 0, "the rim of the 7x7 kernel"
    assert removed.abs().sum() == 0


def test_one_arch_for_all_images_trains_on_its_slices_as_masks_would() -> None:
    """Without batch norm in between (eval mode), gradients of slices and masks are the same."""
    arch = DIGITS.space.scaled(0.5, kernel_size=5)
    images = images_of(DIGITS.space, 3)
    gradients = []
    for archs in (arch, [arch] * 3):
        DIGITS.zero_grad()
        DIGITS(images, archs, COMMON).square().mean().backward()
        gradients.append([p.grad.clone() for p in DIGITS.parameters() if p.grad is not None])
    DIGITS.zero_grad()
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bypass", [True, False])
@torch.no_grad()
def test_blocks_are_passed_by_in_training_alone(bypass: bool) -> None:
    """Stochastic depth: extracted, on slices and masked, it is the same for the same draws."""
    plain = replace(Space.load("digits", bypass=bypass), resolution=(24, 24))
    space = replace(plain, drop_path=0.6)
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(0))
    images, arch = images_of(space, 16), space.full()
    widths = [arch.stem]
    for index, block in enumerate(arch.blocks):
        # Every block that can be joined is, so that all forms draw alike
        fits = space.join(index) == "residual"
        widths.append(min(block.width, widths[-1]) if fits else block.width)
    blocks = zip(arch.blocks, widths[1:], strict=True)
    arch = replace(arch, blocks=tuple(replace(b, width=width) for b, width in blocks))
    network = extract(supernet, arch).train()
    supernet.train()
    outputs = []
    for forward in (
        network,
        lambda x: supernet(x, arch),
        lambda x: supernet(x, [arch] * len(x)),
        network,
    ):
        torch.manual_seed(3)
        outputs.append(forward(images))
    for other in outputs[1:]:
        assert relative_error(other, outputs[0]) <= TOLERANCE
    torch.manual_seed(4)
    assert relative_error(network(images), outputs[0]) > 0.01
    same = plain.supernetwork(generator=torch.Generator().manual_seed(0)).train()
    assert relative_error(same(images, arch), outputs[0]) > 0.01
    for one in (supernet, same):
        one.load_state_dict(same.state_dict())
        one.eval()
    assert torch.equal(supernet(images, arch), same(images, arch))


def test_what_passes_by_keeps_the_mean_and_grows_from_block_to_block() -> None:
    torch.manual_seed(0)
    kept = passing_by(torch.ones(10_000, 3, 2, 2), 0.25)
    assert kept is not None
    assert kept.shape == (10_000, 1, 1, 1)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert passing_by(torch.ones(2, 1, 1, 1), 0.0) is None
    space = replace(Space.load("digits"), drop_path=0.2)
    shares = [space.drop_path_of(i) for i in range(len(space.blocks))]
    assert shares == pytest.approx(list(np.linspace(0, 0.2, len(shares))))


def test_calibration_takes_the_images_own_statistics_and_leaves_the_network_alone() -> None:
    supernet = DIGITS.space.supernetwork(generator=torch.Generator().manual_seed(0)).train()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    images = images_of(supernet.space, 12)
    arch = supernet.space.scaled(0.5)
    stats = calibrate(supernet, arch, images)
    assert supernet.training
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, before[name]), name
    weight = supernet.network.get_parameter("stem.conv.weight")[: arch.stem]
    stem = torch.nn.functional.conv2d(images, weight, padding=1)
    found = stats.norms["stem"]
    torch.testing.assert_close(found.mean, stem.mean((0, 2, 3)))
    torch.testing.assert_close(found.variance, stem.transpose(0, 1).flatten(1).var(1))
    # In batches: the first layer's mean is the same, whatever the batch's size.
    batched = calibrate(supernet, arch, images, batch_size=5)
    torch.testing.assert_close(batched.norms["stem"].mean, found.mean)
    # The calibrated network normalises these images as training would.
    with torch.no_grad():
        trained = supernet(images, arch)
        assert relative_error(supernet.eval()(images, arch, stats), trained) < 0.05


def test_statistics_of_another_arch_and_in_training_are_refused() -> None:
    space = DIGITS.space
    small = space.scaled(0.5)
    stats = calibrate(DIGITS, small, images_of(space, 4))
    with pytest.raises(ArchError, match="calibrate this arch"):
        DIGITS(images_of(space, 2), space.full(), stats)
    with pytest.raises(ArchError, match="calibrate this arch"):
        extract(DIGITS, space.full(), stats)
    with pytest.raises(ArchError, match="one for each"):
        DIGITS(images_of(space, 2), [small])
    training = space.supernetwork().train()
    with pytest.raises(ArchError, match="eval mode"):
        training(images_of(space, 2), small, stats)


def test_an_arch_that_is_not_in_the_space_is_refused() -> None:
    with pytest.raises(ArchError, match="stem"):
        DIGITS(images_of(DIGITS.space, 2), [replace(DIGITS.full, stem=12)] * 2)


@pytest.mark.parametrize("kernel_per", ["image", "step"])
def test_ordered_dropout_draws_valid_archs_uniformly(kernel_per: str) -> None:
    space = Space.load("digits", bypass=True)
    sample = OrderedDropout(space, OrderedDropoutSettings(kernel_per))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    steps = [sample(64, rng) for _ in range(60)]
    for archs in steps[:3]:
        for arch in archs:
            space.validate(arch)
    assert list(sample(64, np.random.default_rng(0))) == list(steps[0])  # type: ignore[arg-type]
    sizes = np.array([[arch.blocks[1].kernel_size for arch in archs] for archs in steps])
    per_step = {len(set(row)) for row in sizes}
    assert per_step == ({3} if kernel_per == "image" else {1})
    for size in space.kernel_sizes:
        share = (sizes == size).mean(axis=0)  # of every place in the batch
        assert share.min() > 0.1
        assert share.max() < 0.6
    widths = [a.blocks[7].width for s in steps for a in s]
    assert set(widths) == set(range(0, 81, 8))
    assert len(set(steps[0])) == 64


@pytest.mark.parametrize("kernel_per", ["image", "step"])
def test_a_ramp_goes_from_the_full_network_to_drawing_everything(kernel_per: str) -> None:
    space = DIGITS.space
    sample = OrderedDropout(space, OrderedDropoutSettings(kernel_per, (0.2, 0.6)))  # type: ignore[arg-type]
    full = space.full()
    assert sample(8, np.random.default_rng(0), 0.1) == full

    def drawn_shares(progress: float) -> tuple[float, float]:
        """How many images have another than the largest width, and than the largest kernel."""
        rng = np.random.default_rng(0)
        archs = [a for _ in range(60) for a in sample(64, rng, progress)]  # type: ignore[union-attr]
        for arch in archs[:100]:
            space.validate(arch)
        widths = np.mean([a.blocks[7].width != full.blocks[7].width for a in archs])
        sizes = np.mean([a.blocks[1].kernel_size != full.blocks[1].kernel_size for a in archs])
        return float(widths), float(sizes)

    half, whole = drawn_shares(0.4), drawn_shares(0.7)
    assert whole[0] == pytest.approx(10 / 11, abs=0.05)
    assert whole[1] == pytest.approx(2 / 3, abs=0.2)
    assert half[1] == pytest.approx(whole[1] / 2, abs=0.2)
    assert whole[0] * 0.4 < half[0] < whole[0] * 0.75
    if kernel_per == "image":
        archs = sample(60, np.random.default_rng(0), 0.4)
        sizes = [a.blocks[1].kernel_size for a in archs]  # type: ignore[union-attr]
        assert sum(a != b for a, b in itertools.pairwise(sizes)) <= 4, "equal sizes stand together"


def test_ordered_dropout_checks_its_setting() -> None:
    with pytest.raises(InvalidSettingError, match="ascend"):
        OrderedDropoutSettings(ramp=(0.5, 0.2))
    with pytest.raises(InvalidSettingError, match="one of image, step"):
        OrderedDropoutSettings(kernel_per="batch")  # type: ignore[arg-type]
