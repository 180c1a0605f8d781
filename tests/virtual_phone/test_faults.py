"""Each fault on cue, seen from the other end of the cable; the log says what it hit."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netadapt.android_runner.errors import InvalidRunError
from netadapt.android_runner.runner.protocol import FrameParser, Step
from netadapt.virtual_phone import PIXEL_1, Cue, Fault, Moment, VirtualPhone, wire
from netadapt.virtual_phone.wire import Packet
from tests.virtual_phone.conftest import (
    RawClient,
    RealAdb,
    Shell,
    Sync,
    raw_client,
    sync_request,
)
from tests.virtual_phone.test_frames import HELLO, START, frame

CHUNK = b"DATA" + struct.pack("<I", 60_000) + bytes(60_000)
SEND = sync_request(b"SEND", b"/data/local/tmp/f,33188")
DONE = b"DONE\0\0\0\0"
PATIENCE_S = 15.0


def ask(phone: VirtualPhone, command: str) -> tuple[bytes, bytes, int]:
    """Run a command over a connection of its own."""
    with raw_client(phone) as client:
        return Shell(client)(command)


def wait_until_over(cue: Cue) -> None:
    assert cue.over.wait(PATIENCE_S), f"{cue.fault.kind} never ended"
    assert cue.struck_at_s is not None
    assert cue.over_at_s is not None
    assert cue.over_at_s - cue.struck_at_s >= cue.fault.seconds * (
        cue.fault.kind in ("cable_out", "silence", "reboot", "storage_full", "throttled")
    )


def expect_hang_up(client: RawClient) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            client.receive()


@pytest.fixture
def program(phone: VirtualPhone) -> str:
    """A program of the phone's: a shell in its ``/data``."""
    shutil.copy("/bin/sh", phone.root / "data/local/tmp/program")
    return "/data/local/tmp/program"


@contextlib.contextmanager
def running(phone: VirtualPhone, command: str) -> Iterator[RawClient]:
    """A command under way, its output taken by whoever gets the client."""
    with raw_client(phone) as client:
        client.greet()
        client.send(Packet(wire.OPEN, 1, 0, b"shell,v2,raw:" + command.encode() + b"\0"))
        assert client.receive() == Packet(wire.OKAY, 1, 1)
        yield client


def output_of(client: RawClient) -> bytes:
    """All of a stream until it is closed."""
    said = b""
    while (packet := client.receive()).command != wire.CLSE:
        if packet.command == wire.WRTE:
            said += packet.data
            client.send(Packet(wire.OKAY, 1, 1))
    return said


def test_a_cable_pulled_while_a_file_comes_in(phone: VirtualPhone) -> None:
    cue = phone.play(Fault("cable_out", seconds=0.5, moment=Moment.during_push(100_000)))
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(SEND + CHUNK)
        assert not cue.struck.wait(0.1)
        sync.send(CHUNK)
        expect_hang_up(client)
    assert cue.in_flight == ("push /data/local/tmp/f at 120000 bytes",)
    with pytest.raises(ConnectionRefusedError):
        RawClient(phone.address)
    wait_until_over(cue)
    assert ask(phone, "ls /data/local/tmp")[0] == b""  # as a phone does with half a file
    kinds = [(event.kind, event.detail) for event in phone.log]
    assert kinds.index(("fault", "cable_out")) < kinds.index(("back", "cable_out"))


def test_silence_then_gone(phone: VirtualPhone) -> None:
    with raw_client(phone) as client:
        client.greet()
        cue = phone.play(Fault("silence", seconds=0.5))
        assert cue.struck.wait(PATIENCE_S)
        client.send(Packet(wire.OPEN, 1, 0, b"exec:echo hi\0"))
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.receive()
        client.socket.settimeout(PATIENCE_S)
        expect_hang_up(client)
    wait_until_over(cue)
    assert ask(phone, "echo back")[0] == b"back\n"


def test_a_reboot_ends_programs_and_keeps_files(phone: VirtualPhone, program: str) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = ask(phone, boot)[0]
    ask(phone, "echo kept >/data/local/tmp/kept")
    cue = phone.play(Fault("reboot", seconds=0.3, moment=Moment.during_program(0.1)))
    command = f"cd /data/local/tmp; echo $$ >pid; exec {program} -c 'sleep 60; : end'"
    with running(phone, command) as client:
        expect_hang_up(client)
    assert "sleep 60" in cue.in_flight[0]
    wait_until_over(cue)
    assert ask(phone, boot)[0] not in (b"", before)
    assert ask(phone, "cat /data/local/tmp/kept")[0] == b"kept\n"
    assert ask(phone, "pgrep -f 'sleep 60; : en[d]'")[0] == b""


def test_a_reboot_leaves_half_a_file(phone: VirtualPhone) -> None:
    cue = phone.play(Fault("reboot", seconds=0.1, moment=Moment.during_push(50_000)))
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(SEND + CHUNK + CHUNK)
        expect_hang_up(client)
    wait_until_over(cue)
    assert 0 <= (phone.root / "data/local/tmp/f").stat().st_size < 120_000


@pytest.mark.parametrize(("kind", "number"), [("runner_segv", 11), ("runner_sigill", 4)])
def test_a_program_dies_of_a_signal(
    phone: VirtualPhone, program: str, kind: str, number: int
) -> None:
    cue = phone.play(Fault(kind, moment=Moment.during_program(0.05)))  # type: ignore[arg-type]
    loop = "while :; do :; done"  # without a child, which would be such a program too at first
    with running(phone, f"exec {program} -c '{loop}'") as client:
        said = output_of(client)
    assert said[-6:] == b"\x03\x01\0\0\0" + bytes([128 + number])
    assert cue.in_flight == (f"program -c {loop}",)


def test_a_program_hangs_until_it_is_killed(phone: VirtualPhone, program: str) -> None:
    command = f"echo $$ >/data/local/tmp/pid; exec {program} -c 'while :; do :; done'"
    with running(phone, command) as client:
        cue = phone.play(Fault("runner_hung"))
        assert cue.struck.wait(PATIENCE_S)
        state = "read -r pid </data/local/tmp/pid; grep State /proc/$pid/status; kill -9 $pid"
        assert b"stopped" in ask(phone, state)[0]
        assert output_of(client)[-1] == 128 + 9


def test_storage_is_full_for_a_while(phone: VirtualPhone) -> None:
    cue = phone.play(Fault("storage_full", seconds=0.5))
    assert cue.struck.wait(PATIENCE_S)
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(SEND + CHUNK + DONE)
        assert sync.refusal() == b"write failed: No space left on device"
    assert b" 0 100% /data" in ask(phone, "df /data")[0]
    wait_until_over(cue)
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(SEND + CHUNK + DONE)
        assert sync.answer(8) == b"OKAY\0\0\0\0"
    assert b" 0 100% /data" not in ask(phone, "df /data")[0]


def test_a_file_arrives_with_one_byte_changed(phone: VirtualPhone) -> None:
    cue = phone.play(Fault("corrupt_push", moment=Moment.during_push(60_001)))
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(SEND + CHUNK + CHUNK + CHUNK + DONE)
        assert sync.answer(8) == b"OKAY\0\0\0\0"
    assert cue.over.is_set()
    there = (phone.root / "data/local/tmp/f").read_bytes()
    assert (len(there), there.count(0)) == (180_000, 179_999)


def test_a_stored_program_is_damaged_before_it_runs(phone: VirtualPhone, program: str) -> None:
    stored = phone.root / "data/local/tmp/store"
    stored.write_bytes(b"\x10\0\0\0ET12 and the rest of the program")
    cue = phone.play(Fault("bad_program"))
    ask(phone, "true")
    assert not cue.struck.is_set()
    ask(phone, f"{program} -c : programs=1")
    assert cue.struck.is_set()
    assert stored.read_bytes() == b"\x10\0\0\0" + bytes(8) + b" the rest of the program"


def test_output_ends_early(phone: VirtualPhone, program: str) -> None:
    cue = phone.play(Fault("cut_output", moment=Moment.during_output(30)))
    loop = "while :; do echo 123456789; sleep 0.01; done"
    with running(phone, f"exec {program} -c '{loop}'") as client:
        said = output_of(client)
    assert cue.struck.is_set()
    assert said.count(b"123456789") in (2, 3)
    assert b"\x03\x01\0\0\0" not in said  # no exit code


def test_other_text_comes_amid_the_output(phone: VirtualPhone, program: str) -> None:
    (phone.root / "data/local/tmp/frames").write_bytes(
        HELLO
        + START
        + b"".join(frame("progress", program=0, done=n, total=400) for n in range(400))
    )
    cue = phone.play(Fault("mixed_output", amount=6, moment=Moment.during_program(0.05)))
    # Its first line is held back until the fault has struck
    script = 'sleep 0.5; while read -r line; do echo "$line"; sleep 0.002; done'
    with running(phone, f"cd /data/local/tmp; exec {program} -c '{script}' <frames") as client:
        said = output_of(client)
    assert cue.struck.is_set()
    steps = [m for m in FrameParser().feed(_stdout(said)) if isinstance(m, Step)]
    assert 380 <= len(steps) <= 400
    assert len(_stdout(said)) > (phone.root / "data/local/tmp/frames").stat().st_size


def _stdout(stream: bytes) -> bytes:
    frames = wire.ShellFrameReader().feed(stream)
    return b"".join(frame.data for frame in frames if frame.channel == wire.SHELL_STDOUT)


def test_the_phone_asks_again_whether_to_trust(adb: RealAdb, phone: VirtualPhone) -> None:
    serial = adb.connect(phone)
    cue = phone.play(Fault("unauthorized", seconds=6.0))
    assert cue.struck.wait(PATIENCE_S)
    adb("disconnect", serial)
    # Connecting is not listed, or as "offline" or "connecting", until the phone has answered; an
    # attempt that met the end of the connection before it leaves nothing behind.
    while (state := adb.state(serial)) != "unauthorized" and not cue.over.is_set():
        if not state:
            adb("connect", serial)
        time.sleep(0.02)
    assert state == "unauthorized"
    wait_until_over(cue)
    adb("-s", serial, "wait-for-device")
    assert adb("-s", serial, "shell", "echo in").stdout == b"in\n"


def test_heat_lowers_clocks_for_a_while(phone: VirtualPhone) -> None:
    cue = phone.play(Fault("throttled", seconds=0.5, amount=90.0))
    assert cue.struck.wait(PATIENCE_S)
    told = "dumpsys thermalservice"
    assert b"\nThermal Status: 3\n" in ask(phone, told)[0]
    assert b"mValue=90.0, mType=0, mName=tsens_tz_sensor9" in ask(phone, told)[0]
    wait_until_over(cue)
    found = re.search(rb"mValue=([\d.]+), mType=0, mName=tsens_tz_sensor9", ask(phone, told)[0])
    assert found is not None
    assert float(found[1]) <= 90


def test_the_clock_jumps(phone: VirtualPhone) -> None:
    before = int(ask(phone, "date +%s")[0])
    cue = phone.play(Fault("clock_change", amount=-7200.0))
    assert cue.over.wait(PATIENCE_S)
    assert -7200 <= int(ask(phone, "date +%s")[0]) - before <= -7100


def test_the_battery_runs_low_for_a_while(phone: VirtualPhone) -> None:
    cue = phone.play(Fault("low_battery", seconds=0.5, amount=3))
    assert cue.struck.wait(PATIENCE_S)
    text = ask(phone, "dumpsys battery")[0]
    assert b"  level: 3\n" in text
    assert b"  USB powered: false\n" in text
    wait_until_over(cue)
    assert b"  level: 84\n" in ask(phone, "dumpsys battery")[0]


def test_the_log_is_in_order(phone: VirtualPhone) -> None:
    ask(phone, "true")
    times = [event.time_s for event in phone.log]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic()


def test_a_fault_must_last() -> None:
    with pytest.raises(InvalidRunError, match="0 or more"):
        Fault("reboot", seconds=-1)


def test_no_process_outlives_the_phone(tmp_path: Path) -> None:
    with VirtualPhone(PIXEL_1, tmp_path) as phone:
        shutil.copy("/bin/sleep", phone.root / "data/local/tmp/sleeper")
        ask(phone, "/data/local/tmp/sleeper 61.5 >/dev/null 2>&1 </dev/null &")
        pids = [program.pid for program in phone._on.sandbox.programs()]
        assert len(pids) == 1
    assert not Path(f"/proc/{pids[0]}/exe").exists()


def test_fast_cores_that_are_switched_off_take_nothing(phone: VirtualPhone) -> None:
    look = (
        "cat /sys/devices/system/cpu/present /sys/devices/system/cpu/online; "
        "ls /sys/devices/system/cpu/cpu3/cpufreq >/dev/null && echo clock; "
        "taskset 8 true && echo pinned; taskset 1 true && echo others"
    )
    assert ask(phone, look)[0] == b"0-3\n0-3\nclock\npinned\nothers\n"
    cue = phone.play(Fault("core_asleep", seconds=600.0))
    assert cue.struck.wait(PATIENCE_S)
    assert ask(phone, look)[0] == b"0-3\n0-1\nothers\n"


def test_a_child_that_dies_after_its_shell_leaves_the_phone_as_it_is(phone: VirtualPhone) -> None:
    assert ask(phone, "(sleep 100) >/dev/null 2>&1 & sleep 0.1; kill $!")[2] == 0
    time.sleep(0.1)
    assert ask(phone, "echo there")[0] == b"there\n"
