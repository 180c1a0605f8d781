"""What is called a kernel is what XNNPACK runs."""

from __future__ import annotations

import pytest
import torch

from netadapt.profiler.kernels import (
    ActivationKernel,
    ClampedLinearKernel,
    DepthwiseConvKernel,
    GeneralSqueezeExciteKernel,
    Kernel,
    StandardConvKernel,
)
from netadapt.profiler.lowering import lower
from tests.xnnpack_ops import expected_ops, lowered_ops


@pytest.mark.parametrize(
    "kernel",
    [
        StandardConvKernel(3, 8, 5, 2, 9, 9, "relu6"),
        DepthwiseConvKernel(8, 3, 1, 5, 9, "relu6"),
        ActivationKernel("silu", 8, 5, 4),
        GeneralSqueezeExciteKernel(16, 6, 6, 5, "silu", "sigmoid"),
        ClampedLinearKernel(16, 8, "relu"),
    ],
    ids=lambda kernel: kernel.key,
)
def test_a_kernel_is_what_the_runtime_executes(kernel: Kernel) -> None:
    from executorch.runtime import Runtime

    module, inputs = kernel.module(), kernel.example_inputs()
    with lowered_ops() as ops:
        program = lower(module, inputs)
    assert ops == expected_ops([kernel])
    with torch.no_grad():
        expected = module(*inputs)
    loaded = Runtime.get().load_program(program)
    method = loaded.load_method("forward")
    assert method is not None
    (actual,) = method.execute(list(inputs))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
