"""Networks of timm by name, built without weights; needs the extra `netadapt[reference]`."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from netadapt.errors import ConfigError
from netadapt.search.torchvision_import import import_torchvision
from netadapt.text import one_line

if TYPE_CHECKING:
    from torch import nn

    from netadapt.profiler.kernels import Shape

PREFIX = "timm:"


def build(name: str) -> tuple[nn.Module, Shape]:
    """A network and the shape of its input, batch of 1.

    Raises `ConfigError` for a name that timm does not know, and where timm is not installed.
    """
    import torch

    timm = _timm()
    known = timm.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise ConfigError(
            f"a network of timm has one of its {len(known)} names, got {one_line(name)[:80]!r}; "
            f"{hint}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False).eval()
    config: Any = network.default_cfg
    return network, (1, *config["input_size"])


def _timm() -> ModuleType:
    try:
        import_torchvision()
        return importlib.import_module("timm")
    except ImportError as error:
        raise ConfigError(
            f"networks of timm need timm, it cannot be imported ({one_line(str(error))[:200]}); "
            "pip install 'netadapt[reference]'"
        ) from error
