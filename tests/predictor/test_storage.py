from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netadapt.predictor.errors import PredictorFileError, RefitError
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.predictor.storage import FORMAT_VERSION
from netadapt.profiler.kernels import Kernel
from tests.predictor import made_up_device as device


@pytest.fixture(scope="module")
def trained() -> list[Kernel]:
    return device.kernels(160, np.random.default_rng(0))


@pytest.fixture(scope="module")
def fitted(trained: list[Kernel]) -> LatencyPredictor:
    rng = np.random.default_rng(1)
    chains = [k for k in trained if k.keeps_shape and k.carries_layout_cost][:8]
    networks = [device.network(rng) for _ in range(6)]
    table = device.table(device.rows(rng, trained, chains, networks))
    return LatencyPredictor(coverage=0.8).fit(table)


@pytest.fixture
def saved(fitted: LatencyPredictor, tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "predictor.json.gz"
    fitted.save(path)
    return path


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return document


def write(path: Path, document: dict[str, Any]) -> None:
    path.write_bytes(gzip.compress(json.dumps(document).encode()))


def test_a_loaded_predictor_is_the_saved_one(
    fitted: LatencyPredictor, saved: Path, trained: list[Kernel]
) -> None:
    loaded = LatencyPredictor.load(saved)
    rng = np.random.default_rng(9)
    networks = [device.network(rng) for _ in range(5)]
    kernels = [*trained, *device.kernels(300, rng)]
    assert loaded.predict(kernels) == pytest.approx(fitted.predict(kernels), rel=1e-6)
    assert loaded.predict_networks_interval(networks) == pytest.approx(
        fitted.predict_networks_interval(networks), rel=1e-6
    )
    assert loaded.report_.to_dict()["kernels"] == pytest.approx(fitted.report_.to_dict()["kernels"])
    assert loaded.get_params(deep=False)["coverage"] == 0.8
    assert list(saved.parent.iterdir()) == [saved]


def test_networks_measured_since_are_saved_too(fitted: LatencyPredictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    networks = [device.network(rng) for _ in range(4)]
    path = tmp_path / "predictor.json.gz"
    try:
        fitted.fit_correction(networks, [1.2 * device.network_us(k) / 1e3 for k in networks])
        fitted.save(path)
        expected = fitted.predict_networks(networks)
    finally:
        fitted.fit_correction([], [])
    assert LatencyPredictor.load(path).predict_networks(networks) == pytest.approx(expected)


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_cut_file_is_one_clear_error(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(PredictorFileError, match="fit again") as caught:
        LatencyPredictor.load(saved)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_one_clear_error(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 4
    saved.write_bytes(content)
    with pytest.raises(PredictorFileError, match="fit again"):
        LatencyPredictor.load(saved)


def test_other_files_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictorFileError, match="No such file"):
        LatencyPredictor.load(tmp_path / "absent")
    write(saved, {"format": "something else"})
    with pytest.raises(PredictorFileError, match="no saved latency predictor"):
        LatencyPredictor.load(saved)


def test_a_newer_format_is_refused(saved: Path) -> None:
    write(saved, read(saved) | {"version": FORMAT_VERSION + 1})
    with pytest.raises(PredictorFileError, match=f"has {FORMAT_VERSION + 1}"):
        LatencyPredictor.load(saved)


@pytest.mark.parametrize("part", ["kernels", "networks", "checks", "settings", "provenance"])
def test_a_missing_part_is_one_clear_error(saved: Path, part: str) -> None:
    document = read(saved)
    del document[part]
    write(saved, document)
    with pytest.raises(PredictorFileError, match=part):
        LatencyPredictor.load(saved)


def test_a_file_that_names_no_recipe_is_loaded(fitted: LatencyPredictor, saved: Path) -> None:
    """As 0.1 wrote it, when there was only one."""
    document = read(saved)
    for name in ("cores", "device_performance", "machine", "recipe", "lowering"):
        del document["provenance"][name]
    write(saved, document)
    provenance = LatencyPredictor.load(saved).data_.provenance
    assert provenance.device == fitted.data_.provenance.device
    assert (str(provenance.recipe), provenance.lowering) == ("xnnpack-fp32-1", "")


def test_another_fit_than_the_saved_one_is_an_error_unless_tolerated(saved: Path) -> None:
    document = read(saved)
    key = next(iter(document["checks"]))
    document["checks"][key] *= 1.1
    write(saved, document)
    with pytest.raises(RefitError, match=r"scikit-learn.*fit again"):
        LatencyPredictor.load(saved)
    assert LatencyPredictor.load(saved, tolerance=0.2).report_.kernels.count > 0


def test_a_file_holds_no_code(saved: Path) -> None:
    document = read(saved)
    document["regressor"]["__reduce__"] = ["os.system", "true"]
    write(saved, document)
    with pytest.raises(PredictorFileError, match=r"__reduce__.*not permitted"):
        LatencyPredictor.load(saved)


HOSTILE = [
    ("kernels", 0, "latency_ms", "fast"),
    ("kernels", 0, "latency_ms", -1.0),
    ("kernels", 0, "latency_ms", 10**400),
    ("kernels", 0, "copies", 0),
    ("kernels", 0, "copies", 1.5),
    ("kernels", 0, "key", None),
    ("kernels", 0, "key", "linear(in_features=0, out_features=-4)"),
    ("networks", 0, "kernels", [[["deep"]]]),
    ("networks", 0, "kernels", []),
    ("regressor", "noise", 0.0),
    ("regressor", "length_scale", "long"),
    ("settings", "coverage", 7),
    ("settings", []),
    ("checks", []),
    ("provenance", "threads", "many"),
    ("provenance", "recipe", "the usual one"),
    ("provenance", "device_kind", "toaster"),
]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: ".".join(map(str, path))[:60])
def test_a_hostile_value_is_one_clear_error(saved: Path, path: tuple[Any, ...]) -> None:
    document: Any = read(saved)
    part = document
    for step in path[:-2]:
        part = part[step]
    part[path[-2]] = path[-1]
    write(saved, document)
    with pytest.raises(PredictorFileError, match=r"fit again|in pairs") as caught:
        LatencyPredictor.load(saved)
    assert "\n" not in str(caught.value)


def test_numbers_that_json_lacks_are_refused(saved: Path) -> None:
    text = json.dumps(read(saved)).replace('"latency_ms": ', '"latency_ms": Infinity, "x": ', 1)
    saved.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(PredictorFileError, match="fit again"):
        LatencyPredictor.load(saved)
