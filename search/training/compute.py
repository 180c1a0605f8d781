"""Where networks are trained and judged: a GPU where there is one."""

from __future__ import annotations

import functools
import os

import torch

from netadapt.android_runner.text import printable
from netadapt.search.errors import InvalidSettingError


def compute_device(name: str = "auto") -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1" or another one of torch's.

    "auto" is a GPU where torch has one, else the CPU. Of processes that torchrun started on a
    machine, each has the GPU of its local rank with "auto" and "cuda".

    Raises `InvalidSettingError` for one that torch does not know or this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        said = str(error).strip().partition("\n")[0][:150]
        gpus = torch.cuda.device_count()
        raise InvalidSettingError(
            f"trains_on names a device that torch can use here, which has {gpus} CUDA "
            f"device{'' if gpus == 1 else 's'}, got {name!r} ({said}); set auto or cpu"
        ) from error
    return device


@functools.cache
def check_compiler(device: torch.device) -> None:
    """Try torch.compile on one tensor, once in a process.

    Raises `InvalidSettingError` where it cannot build programs for `device`.
    """
    try:
        torch.compiler.reset()
        torch.compile(torch.sin)(torch.ones(1, device=device))
    except Exception as error:  # whatever a broken compiler leads torch to raise
        said = printable(str(error).strip().partition("\n")[0])[:150]
        raise InvalidSettingError(
            f"compile = true needs a compiler that torch.compile can use, g++ or on a GPU Triton, "
            f"it fails here ({said}); install one, or set compile = false"
        ) from error
