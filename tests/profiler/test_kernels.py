"""Kernels: shapes, work and parameters against torch's own counting, and their text form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from netadapt.profiler.errors import UnknownKernelError, UnknownLayerError
from netadapt.profiler.kernels import (
    Activation,
    ActivationKernel,
    AddKernel,
    Bypass,
    BypassKernel,
    ClampedLinearKernel,
    ConvNorm,
    DepthwiseConvKernel,
    DepthwiseConvNorm,
    GeneralSqueezeExciteKernel,
    GlobalPool,
    GlobalPoolKernel,
    Kernel,
    Linear,
    LinearKernel,
    PointwiseConvKernel,
    PointwiseConvNorm,
    SqueezeExcite,
    SqueezeExciteKernel,
    StandardConvKernel,
    StandardConvNorm,
    UpsampleKernel,
    kernel_types,
    record_kernels,
)

KERNELS = [
    UpsampleKernel("bilinear", 8, 5, 7),
    UpsampleKernel("nearest", 8, 5, 7),
    StandardConvKernel(3, 16, 3, 2, 33, 32, "relu"),
    StandardConvKernel(3, 8, 5, 1, 9, 9),
    PointwiseConvKernel(16, 24, 7, 5, "relu"),
    DepthwiseConvKernel(16, 3, 1, 14, 14, "relu"),
    DepthwiseConvKernel(8, 7, 2, 13, 14),
    DepthwiseConvKernel(8, 3, 1, 5, 9, "relu6"),
    SqueezeExciteKernel(32, 8, 6, 6),
    GeneralSqueezeExciteKernel(24, 6, 6, 5, "silu", "sigmoid"),
    GeneralSqueezeExciteKernel(24, 8, 6, 5, "relu", "sigmoid"),
    LinearKernel(64, 10),
    ClampedLinearKernel(64, 10, "relu"),
    GlobalPoolKernel(16, 7, 7),
    AddKernel(16, 7, 7),
    BypassKernel(24, 16, 24, 7, 7),
    BypassKernel(16, 24, 24, 7, 7),
    BypassKernel(40, 16, 32, 7, 7),
    ActivationKernel("hardswish", 16, 7, 7),
    ActivationKernel("silu", 16, 7, 5),
]
IDS = [kernel.key for kernel in KERNELS]


def test_every_type_is_tried() -> None:
    assert {kernel.type_name for kernel in KERNELS} == set(kernel_types())


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_module_has_the_stated_output_shape(kernel: Kernel) -> None:
    output = kernel.module()(*kernel.example_inputs())
    assert tuple(output.shape) == kernel.output_shape
    assert output.numel() == kernel.output_elements


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_macs_agree_with_torch(kernel: Kernel) -> None:
    with FlopCounterMode(display=False) as counter:
        kernel.module()(*kernel.example_inputs())
    assert kernel.macs == counter.get_total_flops() // 2


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_params_agree_with_the_module_before_folding(kernel: Kernel) -> None:
    module = kernel.module()
    count = sum(p.numel() for p in module.parameters())
    if isinstance(module, ConvNorm):
        # Folded: a bias for each filter where the unfolded layer has a scale and a shift.
        count += module.conv.out_channels
    assert kernel.params == count


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_key_round_trip(kernel: Kernel) -> None:
    assert Kernel.from_key(kernel.key) == kernel


@given(
    st.builds(
        PointwiseConvKernel,
        *(st.integers(1, 2000) for _ in range(4)),
        st.sampled_from(["none", "relu"]),
    )
)
def test_any_key_round_trips(kernel: Kernel) -> None:
    assert Kernel.from_key(kernel.key) == kernel


@given(st.text(max_size=60))
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UnknownKernelError) as caught:
        Kernel.from_key(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["linear(in_features=0, out_features=4)", "linear(in_features=4)", "linear(a=1, b=2)"]
)
def test_keys_with_wrong_fields_are_refused(key: str) -> None:
    with pytest.raises(UnknownKernelError, match="fields of a linear kernel"):
        Kernel.from_key(key)


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_inputs_are_seeded_and_not_zero(kernel: Kernel) -> None:
    first, again, other = (kernel.example_inputs(seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(x.std() > 0.3 for x in first if x.numel() > 8)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = StandardConvNorm(3, 8, 3, 2)
        self.stem_activation = Activation("hardswish")
        self.expand = PointwiseConvNorm(8, 16, activation="relu")
        self.depthwise = DepthwiseConvNorm(16, 5, activation="relu")
        self.excite = SqueezeExcite(16, 8)
        self.project = PointwiseConvNorm(16, 4)
        self.bypass = Bypass(8)
        self.pool = GlobalPool()
        self.hidden = Linear(8, 12)
        self.hidden_activation = Activation("hardswish")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem_activation(self.stem(x))
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return self.hidden_activation(self.hidden(self.pool(self.bypass(x, y))))


def test_recorded_kernels_follow_execution() -> None:
    network = _Network().train()
    assert record_kernels(network, (1, 3, 16, 16)) == [
        StandardConvKernel(3, 8, 3, 2, 16, 16),
        ActivationKernel("hardswish", 8, 8, 8),
        PointwiseConvKernel(8, 16, 8, 8, "relu"),
        DepthwiseConvKernel(16, 5, 1, 8, 8, "relu"),
        SqueezeExciteKernel(16, 8, 8, 8),
        PointwiseConvKernel(16, 4, 8, 8),
        BypassKernel(8, 4, 8, 8, 8),
        GlobalPoolKernel(8, 8, 8),
        LinearKernel(8, 12),
        ActivationKernel("hardswish", 12, 1, 1),
    ]
    assert network.training, "recording must leave the mode as it was"


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_bypass_joins_channel_by_channel(in_channels: int, filters: int, limit: int) -> None:
    out_channels = max(min(in_channels, limit), filters)
    x = torch.randn(1, in_channels, 2, 2)
    y = torch.randn(1, filters, 2, 2)
    joined = Bypass(out_channels)(x, y)
    assert joined.shape[1] == out_channels
    for i in range(out_channels):
        expected = torch.zeros(1, 2, 2)
        if i < in_channels:
            expected = expected + x[:, i]
        if i < filters:
            expected = expected + y[:, i]
        assert torch.equal(joined[:, i], expected)


def test_a_convolution_refuses_what_is_not_fused() -> None:
    with pytest.raises(ValueError, match="Activation module"):
        PointwiseConvNorm(8, 8, activation="hardswish")


class Mixed(nn.Module):
    """Known modules among layers that are none of ours."""

    def __init__(self, *, only_known: bool) -> None:
        super().__init__()
        self.convolution = nn.Identity() if only_known else nn.Conv2d(8, 8, 3, padding=1)
        self.known = PointwiseConvNorm(8, 4, activation="relu")
        self.pool = GlobalPool()
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.5)
        self.classifier = Linear(4, 2) if only_known else nn.Linear(4, 2)
        self.only_known = only_known

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.flatten(self.pool(self.known(self.convolution(x))))
        if not self.only_known:
            x = x * 2
        y: torch.Tensor = self.classifier(self.dropout(x)).reshape(-1, 2)
        return y


def test_layers_that_are_not_known_are_an_error_that_names_them() -> None:
    network = Mixed(only_known=False)
    with pytest.raises(UnknownLayerError) as caught:
        record_kernels(network, (1, 8, 5, 5))
    message = str(caught.value)
    assert "convolution: Conv2d (convolution)" in message
    assert "classifier: Linear (" in message
    assert "forward: Mixed (mul)" in message
    assert "known: " not in message
    assert "netadapt.profiler.kernels" in message
    assert "\n" not in message
    assert network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_what_costs_nothing_needs_no_kernel() -> None:
    kernels = record_kernels(Mixed(only_known=True), (1, 8, 5, 5))
    assert [k.type_name for k in kernels] == ["pointwise_conv", "global_pool", "linear"]


@pytest.mark.parametrize(
    "key",
    [
        f"linear(in_features=1{'0' * 400}, out_features=1)",
        f"linear(in_features={2**31}, out_features=1)",
        f"linear(in_features=1{'0' * 5000}, out_features=1)",
        "linear(in_features=infinity, out_features=1)",
        "linear(in_features=1, in_features=2, out_features=1)",
        "linear(in_features, out_features=1)",
        "activation(function=7, channels=1, height=1, width=1)",
    ],
)
def test_numbers_that_no_tensor_has_are_refused(key: str) -> None:
    with pytest.raises(UnknownKernelError) as caught:
        Kernel.from_key(key)
    assert len(str(caught.value)) < 700
