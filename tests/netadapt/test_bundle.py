"""What a run hands over says all that its user must know, and computes what was trained."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netadapt.errors import RunFolderError
from netadapt.profiler.lowering import ProgramCache, find_lowering, lower
from netadapt.profiler.lowering.writing import stamp_of
from netadapt.runs.bundle import ABOUT, constants, load_network, save_bundle
from netadapt.runs.folder import SearchFolder
from netadapt.search.network import build_network
from netadapt.search.space import Arch, Space
from netadapt.search.task import one_batch
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.training import TrainingSettings, train_network

SPACE = Path(__file__).parent / "toy" / "rgb_space.toml"


@dataclass(frozen=True)
class Handed:
    """A trained network and where its bundle lies."""

    folder: SearchFolder
    space: Space
    arch: Arch
    network: nn.Module
    task: ClutteredDigits

    def images(self, count: int) -> Tensor:
        return one_batch(self.task.calibration(count, count)).images


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Handed:
    folder = SearchFolder(tmp_path_factory.mktemp("bundle") / "0.5")
    space = Space.load(SPACE, bypass=True)
    task = ClutteredDigits(DigitsSettings(channels=3, pixels=25, train_images=64))
    arch = space.random(np.random.default_rng(1))
    network = build_network(space, arch, generator=torch.Generator().manual_seed(0))
    settings = TrainingSettings(steps=2, batch_size=16, warmup_steps=1, norm_batches=2)
    train_network(network, task, settings, seed=0)
    save_bundle(folder, space, SPACE.read_text(), {}, arch, network, task, find_lowering())
    return Handed(folder, space, arch, network, task)


def test_the_program_says_what_its_input_is_and_its_outputs_mean(handed: Handed) -> None:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(handed.folder.program)
    about = constants(handed.space, handed.arch, handed.task)
    assert program.method_names == {"forward", *about}
    said = {}
    for name in about:
        method = program.load_method(name)
        assert method is not None
        said[name] = list(method.execute([]))
    assert said == {
        "input_shape": [1, 3, 25, 25],
        "input_layout": ["NCHW"],
        "input_channels": ["red", "green", "blue"],
        "input_range": [0.0, 1.0],
        "input_mean": list(handed.task.input_format.mean),
        "input_std": list(handed.task.input_format.std),
        "labels": list("0123456789"),
    }


def test_an_app_that_knows_only_the_program_gets_the_networks_answer(handed: Handed) -> None:
    """From pixels to a label with what the program says of itself, as docs/deploy.md does it."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(handed.folder.program)

    def call(name: str, *inputs: Tensor) -> list[object]:
        method = program.load_method(name)
        assert method is not None
        return list(method.execute(list(inputs)))

    normalised = handed.images(4)
    shape = handed.task.input_format
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (shape.mean, shape.std))
    pixels = normalised * std + mean
    own_mean, own_std = (torch.tensor(call(n)).view(3, 1, 1) for n in ("input_mean", "input_std"))
    labels = call("labels")
    with torch.no_grad():
        expected = handed.network(normalised)
    for image, outputs in zip(pixels, expected, strict=True):
        (actual,) = call("forward", ((image - own_mean) / own_std)[None])
        assert isinstance(actual, Tensor)
        torch.testing.assert_close(actual[0], outputs, rtol=1e-3, atol=1e-4)
        assert labels[int(actual.argmax())] == str(int(outputs.argmax()))


def test_what_is_timed_is_what_is_shipped(handed: Handed) -> None:
    """`forward` has the same plan and the same weights whether constants stand beside it or not."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    shipped = deserialize_pte_binary(handed.folder.program.read_bytes())
    timed = deserialize_pte_binary(lower(handed.network, (torch.zeros(handed.space.input_shape),)))
    plans = {plan.name: plan for plan in shipped.program.execution_plan}
    (forward,) = timed.program.execution_plan
    assert plans["forward"] == forward
    assert shipped.program.backend_delegate_data == timed.program.backend_delegate_data
    assert shipped.program.constant_buffer == timed.program.constant_buffer
    assert shipped.named_data == timed.named_data
    for name in plans.keys() - {"forward"}:
        assert not plans[name].delegates


def test_a_program_is_written_where_its_layers_are_known_and_is_the_exporters(
    handed: Handed, tmp_path: Path
) -> None:
    cache, lowering = ProgramCache(tmp_path), find_lowering()
    example = torch.zeros(handed.space.input_shape)
    draft = lowering.draft(handed.network, [tuple(example.shape)])
    assert draft is not None
    cache.note_compared(stamp_of(lowering), draft.layers)
    about = constants(handed.space, handed.arch, handed.task) | {"a_flag": True, "none": []}
    with patch.object(lowering, "export", side_effect=AssertionError("nothing is exported")):
        written = lower(handed.network, (example,), about, lowering=lowering, cache=cache)
    assert written == lower(handed.network, (example,), about, lowering=lowering)


def test_plain_torch_runs_the_exported_network_on_any_number_of_images(handed: Handed) -> None:
    extra = {ABOUT: ""}
    exported = torch.export.load(handed.folder.exported, extra_files=extra).module()
    assert json.loads(extra[ABOUT]) == constants(handed.space, handed.arch, handed.task)
    for count in (1, 5):
        images = handed.images(count)
        with torch.no_grad():
            torch.testing.assert_close(exported(images), handed.network(images))


def test_the_weights_alone_rebuild_the_network_and_its_space(
    handed: Handed, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.pt"
    path.write_bytes(handed.folder.weights.read_bytes())
    saved = load_network(path)
    assert (saved.space, saved.arch) == (handed.space, handed.arch)
    assert saved.input_format == handed.task.input_format
    assert saved.labels == handed.task.labels
    expected = handed.network.state_dict()
    state = saved.network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    images = handed.images(3)
    with torch.no_grad():
        torch.testing.assert_close(saved.network(images), handed.network(images))


def damaged(handed: Handed, **changes: object) -> bytes:
    saved = torch.load(handed.folder.weights, weights_only=True)
    buffer = io.BytesIO()
    torch.save(saved | changes, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"space_toml": "name = "}, "readable TOML"),
        ({"space_toml": SPACE.read_text().replace("width_step = 8", "width_step = 16")}, "space"),
        ({"arch": "{}"}, "an arch reads as"),
        ({"state_dict": {}}, "RuntimeError"),
        ({"labels": 3}, "TypeError"),
        ({"input_format": {"mean": (0.1,)}}, "TypeError"),
    ],
)
def test_a_file_that_is_no_such_network_is_one_clear_line(
    handed: Handed, tmp_path: Path, change: dict[str, object], word: str
) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(damaged(handed, **change))
    with pytest.raises(RunFolderError, match=word) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_no_file_and_other_files_are_one_clear_line(handed: Handed, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="found none at"):
        load_network(tmp_path / "network.pt")
    for content in (b"", b"PK\x03\x04", handed.folder.weights.read_bytes()[:500]):
        path = tmp_path / "broken.pt"
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match="does not") as caught:
            load_network(path)
        assert "\n" not in str(caught.value)
