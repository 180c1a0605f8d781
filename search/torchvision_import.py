"""Importing torchvision, also where its build does not fit torch's."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from netadapt.android_runner.text import printable
from netadapt.search.errors import InvalidSettingError

_MISSING = "torchvision::nms"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_torchvision() -> ModuleType:
    """Import torchvision, also a CUDA build beside a CPU torch, as package registries have it.

    That build's own operators cannot be loaded then, and its first lines refer to two of them by
    name. They are declared without a body: nothing that is used here calls them. Raises
    `ImportError` where it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    from torch.library import Library

    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what was half imported
    _DECLARED.append(declared := Library("torchvision", "DEF"))  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        declared.define(schema)  # type: ignore[no-untyped-call]
    return importlib.import_module("torchvision")


_DECLARED: list[Any] = []
"""Operators are there as long as the library that declares them."""


def torchvision_transforms() -> Any:
    """`torchvision.transforms.v2`. Raises `InvalidSettingError` where it cannot be imported."""
    try:
        import_torchvision()
        return importlib.import_module("torchvision.transforms.v2")
    except ImportError as error:
        raise InvalidSettingError(
            f"RandAugment is torchvision's, it cannot be imported ({printable(str(error))[:200]}); "
            "pip install 'netadapt[images]', or set randaugment = 0"
        ) from error
