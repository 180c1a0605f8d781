"""The runner builds against whatever is installed like ExecuTorch, and says what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from netadapt.android_runner import BuildError
from netadapt.android_runner.building.binary import find_phone_runner
from netadapt.android_runner.building.cmake import explain_failure, find_tool
from netadapt.android_runner.building.elf import library_machine, read_elf, this_machine
from netadapt.android_runner.building.for_host import _compiler
from netadapt.android_runner.building.for_install import (
    BuiltRunner,
    build_for_install,
)
from netadapt.android_runner.building.installs import find_package, version_of
from netadapt.android_runner.runner.protocol import FrameParser, Hello

PRETENDED = Path(__file__).parent / "pretend_executorch"
NEEDED = (
    "executorch", "extension_data_loader", "extension_threadpool", "xnnpack_backend",
    "portable_ops_lib",
)  # fmt: skip
FLAGS = {
    "extension_data_loader": "-DEXECUTORCH_BUILD_EXTENSION_DATA_LOADER=ON",
    "extension_threadpool": "-DEXECUTORCH_BUILD_PTHREADPOOL=ON",
    "xnnpack_backend": "-DEXECUTORCH_BUILD_XNNPACK=ON",
    "portable_ops_lib": "-DEXECUTORCH_BUILD_PORTABLE_OPS=ON",
    "executorch": "not whole",
}
# As toolchain files for boards are: everything is looked for in the board's file system alone, and
# the processor's name is left out.
HIDING_TOOLCHAIN = """\
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
"""

needs_cross_compiler = pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None,
    reason="no cross compiler for aarch64 (apt install g++-aarch64-linux-gnu)",
)


def _install(folder: Path, *arguments: str) -> Path:
    """Build and install what looks like ExecuTorch; its build tree is gone afterwards."""
    spec = importlib.util.find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    headers = Path(next(iter(spec.submodule_search_locations))) / "include"
    build, prefix = folder / "build", folder / "prefix"
    cmake = find_tool("cmake")
    for command in (
        [cmake, "-S", PRETENDED, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
         f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}", f"-DHEADERS={headers}", *arguments],
        [cmake, "--build", build],
        [cmake, "--install", build, "--prefix", prefix],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(build)
    return prefix


@pytest.fixture(scope="session")
def native_install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _install(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="session")
def native_runner(native_install: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltRunner:
    folder = tmp_path_factory.mktemp("runner")
    return build_for_install(native_install, out=folder / "bin" / "runner")


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("toolchain") / "aarch64.cmake"
    file.write_text(HIDING_TOOLCHAIN)
    return file


@pytest.fixture(scope="session")
def aarch64_install(tmp_path_factory: pytest.TempPathFactory, toolchain: Path) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    return _install(folder, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DSTRAY=ON")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETADAPT_CACHE", str(tmp_path / "cache"))


def _hello(*command: str | Path) -> Hello:
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    (hello,) = FrameParser().feed(done.stdout)
    assert isinstance(hello, Hello)
    return hello


def _sections(path: Path) -> str:
    return subprocess.run(
        ["readelf", "-S", path], capture_output=True, text=True, check=True, timeout=30
    ).stdout


def _handmade(folder: Path, config: str) -> Path:
    """An install whose package is just this file."""
    package = folder / "lib" / "cmake" / "ExecuTorch"
    package.mkdir(parents=True)
    (package / "executorch-config.cmake").write_text(config)
    return folder


def _targets(*names: str) -> str:
    return "".join(f"add_library({name} INTERFACE IMPORTED)\n" for name in names)


def _one_line(error: pytest.ExceptionInfo[BuildError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_against_an_install_for_this_machine(native_runner: BuiltRunner) -> None:
    runner = native_runner
    assert runner.path.parts[-2:] == ("bin", "runner")
    assert runner.machine == this_machine()
    hello = _hello(runner.path)
    # Both are lost without a word where a library is not linked as a whole.
    assert hello.backends == ("XnnpackBackend",)
    assert hello.kernels == 1
    assert hello.runtime == runner.runtime_version
    assert hello.abi == f"{this_machine()}-Linux"
    assert runner.static == ("static" in hello.options)
    assert ".symtab" not in _sections(runner.path)


@needs_cross_compiler
def test_against_an_install_that_the_toolchain_hides_and_whose_build_tree_is_gone(
    aarch64_install: Path, toolchain: Path
) -> None:
    targets = aarch64_install / "lib" / "cmake" / "ExecuTorch" / "ExecuTorchTargets-release.cmake"
    assert "stray/libextension_evalue_util.a" in targets.read_text()
    runner = build_for_install(aarch64_install, toolchain=toolchain, android=True).binary
    facts = read_elf(runner.path.read_bytes())
    assert facts.machine == "aarch64"
    assert facts.interpreter is None
    assert ".symtab" not in _sections(runner.path)
    assert find_phone_runner("arm64-v8a") == runner
    if qemu := shutil.which("qemu-aarch64"):
        hello = _hello(qemu, runner.path)
        assert hello.abi == "aarch64-Linux"
        assert hello.backends == ("XnnpackBackend",)
        assert hello.kernels == 1


@needs_cross_compiler
def test_the_usual_cross_compiler_is_found_by_the_installs_processor(aarch64_install: Path) -> None:
    (find_package(aarch64_install) / "executorch-config-version.cmake").write_text(
        'set(PACKAGE_VERSION "1.4.9")\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n'
    )
    runner = build_for_install(aarch64_install)
    assert runner.runtime_version == "1.4.9"  # what the package says comes first
    assert (runner.machine, runner.abi, runner.static) == ("aarch64", "arm64-v8a", True)


def _also_linking(install: Path, folder: Path, soname: str, library: str) -> Path:
    """A copy of an install whose XNNPACK names this library of the compiler's by a file's name.

    The file lies in a folder that the linker does not look into by itself, as a cross compiler's.
    """
    copy, found = folder / "copy", folder / "usr" / "lib"
    shutil.copytree(install, copy)
    asked = [_compiler(), f"-print-file-name={soname}"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout
    found.mkdir(parents=True)
    shutil.copy(said.strip(), found / library)
    config = find_package(copy) / "executorch-config.cmake"
    config.write_text(
        f"{config.read_text()}\n"
        "set_property(TARGET xnnpack_backend APPEND PROPERTY INTERFACE_LINK_LIBRARIES "
        f'"$<LINK_ONLY:{found / library}>")\n'
    )
    return copy


def test_libm_by_its_file_does_not_keep_a_runner_from_being_static(
    native_install: Path, native_runner: BuiltRunner, tmp_path: Path
) -> None:
    """Toolchain files that confine CMake's search to a folder make installs name libm so."""
    copy = _also_linking(native_install, tmp_path, "libm.so.6", "libm.so")
    runner = build_for_install(copy, out=tmp_path / "runner")
    assert runner.static == native_runner.static
    assert _hello(runner.path).backends == ("XnnpackBackend",)


def test_why_the_linker_refuses_is_said(native_install: Path, tmp_path: Path) -> None:
    copy = _also_linking(native_install, tmp_path, "libgcc_s.so.1", "libgcc_s.so.1")
    toolchain = tmp_path / "static.cmake"
    toolchain.write_text('set(NETADAPT_STATIC ON CACHE STRING "")\n')
    with pytest.raises(BuildError, match=r"static link of dynamic object .*libgcc_s") as error:
        build_for_install(copy, toolchain=toolchain, out=tmp_path / "runner")
    assert "xnnpack" not in _one_line(error)  # not all of the command


@pytest.mark.parametrize(
    "output",
    [
        # GNU ld, its aarch64 build, and LLVM's lld, which the NDK has
        "/usr/bin/ld: libexecutorch_core.a(core.o): Relocations in generic ELF (EM: 183)\n",
        "aarch64-linux-gnu/bin/ld: core.cpp.o: file in wrong format\ncollect2: error: ld\n",
        "ld.lld: error: libexecutorch_core.a(core.o) is incompatible with aarch64linux\n",
    ],
)
def test_a_toolchain_for_another_processor_than_the_installs(output: str) -> None:
    assert "libraries are for another" in explain_failure(output, 1)


def test_what_a_compiler_says_is_passed_on() -> None:
    output = "[1/5] Building\nrunner.cpp:3:10: error: no such header\nmore\n"
    assert "runner.cpp:3:10: error: no such header more" in explain_failure(output, 1)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (
            "[5/5] Linking\nFAILED: netadapt_runner\n: && /usr/bin/g++ -Werror=x -static a.o\n"
            "/usr/lib/gcc-cross/aarch64-linux-gnu/12/../bin/ld: attempted static link of dynamic "
            "object `/usr/aarch64-linux-gnu/lib/libm.so'\n"
            "collect2: error: ld returned 1 exit status\nninja: build stopped\n",
            "(ld: attempted static link of dynamic object `/usr/aarch64-linux-gnu/lib/libm.so')",
        ),
        (
            "/usr/bin/ld: warning: x.o: missing .note.GNU-stack\n/usr/bin/ld: a.o: in function `f':"
            "\na.cpp:(.text+0x5): undefined reference to `g'\ncollect2: error: ld returned 1\n",
            "undefined reference to `g'",
        ),
        ("ld.lld: error: undefined symbol: g\n>>> referenced by a.cpp\n", "undefined symbol: g"),
    ],
)
def test_the_linkers_own_line_is_shown(output: str, why: str) -> None:
    said = explain_failure(output, 1)
    assert why in said
    assert "-Werror" not in said
    assert "warning" not in said


def test_the_version_is_that_of_the_same_headers(native_install: Path, tmp_path: Path) -> None:
    package = find_package(native_install)
    assert version_of(package) == importlib.metadata.version("executorch")
    copy = tmp_path / "copy"
    shutil.copytree(native_install, copy)
    header = copy / "include" / "executorch" / "runtime" / "platform" / "log.h"
    header.write_text(header.read_text() + "// of another version\n")
    assert version_of(find_package(copy)) is None
    (copy / "lib" / "pkgconfig").mkdir()
    (copy / "lib" / "pkgconfig" / "executorch.pc").write_text("Name: executorch\nVersion: 1.5.2\n")
    assert version_of(find_package(copy)) == "1.5.2"


@pytest.mark.parametrize("name", ["executorch-config.cmake", "ExecuTorchConfig.cmake"])
@pytest.mark.parametrize("folder", ["lib/cmake/ExecuTorch", "lib64/cmake/ExecuTorch",
                                    "lib/aarch64-linux-gnu/cmake/ExecuTorch",
                                    "lib/cmake/executorch"])  # fmt: skip
def test_where_the_package_is_looked_for(tmp_path: Path, name: str, folder: str) -> None:
    package = tmp_path / folder
    package.mkdir(parents=True)
    (package / name).touch()
    for given in (tmp_path, package, package / name):
        assert find_package(given) == package


def test_another_name_of_the_package_is_found(tmp_path: Path) -> None:
    package = tmp_path / "lib64" / "cmake" / "ExecuTorch"
    package.mkdir(parents=True)
    (package / "ExecuTorchConfig.cmake").write_text(_targets(*NEEDED[:-1]))
    with pytest.raises(BuildError, match="lacks portable_ops_lib"):
        build_for_install(tmp_path)


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_component_is_named_with_its_flag(tmp_path: Path, missing: str) -> None:
    prefix = _handmade(tmp_path, _targets(*(name for name in NEEDED if name != missing)))
    with pytest.raises(BuildError, match=f"lacks {missing};") as error:
        build_for_install(prefix)
    assert FLAGS[missing] in _one_line(error)


def test_optimized_operators_stand_in_for_portable_ones(tmp_path: Path) -> None:
    prefix = _handmade(tmp_path, _targets(*NEEDED[:-1], "optimized_native_cpu_ops_lib"))
    with pytest.raises(BuildError) as error:
        build_for_install(prefix)
    assert "lacks" not in _one_line(error)  # it goes on to compiling, without headers


def test_a_needed_library_that_is_not_where_the_package_says(
    native_install: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(native_install, copy)
    (copy / "lib" / "libxnnpack_backend.a").unlink()
    with pytest.raises(BuildError, match="lacks xnnpack_backend;") as error:
        build_for_install(copy)
    _one_line(error)


def test_an_event_tracer_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prefix = _handmade(
        tmp_path,
        _targets(*NEEDED)
        + "target_compile_definitions(executorch INTERFACE ET_EVENT_TRACER_ENABLED)\n",
    )
    with caplog.at_level(logging.WARNING), pytest.raises(BuildError):
        build_for_install(prefix)
    assert any("EXECUTORCH_ENABLE_EVENT_TRACER=OFF" in record.message for record in caplog.records)


def test_no_install(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"must be there, .*nowhere is not") as error:
        find_package(tmp_path / "nowhere")
    _one_line(error)
    with pytest.raises(BuildError, match="EXECUTORCH_BUILD_XNNPACK=ON") as error:
        find_package(tmp_path)
    _one_line(error)
    (tmp_path / "CMakeCache.txt").touch()
    with pytest.raises(BuildError, match="cmake --install"):
        find_package(tmp_path)


def test_the_python_package_is_no_install() -> None:
    spec = importlib.util.find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with pytest.raises(BuildError, match="is the Python package"):
        find_package(Path(next(iter(spec.submodule_search_locations))))


def test_a_missing_toolchain(tmp_path: Path) -> None:
    prefix = _handmade(tmp_path, _targets(*NEEDED))
    with pytest.raises(BuildError, match=r"none\.cmake is not") as error:
        build_for_install(prefix, toolchain=tmp_path / "none.cmake")
    _one_line(error)
    toolchain = tmp_path / "toolchain.cmake"
    toolchain.write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_C_COMPILER no-such-gcc)\n"
        "set(CMAKE_CXX_COMPILER no-such-g++)\n"
    )
    with pytest.raises(BuildError, match=r"no-such-g\S+ was not found") as error:
        build_for_install(prefix, toolchain=toolchain)
    _one_line(error)
    with pytest.raises(BuildError, match="got both"):
        build_for_install(prefix, toolchain=toolchain, ndk=tmp_path)


def test_a_wrong_ndk_path(tmp_path: Path) -> None:
    prefix = _handmade(tmp_path / "prefix", _targets(*NEEDED))
    sdk = tmp_path / "sdk"
    sdk.mkdir()
    with pytest.raises(BuildError, match=r"android\.toolchain\.cmake") as error:
        build_for_install(prefix, ndk=sdk)
    _one_line(error)
    inside = sdk / "ndk" / "27.2" / "build" / "cmake"
    inside.mkdir(parents=True)
    (inside / "android.toolchain.cmake").touch()
    with pytest.raises(BuildError, match=r"did you mean .*sdk/ndk/27\.2\?"):
        build_for_install(prefix, ndk=sdk)


def test_an_ndk_is_asked_for_the_abi_and_the_oldest_android(
    tmp_path: Path,
) -> None:
    """Not a test of an NDK: only that its toolchain file gets the settings it documents."""
    prefix = _handmade(tmp_path / "prefix", _targets(*NEEDED))
    folder = tmp_path / "ndk" / "build" / "cmake"
    folder.mkdir(parents=True)
    (folder / "android.toolchain.cmake").write_text(
        'message(FATAL_ERROR "netadapt: ${ANDROID_ABI} ${ANDROID_PLATFORM} ${ANDROID_STL}")\n'
    )
    for abi, expected in ((None, "arm64-v8a"), ("x86_64", "x86_64")):
        with pytest.raises(BuildError) as error:
            build_for_install(prefix, ndk=tmp_path / "ndk", abi=abi)
        assert _one_line(error).startswith(f"{expected} android-26 c++_static ")


def test_the_abi_is_checked(native_install: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="an ABI is one of arm64-v8a"):
        build_for_install(native_install, abi="arm64")
    with pytest.raises(BuildError, match="install must be for armeabi-v7a") as error:
        build_for_install(native_install, abi="armeabi-v7a", out=tmp_path / "runner")
    _one_line(error)
    assert not (tmp_path / "runner").exists()


@pytest.mark.slow
def test_a_program_that_needs_linuxs_loader_is_no_runner_for_phones(
    native_install: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(native_install, copy)
    header = copy / "include" / "executorch" / "runtime" / "platform" / "log.h"
    header.write_text(header.read_text() + "// of another version\n")
    toolchain = tmp_path / "dynamic.cmake"
    toolchain.write_text('set(NETADAPT_STATIC OFF CACHE STRING "")\n')
    with pytest.raises(BuildError, match="must be static or made by the NDK") as error:
        build_for_install(copy, toolchain=toolchain, android=True)
    _one_line(error)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        runner = build_for_install(copy, toolchain=toolchain, out=tmp_path / "runner")
    assert not runner.static
    assert runner.runtime_version == _hello(runner.path).runtime == "unknown"
    assert any("--runtime-version" in record.message for record in caplog.records)
    assert _hello(runner.path).backends == ("XnnpackBackend",)


def _archive_of(number: int) -> bytes:
    """A static library with one object for this ELF machine, after a table of symbols."""
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 1, number) + bytes(44)
    members = (("/", b"\0" * 5), ("one.o/", elf))
    return b"!<arch>\n" + b"".join(
        f"{name:<16}{'0':<32}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        for name, data in members
    )


def test_a_processor_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = _handmade(tmp_path, _targets(*NEEDED))
    (prefix / "include").mkdir()
    library = prefix / "lib" / "libexecutorch.a"
    library.write_bytes(_archive_of(243))
    assert library_machine(library) == "riscv64"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"apt install g\+\+-riscv64-linux-gnu") as error:
        build_for_install(prefix)
    _one_line(error)


def test_elf_headers() -> None:
    facts = read_elf(Path(sys.executable).read_bytes())
    assert facts.machine == this_machine()
    assert facts.interpreter is not None
    for data in (b"", b"#!/bin/sh\n" * 10, b"\x7fELF"):
        with pytest.raises(ValueError, match="ELF"):
            read_elf(data)
    assert library_machine(PRETENDED / "core.cpp") is None


def test_no_runner_for_a_phone_is_an_error_with_the_command() -> None:
    with pytest.raises(BuildError, match="netadapt runner build --android") as error:
        find_phone_runner("arm64-v8a")
    _one_line(error)


def test_a_runner_of_another_abi_is_not_taken(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "phone-runner" / "armeabi-v7a"
    folder.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), folder / "netadapt_runner")
    with pytest.raises(BuildError, match="must be a runner for armeabi-v7a"):
        find_phone_runner("armeabi-v7a")
    (folder / "netadapt_runner").write_text("nothing")
    with pytest.raises(BuildError, match="it is no program"):
        find_phone_runner("armeabi-v7a")
