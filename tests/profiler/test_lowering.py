"""Lowering: the assisted way gives the same bytes, programs compute what the modules compute."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.kernels import (
    Bypass,
    BypassKernel,
    DepthwiseConvKernel,
    Kernel,
    PointwiseConvKernel,
    PointwiseConvNorm,
    SqueezeExciteKernel,
)
from netadapt.profiler.lowering import (
    ProgramCache,
    ShapedNetwork,
    Subject,
    find_lowering,
    fold_norms,
    lower,
    lower_networks,
    lower_subjects,
    xnnpack,
)
from netadapt.profiler.lowering.programs import KERNELS_PAY_FROM, NETWORKS_PAY_FROM

SUBJECTS = [
    Subject(PointwiseConvKernel(16, 24, 7, 7, "relu")),
    Subject(DepthwiseConvKernel(16, 5, 1, 7, 7, "relu"), 3),
    Subject(SqueezeExciteKernel(16, 8, 7, 7)),
    Subject(BypassKernel(24, 16, 24, 7, 7)),
]


def run(program: bytes, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    from executorch.runtime import Runtime

    loaded = Runtime.get().load_program(program)
    return loaded.load_method("forward").execute(list(inputs))[0]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_assisted_lowering_gives_the_same_bytes_and_values(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = subject.kernel.example_inputs()
    assisted = lower(subject.module(), inputs)
    monkeypatch.setattr(xnnpack, "lean_decompositions", lambda exported: nullcontext())
    assert lower(subject.module(), inputs) == assisted
    with torch.no_grad():
        expected = subject.module()(*inputs)
    torch.testing.assert_close(run(assisted, inputs), expected, rtol=1e-4, atol=1e-4)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = PointwiseConvNorm(8, 4)
        self.bypass = Bypass(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.bypass(x, self.project(x))
        return y


def network_with_statistics(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = _Block().eval()
    assert network.project.norm is not None
    network.project.norm.running_mean.normal_()
    network.project.norm.running_var.uniform_(0.2, 3)
    return network


def test_folding_keeps_the_outputs_and_the_original() -> None:
    network = network_with_statistics()
    x = torch.randn(2, 8, 5, 5)
    folded = fold_norms(network)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-5, atol=1e-5)
    assert folded.project.norm is None
    assert network.project.norm is not None


def test_cache_is_by_content(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path)

    def lowered(network: nn.Module, shape: tuple[int, ...] = (1, 8, 5, 5)) -> bytes:
        (program,) = lower_networks([ShapedNetwork(network, shape)], cache)
        return program

    # Of a layer that no program was compared of, the exporter's own is kept beside ours.
    lowered(network_with_statistics(seed=2))
    for path in tmp_path.rglob("*.pte"):
        path.unlink()
    first = lowered(network_with_statistics())
    assert lowered(network_with_statistics()) == first
    files = lambda: sorted(tmp_path.rglob("*.pte"))  # noqa: E731
    assert len(files()) == 1
    assert lowered(network_with_statistics(seed=1)) != first
    lowered(network_with_statistics(), (1, 8, 6, 5))
    assert len(files()) == 3


@pytest.mark.parametrize("damage", ["exchanged", "empty", "cut off", "changed", "without a digest"])
def test_a_program_is_lowered_again_when_its_file_is_not_what_was_kept(
    tmp_path: Path, damage: str
) -> None:
    cache = ProgramCache(tmp_path)
    wanted, other = "a" * 64, "b" * 64
    cache.put(wanted, b"a program")
    cache.put(other, b"another program")
    path = tmp_path / "aa" / f"{wanted}.pte"
    kept = path.read_bytes()
    assert kept.startswith(b"a program"), "runtimes can load the file as it is"
    path.write_bytes(
        {
            "exchanged": (tmp_path / "bb" / f"{other}.pte").read_bytes(),
            "empty": b"",
            "cut off": kept[:-1],
            "changed": b"A" + kept[1:],
            "without a digest": b"a program",
        }[damage]
    )
    assert cache.get(wanted) is None
    assert cache.get(other) == b"another program"
    cache.put(wanted, b"a program")
    assert cache.get(wanted) == b"a program"


def test_kernels_with_damaged_files_are_lowered_again(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path)
    subject, larger = (Subject(PointwiseConvKernel(8, 8 * n, 4, 4)) for n in (1, 8))
    assert lower_subjects([subject, larger], cache, workers=1) == []
    keys = {s: s.cache_key(find_lowering()) for s in (subject, larger)}
    program = cache.get(keys[subject])
    files = {s: tmp_path / key[:2] / f"{key}.pte" for s, key in keys.items()}
    files[subject].write_bytes(files[larger].read_bytes())
    assert lower_subjects([subject, larger], cache, workers=1) == []
    assert cache.get(keys[subject]) == program


def test_processes_fill_the_cache_and_name_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ProgramCache(tmp_path)
    subjects: list[Subject] = [
        Subject(PointwiseConvKernel(8, 8 * i, 4, 4)) for i in range(1, KERNELS_PAY_FROM + 1)
    ]
    seen: list[tuple[int, int]] = []
    done = lower_subjects(subjects, cache, workers=2, on_progress=lambda *p: seen.append(p))
    assert done == []
    assert seen[0] == (0, len(subjects))
    assert seen[-1] == (len(subjects), len(subjects))
    in_process = lower(subjects[3].module(), subjects[3].kernel.example_inputs())
    assert cache.get(subjects[3].cache_key(find_lowering())) == in_process

    def refuse(self: Kernel) -> nn.Module:
        return _Unexportable()

    monkeypatch.setattr(SqueezeExciteKernel, "module", refuse)
    (failure,) = lower_subjects([SUBJECTS[2], subjects[0]], cache, workers=2)
    assert failure.subject == SUBJECTS[2]
    assert "\n" not in failure.message


def test_networks_come_back_in_their_order_from_processes(tmp_path: Path) -> None:
    networks = [network_with_statistics(seed) for seed in range(NETWORKS_PAY_FROM)]
    shaped = [ShapedNetwork(network, (1, 8, 5, 5)) for network in networks]
    programs = lower_networks(shaped, ProgramCache(tmp_path), workers=2)
    x = torch.randn(1, 8, 5, 5)
    for network, program in zip(networks, programs, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(run(program, (x,)), network(x), rtol=1e-4, atol=1e-4)


class _Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * sys.getrefcount(x) if float(x.sum()) > 0 else x


def test_what_cannot_be_lowered_is_one_line() -> None:
    with pytest.raises(LoweringError) as caught:
        lower(_Unexportable(), (torch.zeros(1, 3),))
    assert "\n" not in str(caught.value)


def test_chains_need_a_kernel_that_keeps_its_shape() -> None:
    with pytest.raises(ValueError, match="keeps its shape"):
        Subject(PointwiseConvKernel(8, 16, 4, 4), 2)
