"""`netadapt runner`: build the native runner for a phone or this machine, check it on a device."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from netadapt.commands.options import Json, Wait, print_json
from netadapt.console import progress

runner_app = typer.Typer(
    help="Build the native runner, and check what it computes on a device.\n\n"
    "Example: netadapt runner check --device SERIAL",
    rich_markup_mode=None,
)


@runner_app.command()
def build(
    executorch: Annotated[
        Path | None,
        typer.Option(
            metavar="PREFIX",
            help="Where ExecuTorch's C++ libraries were installed (`cmake --install --prefix`).",
        ),
    ] = None,
    android: Annotated[
        bool,
        typer.Option("--android", help="For phones: kept where phones' runners are looked for."),
    ] = False,
    toolchain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A CMake toolchain file.")
    ] = None,
    ndk: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="An Android NDK, instead of a toolchain file."),
    ] = None,
    abi: Annotated[
        str | None,
        typer.Option(help="Android's name of what the runner must be for, e.g. arm64-v8a."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the binary goes instead.")
    ] = None,
    runtime_version: Annotated[
        str | None,
        typer.Option(help="ExecuTorch's version, where the install does not name it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the runner.

    Without options for this machine, from ExecuTorch's Python package. With --executorch for
    whatever that install is for: by a toolchain file, an NDK, or, where neither is named, this
    machine's compiler or the usual cross compiler for the install's processor. The binary is
    stripped, and static where the toolchain can do it.

    Examples:

    \b
    netadapt runner build
    netadapt runner build --android --executorch PREFIX --ndk NDK
    netadapt runner build --android --executorch PREFIX --toolchain FILE
    netadapt runner build --executorch PREFIX --out runner
    """
    if executorch is None:
        _build_for_this_machine(
            {
                "--android": android or None,
                "--toolchain": toolchain,
                "--ndk": ndk,
                "--abi": abi,
                "--runtime-version": runtime_version,
            },
            out,
            as_json,
        )
        return
    from netadapt.android_runner.building.for_install import build_for_install

    if android and out is not None:
        raise typer.BadParameter(
            "a phone's runner is kept where it is looked for; leave --out or --android out"
        )
    with progress().step("Building the runner"):
        runner = build_for_install(
            executorch,
            toolchain=toolchain,
            ndk=ndk,
            abi=abi,
            android=android,
            out=out,
            runtime_version=runtime_version,
        )
    if as_json:
        print_json({**dataclasses.asdict(runner), "path": str(runner.path)})
        return
    typer.echo(str(runner.path))
    typer.echo(
        f"for {runner.abi} ({runner.machine}), {'static' if runner.static else 'dynamic'}, "
        f"ExecuTorch {runner.runtime_version}, {runner.size_bytes / 2**20:.1f} MiB, "
        f"sha256 {runner.sha256[:16]}"
    )
    if android:
        typer.echo("check it on a phone: netadapt runner check --device SERIAL")


def _build_for_this_machine(given: dict[str, object], out: Path | None, as_json: bool) -> None:
    unfit = [option for option, value in given.items() if value is not None]
    if unfit:
        raise typer.BadParameter(
            f"{unfit[0]} needs an ExecuTorch C++ install; name it with --executorch PREFIX"
        )
    from netadapt.android_runner.building.for_host import build_runner
    from netadapt.android_runner.files import write_atomically

    with progress().step("Building the runner"):
        binary = build_runner()
    path = binary.path
    if out is not None:
        write_atomically(out, path.read_bytes(), executable=True)
        path = out
    if as_json:
        print_json({"path": str(path), "sha256": binary.sha256})
    else:
        typer.echo(str(path))


@runner_app.command()
def check(
    device: Annotated[
        str | None,
        typer.Option(help="A device's id (`netadapt devices`); not given, this machine."),
    ] = None,
    runner: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a device: this runner, here, in an emulator where it needs one.",
        ),
    ] = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Run a known program on a device and compare its values with this machine's.

    Fails where the runner does not start, speaks another protocol, has another version of
    ExecuTorch than the one that lowers programs, or computes other values.

    Examples:

    netadapt runner check --device FA6A1B2C3D

    netadapt runner check --runner ./netadapt_runner
    """
    from netadapt.android_runner.runner.check import check_runner, device_of
    from netadapt.device_list import build_first
    from netadapt.devices import HOST, DeviceSettings, make_device

    if device is not None and runner is not None:
        raise typer.BadParameter("a runner is checked on a device or here; leave one of them out")
    settings = DeviceSettings(id=HOST if device is None else device)
    if wait is not None:
        settings = dataclasses.replace(settings, wait_s=wait)
    shown = progress()
    build_first(shown)
    with shown.step("Checking the runner"):
        report = check_runner(make_device(settings) if runner is None else device_of(runner))
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    info = report.device
    typer.echo(
        f"{info.id}: {info.model}, {info.abi}, ExecuTorch {info.runtime_version} "
        f"({info.build_options})"
    )
    typer.echo(
        f"{report.values} values as on this machine, largest deviation "
        f"{report.max_deviation:.1e}; {report.latency_us:.1f} us a call"
    )
