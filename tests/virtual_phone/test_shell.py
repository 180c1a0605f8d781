"""What the phone's shell receives and answers, with and without namespaces."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netadapt.virtual_phone import PIXEL_1, VirtualPhone, wire
from netadapt.virtual_phone.shell import ShellRequest
from netadapt.virtual_phone.wire import Packet
from tests.virtual_phone.conftest import RawClient, Shell, raw_client


@pytest.fixture(scope="module")
def shell(each_phone: VirtualPhone) -> Iterator[Shell]:
    with raw_client(each_phone) as client:
        yield Shell(client)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=20
) | st.sampled_from(
    ["$(id)", "`id`", "; exit 9", "a'b\"c", "\\", "*", "~", "-n", "größe 层", "\n", "$HOME", "#"]
)


@settings(max_examples=60)
@given(words=st.lists(WORDS, max_size=5))
def test_the_shell_receives_exactly_the_words(shell: Shell, words: list[str]) -> None:
    command = f"printf '%s\\0' {shlex.join(words)}" if words else "true"
    out, err, code = shell(command)
    assert (err, code) == (b"", 0)
    assert out == b"".join(word.encode() + b"\0" for word in words)


def test_exit_codes_streams_and_input(shell: Shell) -> None:
    assert shell("echo out; echo err >&2; exit 7") == (b"out\n", b"err\n", 7)
    assert shell("cat; exit 3", b"to be read") == (b"to be read", b"", 3)
    assert shell("kill -SEGV $$")[2] == 128 + 11
    assert shell("no_such_tool")[2] == 127


def test_much_output_comes_whole(shell: Shell) -> None:
    out, _, code = shell("head -c 3000000 /dev/zero | tr '\\0' x")
    assert (len(out), out.count(b"x"), code) == (3_000_000, 3_000_000, 0)


def test_paths_are_the_phones(shell: Shell, each_phone: VirtualPhone) -> None:
    folder = "/data/local/tmp/a b"
    assert shell(f"mkdir -p '{folder}' && cd '{folder}' && echo 'in it' >file && pwd") == (
        folder.encode() + b"\n",
        b"",
        0,
    )
    assert (each_phone.root / folder[1:] / "file").read_text() == "in it\n"
    assert shell("cat '/data/local/tmp/a b/file'")[0] == b"in it\n"
    assert str(each_phone.root).encode() not in b"".join(shell("ls /data/x; env; set")[:2])


def test_it_tells_what_it_is(shell: Shell) -> None:
    assert shell("getprop ro.product.model") == (b"Pixel\n", b"", 0)
    assert shell("getprop no.such.thing")[0] == b"\n"
    assert b"[ro.build.version.sdk]: [29]\n" in shell("getprop")[0]
    assert b"  level: 84\n" in shell("dumpsys battery")[0]
    assert b"Thermal Status: 0\n" in shell("dumpsys thermalservice")[0]
    assert shell("cat /sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq")[0] == b"2150400\n"
    assert shell("cat /sys/devices/system/cpu/cpu0/cpufreq/related_cpus")[0] == b"0 1\n"
    assert b"mValue=34.0, mType=0, mName=tsens_tz_sensor4" in shell("dumpsys thermalservice")[0]
    assert len(shell("cat /proc/sys/kernel/random/boot_id")[0]) == 37
    assert b"Hardware\t: Qualcomm MSM8996\n" in shell("cat /proc/cpuinfo")[0]
    assert shell("id -u")[0] == b"2000\n"
    assert b" /data\n" in shell("df -k /data/local/tmp")[0]


def test_settings_are_kept_and_unknown_services_refused(shell: Shell) -> None:
    shell("settings put global stay_on_while_plugged_in 2")
    assert shell("settings get global stay_on_while_plugged_in")[0] == b"2\n"
    assert shell("settings get global never_set")[0] == b"null\n"
    shell("settings delete global stay_on_while_plugged_in")
    assert shell("settings get global stay_on_while_plugged_in")[0] == b"null\n"
    # Android 10 has no fixed-performance mode
    assert shell("cmd power set-fixed-performance-mode-enabled true")[2] == 255
    assert shell("cmd nonsense")[2] == 20


def test_only_root_sets_clocks(shell: Shell) -> None:
    governor = "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor"
    _, err, code = shell(f"echo performance >{governor}")
    assert code != 0
    assert b"denied" in err
    assert shell(f"cat {governor}")[0] == b"schedutil\n"
    assert shell("su -c id")[2] == 127


def test_programs_are_pinned_to_the_phones_cores(shell: Shell) -> None:
    """Four cores, however many this machine has."""
    assert shell("taskset -c 2,3 true")[2] == 0
    assert shell("taskset -c 7 true")[2] != 0


def test_what_policy_hides_from_the_shell(shell: Shell) -> None:
    """A Pixel 1's sensors have a type of their own, ``sysfs_thermal``."""
    _, err, code = shell("ls /sys/class/thermal")
    assert (b"Permission denied" in err, code != 0) == (True, True)
    assert shell("cat /sys/class/thermal/thermal_zone0/temp")[2] != 0


def test_a_phone_whose_sensors_the_shell_may_read(tmp_path: Path) -> None:
    described = dataclasses.replace(PIXEL_1, zones_readable=True)
    read = "cat /sys/class/thermal/thermal_zone*/temp"
    for now, told in ((described, b"28000\n340\n350\n"), (PIXEL_1, b"")):
        with VirtualPhone(now, tmp_path) as phone, raw_client(phone) as client:
            assert Shell(client)(read)[0] == told


@pytest.mark.parametrize(
    ("sdk", "there", "missing"),
    [
        (25, "stat find sha1sum", "sha256sum diff gzip awk getconf"),
        (27, "sha256sum diff gzip", "awk getconf"),
        (29, "sha256sum awk", "getconf"),
        (31, "sha256sum awk getconf", "python3 perl ld"),
    ],
)
def test_an_android_has_the_tools_of_its_version(
    sdk: int, there: str, missing: str, tmp_path: Path
) -> None:
    for version in (31, sdk):  # what a newer one left behind goes
        with (
            VirtualPhone(dataclasses.replace(PIXEL_1, sdk=version), tmp_path) as phone,
            raw_client(phone) as client,
        ):
            look = f"for tool in {there} {missing}; do command -v $tool && echo @$tool; done"
            found = [word[1:] for word in Shell(client)(look)[0].decode().split() if word[0] == "@"]
    assert found == there.split()


def test_a_process_outlives_nothing_but_its_stream(each_phone: VirtualPhone) -> None:
    with contextlib.closing(RawClient(each_phone.address)) as client:
        client.greet()
        client.send(Packet(wire.OPEN, 1, 0, b"exec:cat\0"))
        assert client.receive().command == wire.OKAY
    with raw_client(each_phone) as client:  # the cable was pulled; the phone is as it was
        assert Shell(client)("echo still here")[0] == b"still here\n"


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("shell:ls -l", ShellRequest("ls -l", frames=False, terminal=False)),
        ("shell:", ShellRequest(None, frames=False, terminal=True)),
        ("shell,v2,TERM=xterm,raw:a:b", ShellRequest("a:b", frames=True, terminal=False)),
        ("shell,v2,pty:top", ShellRequest("top", frames=True, terminal=True)),
        ("exec:cat", ShellRequest("cat", frames=False, terminal=False)),
        ("shell,v9:ls", None),
        ("shellx:ls", None),
        ("sync:", None),
    ],
)
def test_services_are_read_as_adb_writes_them(service: str, request_: ShellRequest | None) -> None:
    assert ShellRequest.parse(service) == request_
