"""ExecuTorch's schemas and serialisers, without the compiler that their packages import with them.

`executorch.exir` and `executorch.backends.xnnpack` import all of the exporter when they are
imported themselves, which takes three seconds; what writes programs takes a tenth of that. So
where nobody has imported them yet they stand in, while the serialisers are imported, as packages
with nothing in them but their submodules. They are executed before anything else of theirs is
given: another submodule or a name of their own.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

PACKAGES = ("executorch.exir", "executorch.backends.xnnpack")


class _Unexecuted(ModuleType):
    """A package whose `__init__` runs when something is asked for that it has not."""

    def __getattr__(self, name: str) -> Any:
        # The import system asks for the path before it looks for another submodule.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__dict__["__path__"] = spec.submodule_search_locations
        object.__setattr__(self, "__class__", ModuleType)
        spec.loader.exec_module(self)
        return getattr(self, name)


def _stand_in(name: str) -> ModuleType | None:
    """The package, unexecuted; None where it has been imported."""
    parent, _, last = name.rpartition(".")
    if name in sys.modules:
        return None
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        return None
    package = importlib.util.module_from_spec(spec)
    object.__setattr__(package, "__class__", _Unexecuted)
    sys.modules[name] = package
    setattr(import_module(parent), last, package)
    return package


_standing_in = [package for name in PACKAGES if (package := _stand_in(name)) is not None]

import executorch.backends.xnnpack.serialization.xnnpack_graph_schema as xnnpack_schema  # noqa: E402
import executorch.backends.xnnpack.serialization.xnnpack_graph_serialize as xnnpack_serialize  # noqa: E402
import executorch.backends.xnnpack.utils.xnnpack_constants as xnnpack_constants  # noqa: E402
import executorch.exir.schema as program_schema  # noqa: E402
from executorch.exir._serialize._flatbuffer import _run_flatc as run_flatc  # noqa: E402
from executorch.exir._serialize._named_data_store import NamedDataStore  # noqa: E402
from executorch.exir._serialize._program import PTEFile, serialize_pte_binary  # noqa: E402
from executorch.exir.scalar_type import ScalarType  # noqa: E402
from executorch.extension.pytree import tree_flatten  # noqa: E402

XNNPACK_SCHEMA: bytes = xnnpack_serialize._get_schema_bytes()
"""The schema's text; it is found through the package, while that stands in."""

for _package in _standing_in:
    _package.__dict__.pop("__path__", None)

__all__ = [
    "XNNPACK_SCHEMA",
    "NamedDataStore",
    "PTEFile",
    "ScalarType",
    "program_schema",
    "run_flatc",
    "serialize_pte_binary",
    "tree_flatten",
    "xnnpack_constants",
    "xnnpack_schema",
    "xnnpack_serialize",
]
