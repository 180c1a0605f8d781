"""The commands on phones over a real adb: the whole line at toy size, several phones at once.

How a search measures on phones is in `test_phone_in_the_loop`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netadapt.android_runner.phone import AdbServer
from netadapt.profiler.table import LatencyTable
from netadapt.runs.folder import RunFolder
from netadapt.runs.result import RunResult
from netadapt.virtual_phone import PIXEL_1, PhoneDescription, VirtualPhone
from tests.netadapt.conftest import Netadapt

TOY = Path(__file__).parent / "toy" / "timed_run.toml"


@pytest.fixture
def two_phones(adb_server: AdbServer, tmp_path: Path) -> Iterator[list[VirtualPhone]]:
    """Of one model: only their serials differ."""
    serials = ("FA69V0300002", "FA69V0300003")
    descriptions = [dataclasses.replace(PIXEL_1, serial=serial) for serial in serials]
    with ExitStack() as stack:
        phones = []
        for index, description in enumerate(descriptions):
            phones.append(stack.enter_context(VirtualPhone(description, tmp_path / f"p{index}")))
            adb_server.connect(phones[-1].address)
            stack.callback(adb_server.disconnect, phones[-1].address)
        yield phones


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_profile_fit_and_search_on_a_phone(
    virtual_phone: VirtualPhone, netadapt: Netadapt, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    run = tmp_path / "run.toml"
    by_predictor = TOY.read_text().replace('loop = "top_k"', 'loop = "predictor"\nguard = false')
    space = TOY.with_name("timed_space.toml")
    run.write_text(by_predictor.replace('"timed_space.toml"', f'"{space}"'))
    options = ["--device", virtual_phone.address, "--wait", "30", "--folder", str(folder.path)]
    code, output, errors = netadapt("search", str(run), *options, "--json")
    assert code == 0, errors
    result = RunResult.load(folder.result)
    assert json.loads(output)["device"]["id"] == PIXEL_1.serial
    assert result.device.model == "Google Pixel"
    # Of the table alone: what the phone says of both networks in the end decides nothing here.
    (outcome,) = result.searches
    assert 0 < outcome.found.predicted_ms <= outcome.budget_ms
    with LatencyTable(folder.table, must_exist=True) as table:
        (provenance,) = table.provenances()
        rows = table.rows()
    assert (provenance.device.id, provenance.device.kind) == (PIXEL_1.serial, "adb")
    assert provenance.cpus == "3"
    assert {row.conditions.battery_pct for row in rows} == {PIXEL_1.battery.level_pct}
    assert {row.conditions.performance for row in rows} == {"default"}
    assert "Google Pixel" in folder.report.read_text()


@pytest.mark.slow
def test_phones_of_one_model_are_measured_side_by_side_and_never_mixed(
    two_phones: list[VirtualPhone], netadapt: Netadapt, tmp_path: Path
) -> None:
    table = tmp_path / "table.sqlite"
    code, output, errors = netadapt(
        *("profile", str(TOY), "--kernels", "6", "--networks", "1", "--table", str(table)),
        *(word for phone in two_phones for word in ("--device", phone.address)),
        *("--device", "nobody", "--threads", "1", "--threads", "2", "--wait", "10", "--json"),
    )
    assert code == 2, errors
    assert "nobody of 3 were not" in errors.splitlines()[-1]
    first, second, nobody = json.loads(output)
    assert nobody["summary"] is None
    assert "'nobody' must be connected" in nobody["error"]
    keys = []
    for phone, outcome in zip(two_phones, (first, second), strict=True):
        assert outcome["error"] == ""
        with LatencyTable(Path(outcome["summary"]["table"]), must_exist=True) as rows:
            provenances = rows.provenances()
            assert {p.device.id for p in provenances} == {phone.description.serial}
            assert [p.threads for p in provenances] == [1, 2]
            assert [p.cpus for p in provenances] == ["3", "2,3"]
            keys.append({(row.key, row.copies) for row in rows.rows(provenances[0])})
            assert keys[-1] == {(row.key, row.copies) for row in rows.rows(provenances[1])}
    assert keys[0] == keys[1] != set()


def test_devices_lists_phones_with_all_that_is_asked_for(
    adb_server: AdbServer, netadapt: Netadapt, tmp_path: Path
) -> None:
    odd = "it's $(one); too"  # makers may write anything there
    properties = {**PIXEL_1.properties, "ro.serialno": odd}
    plain_one = dataclasses.replace(PIXEL_1, serial="ODD", properties=properties)
    shy = dataclasses.replace(PhoneDescription.bundled("galaxy_s20"), authorized=False)
    with (
        VirtualPhone(plain_one, tmp_path / "a") as phone,
        VirtualPhone(shy, tmp_path / "b") as other,
    ):
        for address in (phone.address, other.address):
            adb_server.connect(address)
        code, output, errors = netadapt("devices", "--json")
        plain = netadapt("devices")[1]
        for address in (phone.address, other.address):
            adb_server.disconnect(address)
    assert code == 0, errors
    by_id = {device["id"]: device for device in json.loads(output)}
    assert by_id["host"]["state"] == "ready"
    pixel, locked = by_id[odd], by_id[other.address]
    assert pixel | {"temperature_c": None} == {
        "id": odd,
        "serial": phone.address,
        "state": "ready",
        "remedy": "",
        "model": "Google Pixel",
        "soc": "msm8996",
        "os": "Android 10",
        "abi": "x86_64",
        "cores": 4,
        "clusters": [
            {"cores": [0, 1], "max_khz": 1593600},
            {"cores": [2, 3], "max_khz": 2150400},
        ],
        "battery_pct": PIXEL_1.battery.level_pct,
        "charging": True,
        "temperature_c": None,
        "runtime_version": None,
        "asleep": [],
    }
    assert pixel["temperature_c"] > 20
    assert locked["state"] in ("unauthorized", "authorizing")
    assert "allow USB debugging" in locked["remedy"]
    assert "4 core(s) (2 at 1.59 GHz + 2 at 2.15 GHz), battery 84 % charging" in plain


@pytest.mark.slow
def test_a_model_of_ones_own_is_timed_on_a_phone(
    virtual_phone: VirtualPhone, netadapt: Netadapt, tmp_path: Path
) -> None:
    model = tmp_path / "mine.py"
    model.write_text(
        "from torch import nn\n"
        "net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2))\n"
    )
    arguments = ("--input", "1,3,17,15", "--layers", "--device", virtual_phone.address, "--json")
    code, output, errors = netadapt("time", f"{model}:net", *arguments)
    assert code == 0, errors
    found = json.loads(output)
    assert found["device"] == "Google Pixel"
    (timing,) = found["timings"]
    assert timing["ms"] > 0
    assert {"0", "2"} <= {part["module"] for part in timing["kernels"]}
    assert not any(part["ms"] is None for part in timing["kernels"])
