"""Every reader of the project meets damaged and hostile input: our own errors, or none at all."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import sqlite3
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from netadapt.android_runner.building.elf import read_elf
from netadapt.android_runner.errors import RunnerError
from netadapt.android_runner.phone import parsing, zones
from netadapt.android_runner.runner.check import known_program
from netadapt.android_runner.runner.program_format import format_problem, read_format
from netadapt.android_runner.runner.protocol import PROTOCOL_VERSION, FrameParser
from netadapt.config import config_text, demo_config, read_config
from netadapt.errors import NetadaptError
from netadapt.predictor.errors import PredictorError
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.errors import ProfilerError
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.table import LatencyTable
from netadapt.runs.folder import RunFolder
from netadapt.runs.result import RunResult
from netadapt.runs.training_log import read_metrics
from netadapt.search.accuracy_table import AccuracyTable
from netadapt.search.errors import SearchError
from netadapt.search.families.inverted_residual import InvertedResidualArch
from netadapt.search.space import Space
from netadapt.search.trials import read_iterations
from netadapt.virtual_phone.description import PhoneDescription
from netadapt.virtual_phone.wire import (
    Packet,
    PacketReader,
    ShellFrame,
    ShellFrameReader,
    WireError,
)
from tests.mutation import mutations
from tests.netadapt.test_result import RESULT
from tests.predictor import made_up_device as device

OURS = (RunnerError, ProfilerError, PredictorError, SearchError, NetadaptError, WireError)

LENGTH = int(os.environ.get("NETADAPT_MUTATIONS", "1"))
"""How many times as many mutations as usual are tried."""

PHONES = Path(__file__).parents[1] / "virtual_phone" / "phones"
SPACES = Path(__file__).parents[1] / "search" / "spaces"


ELF = Path(sys.executable).resolve().read_bytes()[:4096]
PACKETS = (
    Packet(b"CNXN", 0x01000001, 4096, b"host::features=shell_v2").encode()
    + ShellFrame(1, b"hello").encode()
)


@dataclass(frozen=True)
class Reader:
    """One reader: valid input, what reads it, how often damaged input is tried."""

    name: str
    valid: Callable[[], bytes]
    read: Callable[[bytes, Path], object]
    count: int = 300


SNAPSHOT = (
    b'"freq_khz": 2000000, "temperature_c": 40.5, "load_avg": 0.3, "zone": "cpu", '
    b'"freqs_khz": [2000000], "limits_khz": [2100000]'
)
HELLO = (
    b'{"type": "hello", "protocol": %d, "runtime": "1.4.1", "abi": "x86_64", "options": "O2", '
    b'"layout": "fixed", "backends": ["XnnpackBackend"], "kernels": 170}' % PROTOCOL_VERSION
)
MESSAGES = b"\n".join(
    [
        HELLO,
        b'{"type": "start", ' + SNAPSHOT + b"}",
        b'{"type": "progress", "program": 0, "done": 1, "total": 12}',
        b'{"type": "result", "program": 0, "calls_per_sample": 4, "rounds_us": [[1.5, 1.6]], '
        b'"outputs": [{"shape": [1, 2], "dtype": "float", "values": [0.5, -0.5]}]}',
        b'{"type": "failure", "program": 1, "kind": "load", "message": "0x20"}',
        b'{"type": "done", ' + SNAPSHOT + b', "sentinel_us": [10.5], "round_freqs_khz": [null]}',
    ]
)


def frame(body: bytes) -> bytes:
    return b"@netadapt %d %08x %s\n" % (len(body), zlib.crc32(body), body)


def read_messages(data: bytes, _: Path) -> None:
    """Damaged messages in whole frames."""
    for body in data.split(b"\n"):
        parser = FrameParser()
        parser.feed(frame(HELLO))
        with contextlib.suppress(RunnerError):
            parser.feed(frame(body))


def read_frames(data: bytes, _: Path) -> None:
    FrameParser().feed(data)


ADB_TEXT = b"""Android Debug Bridge version 1.0.41
List of devices attached
FA69V0300001           device usb:1-2 product:sailfish model:Pixel device:sailfish transport_id:3
[ro.product.model]: [Pixel]
Current Battery Service state:
  USB powered: true
  level: 84
  scale: 100
  temperature: 280
Thermal Status: 1
Current temperatures from HAL:
    Temperature{mValue=34.5, mType=0, mName=CPU0, mStatus=0}
/sys/class/thermal/thermal_zone0/temp:34000
/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq:1593600
/sys/devices/system/cpu/cpu0/cpufreq/related_cpus:0 1
0-3,6
mWakefulness=Awake
/dev/block/dm-2  51343840 8388608 42955232  17% /data
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  runner
"""


def read_adb_text(data: bytes, _: Path) -> None:
    text = data.decode(errors="replace")
    for module in (parsing, zones):
        for name in dir(module):
            if name.startswith("parse_"):
                with contextlib.suppress(RunnerError):
                    getattr(module, name)(text)


def read_wire(data: bytes, _: Path) -> None:
    for reader in (PacketReader(), ShellFrameReader()):
        with contextlib.suppress(WireError):
            list(reader.feed(data))


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def read_file(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return read_file


def read_key(data: bytes, _: Path) -> None:
    for line in data.decode(errors="replace").split("\n"):
        with contextlib.suppress(ProfilerError):
            kernel = Kernel.from_key(line)
            assert Kernel.from_key(kernel.key) == kernel


KEYS = "\n".join(k.key for k in device.kernels(40, np.random.default_rng(0))).encode()


def space_use(space: Space) -> None:
    """What every command does with a space first."""
    space.kernels(space.reference())
    space.random(np.random.default_rng(0))


def read_arch(data: bytes, folder: Path) -> object:
    return InvertedResidualArch.from_json(data.decode(errors="replace"))


def table_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latency.sqlite"
        with LatencyTable(path) as table:
            table.add(
                device.rows(np.random.default_rng(0), device.kernels(12, np.random.default_rng(0)))
            )
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()


def read_table(path: Path) -> None:
    with LatencyTable(path, must_exist=True) as table:
        table.provenances()
        table.rows()
        table.to_frame()


def table_csv() -> bytes:
    kernels = device.kernels(12, np.random.default_rng(0))
    frame = device.table(device.rows(np.random.default_rng(0), kernels)).to_frame()
    frame["rounds_us"] = [json.dumps(value) for value in frame["rounds_us"]]
    text: str = frame.to_csv(index=False)
    return text.encode()


def read_csv(path: Path) -> None:
    try:
        frame = pd.read_csv(path)
    except (ValueError, OverflowError):  # pandas' own words about what is no CSV
        return
    LatencyTable.from_frame(frame).close()


def predictor_json() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictor.json.gz"
        kernels = device.kernels(40, np.random.default_rng(0))
        LatencyPredictor().fit(device.table(device.rows(np.random.default_rng(0), kernels))).save(
            path
        )
        return gzip.decompress(path.read_bytes())


def read_predictor(data: bytes, folder: Path) -> None:
    path = folder / "predictor.json.gz"
    path.write_bytes(gzip.compress(data))
    LatencyPredictor.load(path)


ARCH = '{"stem": 16, "blocks": [[16, 16, 3], [24, 64, 5]], "head": 64, "hidden": 128}'
TRIALS = "\n".join(
    [
        '{"kind": "header", "version": 2, "fingerprint": "abc"}',
        '{"kind": "proposal", "iteration": 1, "candidates": 1, "targets": {"latency": 1.5}, '
        '"guard": 0.0, "seconds": 0.5}',
        '{"kind": "trial", "iteration": 1, "arch": "a", "score": 0.5, '
        '"predicted": {"latency": 1.4}, "seconds": 0.25}',
        '{"kind": "measured", "iteration": 1, "arch": "a", "measured_ms": 1.5, "seconds": 2.0}',
        '{"kind": "accepted", "iteration": 1, "arch": "a", "measured_ms": 1.5}',
        '{"kind": "confirmed", "iteration": 1, "arch": "a", "first_ms": 1.5, "second_ms": 1.5, '
        '"seconds": 2.0}',
        '{"kind": "result", "arch": "a", "seconds": 9.0}',
        "",
    ]
).encode()


def read_trials(path: Path) -> None:
    """Read, and used as a report uses it."""
    for iteration in read_iterations(path):
        assert all(math.isfinite(trial.score) for trial in iteration.trials)
        assert all(measured.measured_ms > 0 for measured in iteration.measured)


ACCURACIES = b'arch,score\n"{""stem"": 16, ""head"": 64}",0.5\n"{""stem"": 24}",0.25\n'
DURATIONS = b'{"step": "profile", "seconds": 1.5}\n{"step": "search", "seconds": 2.5}\n'
METRICS = (
    b'{"phase": "supernet", "step": 10, "steps": 800, "loss": 2.25, "learning_rate": 0.1, '
    b'"seconds": 3.5}\n'
) * 3


def read_durations(data: bytes, folder: Path) -> None:
    run = RunFolder(folder)
    run.durations.write_bytes(data)
    assert all(math.isfinite(seconds) for seconds in run.durations_s().values())


def result_json() -> bytes:
    return RESULT.model_dump_json(indent=2).encode()


READERS = [
    Reader("a runner's messages", lambda: MESSAGES, read_messages),
    Reader("a runner's output", lambda: b"".join(map(frame, MESSAGES.split(b"\n"))), read_frames),
    Reader("what adb and phones print", lambda: ADB_TEXT, read_adb_text),
    Reader("adb's packets", lambda: PACKETS, read_wire),
    Reader("a phone's description", (PHONES / "pixel_1.toml").read_bytes,
           in_file("phone.toml", PhoneDescription.load)),
    Reader("a program", lambda: known_program().data,
           lambda data, _: (read_format(data), format_problem(data))),
    Reader("a library", lambda: ELF, lambda data, _: read_elf(data)),
    Reader("kernel keys", lambda: KEYS, read_key),
    Reader("a latency table", table_bytes, in_file("latency.sqlite", read_table), 150),
    Reader("a table's CSV", table_csv, in_file("latency.csv", read_csv), 60),
    Reader("a saved predictor", predictor_json, read_predictor, 60),
    Reader("a space's file", (SPACES / "digits.toml").read_bytes,
           in_file("space.toml", lambda path: space_use(Space.load(str(path))))),
    Reader("an arch", ARCH.encode, read_arch),
    Reader("a trial log", lambda: TRIALS, in_file("trials.jsonl", read_trials)),
    Reader("a table of accuracies in CSV", lambda: ACCURACIES,
           in_file("scores.csv", AccuracyTable.read)),
    Reader("a table of accuracies in JSON", lambda: json.dumps({ARCH: 0.5, "{}": 0.25}).encode(),
           in_file("scores.json", AccuracyTable.read)),
    Reader("a run file", lambda: config_text(demo_config()).encode(),
           in_file("run.toml", read_config)),
    Reader("durations", lambda: DURATIONS, read_durations),
    Reader("metrics", lambda: METRICS, in_file("metrics.jsonl", read_metrics)),
    Reader("a result", result_json, in_file("result.json", RunResult.load)),
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_input_is_one_of_our_errors(reader: Reader, tmp_path: Path) -> None:
    valid = reader.valid()
    reader.read(valid, tmp_path)  # what is tried begins with something that is right
    seed = zlib.crc32(reader.name.encode())
    for number, data in enumerate(mutations(valid, LENGTH * reader.count, seed)):
        check(reader, data, tmp_path, f"mutation {number}")


def check(reader: Reader, data: bytes, folder: Path, what: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numbers beyond all measure overflow on the way
            reader.read(data, folder)
    except OURS as error:
        message = str(error)
        assert message, what
        assert "\n" not in message, f"{what}: {message!r}"
        assert message.isprintable(), f"{what}: {message!r}"
    except Exception as error:
        raise AssertionError(f"{reader.name}, {what}: {type(error).__name__}: {error}") from error


def test_mutations_are_the_same_for_a_seed_and_differ_from_the_input() -> None:
    first, second = (list(mutations(MESSAGES, 50, 3)) for _ in range(2))
    assert first == second
    assert sum(data != MESSAGES for data in first) > 40
    assert list(mutations(MESSAGES, 50, 4)) != first
