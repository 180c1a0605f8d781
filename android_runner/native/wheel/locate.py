"""Prints, as a CMake list, what executorch-config.cmake needs to know about the wheel."""

import importlib.metadata
import importlib.util
import sys
import sysconfig
from pathlib import Path


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the Python package {name} is needed, not found; run: pip install {name}")
    return Path(next(iter(spec.submodule_search_locations)))


def libpython() -> Path:
    name = str(sysconfig.get_config_var("INSTSONAME"))
    folders = (
        sysconfig.get_config_var("LIBDIR"),
        sysconfig.get_config_var("LIBPL"),
        f"{sys.base_prefix}/lib",
        f"{sys.base_prefix}/lib/{sysconfig.get_config_var('MULTIARCH')}",
    )
    for folder in folders:
        path = Path(str(folder)) / name
        if path.is_file() and ".so" in name:
            return path
    sys.exit(f"a shared libpython is needed, not found ({name}); install the package libpython3")


if __name__ == "__main__":
    executorch = package_folder("executorch")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    parts = (
        importlib.metadata.version("executorch"),
        executorch,
        executorch / "extension" / "pybindings" / f"_portable_lib{suffix}",
        package_folder("torch") / "lib",
        libpython(),
    )
    sys.stdout.write(";".join(map(str, parts)))
