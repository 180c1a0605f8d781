"""The TOML reader: any file gives a run or one clear line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netadapt.config import (
    MOVED,
    RunConfig,
    config_text,
    demo_config,
    parse_config,
    read_config,
    write_config,
)
from netadapt.devices import DeviceSettings
from netadapt.errors import ConfigError
from netadapt.profiler.settings import ProfileSettings, SampleSettings
from netadapt.runs.parts import Parts
from netadapt.search.errors import InvalidSettingError
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.landing import LandingSettings, LoopSettings
from netadapt.search.metrics import Constraint, macs
from netadapt.search.searchers.base import SEARCHERS
from netadapt.search.task import TASKS
from netadapt.search.training.settings import TrainingSettings
from netadapt.search.training.step import STEPS
from netadapt.settings import RunSettings

TEMPLATE = "run.toml"  # `netadapt init` fills it in: tests/netadapt/test_init.py
EXAMPLES = sorted(
    path
    for path in (Path(__file__).parents[2] / "netadapt" / "examples").glob("*.toml")
    if path.name != TEMPLATE
)

scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["digits", "host", "mcd", 0, 1, -1, 0.5]),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3))
keys = st.one_of(
    st.sampled_from(
        [
            "name",
            "seed",
            "folder",
            "id",
            "threads",
            "cpus",
            "kernels",
            "steps",
            "searcher",
            "layers",
            "latency_ms",
            "latency_share",
            "macs",
            "warmup_steps",
            "bypass",
            "weights",
            "decay",
            "mcd",
            "schedule",
            "constraints",
            "options",
        ]
    ),
    st.text(min_size=1, max_size=8),
)
SECTIONS = [each.name for each in dataclasses.fields(RunConfig)]
sections = st.one_of(st.sampled_from(SECTIONS), st.text(max_size=8))
tables = st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values, max_size=2)))
documents = st.dictionaries(sections, st.one_of(tables, values), max_size=4)


def check_reads_or_explains(path: Path) -> None:
    try:
        config = read_config(path)
    except ConfigError as error:
        line = str(error)
        assert "\n" not in line
        assert line.isprintable()
        assert path.name in line
        assert len(line) < 1000
    else:
        assert read_text(config_text(config)) == config


def read_text(text: str) -> RunConfig:
    return parse_config(tomllib.loads(text), "text")


@given(documents)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_is_read_or_explained(tmp_path: Path, document: dict[str, object]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps(document), encoding="utf-8", errors="replace")
    check_reads_or_explains(path)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b"a = " + b"[" * 20_000)
@example(b"a = " + b"9" * 10_000)
@example(b"[search.mcd]\ncandidates = 0x" + b"f" * 5_000)
@example(b"[search.constraints]\nlatency_ms = 0x" + b"f" * 5_000)
@example(b"[task]\nname = 0x" + b"f" * 5_000)
@example(b"\xff\xfe")
@example(b'[run]\nname = """\n\n\x1b[31m\n"""')
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_explained(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    check_reads_or_explains(path)


def test_an_empty_file_is_the_default_run(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.touch()
    assert read_config(path) == RunConfig()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    assert read_config(path).run.name == path.stem


def test_the_demo_comes_with_the_package() -> None:
    assert demo_config().search.constraints.latency_share == 0.5


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    config = demo_config().changed({"run": {"seed": 7}})
    write_config(config, tmp_path / "run.toml")
    assert read_config(tmp_path / "run.toml") == config


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[search.mcd]\ncandidates = 0", ["search.mcd.candidates", "greater than", "got 0"]),
        ("[serch]\n", ["serch", "did you mean 'search'"]),
        ("[search.mcd]\ncandidate = 3", ["search.mcd.candidate", "did you mean 'candidates'"]),
        ("[profile]\nzzz = 3", ["profile.zzz", "known here", "rounds"]),
        ("search = 3", ["search", "should be a table", "got 3"]),
        ("[sample]\nkernels = true", ["sample.kernels", "valid integer", "got True"]),
        ("[profile]\nvisit_ms = nan", ["profile.visit_ms", "finite", "got nan"]),
        ("[run]\nname = '../up'", ["run", "got '../up'"]),
        ("[device]\ncpus = [1]\nthreads = 2", ["device", "as many as threads"]),
        ("[device]\ncpus = [1, 1]", ["device", "distinct"]),
        ("[supernet]\nsteps = 3", ["supernet", "warm-up is shorter", "got 40 of 3"]),
        ("[search.constraints]", ["search.constraints", "latency_share = 0.5"]),
        (
            "[search.constraints]\nlatency_ms = 1\nlatency_share = 0.5",
            ["search.constraints", "remove one"],
        ),
        ("[search.constraints]\nlatency_ms = 0", ["search.constraints", "latency_ms", "got [0.0]"]),
        ("[search.constraints]\nlatency_ms = []", ["search.constraints", "latency_ms", "got []"]),
        (
            "[search.constraints]\nlatency_share = [0.5, 0.35, 0.5]",
            ["search.constraints", "latency_share", "different ones", "got [0.5, 0.35, 0.5]"],
        ),
        ("[search.constraints]\nlatency_share = true", ["latency_share", "got True"]),
        ("[search.constraints.metrics]\nenergy = 1.0", ["package.module:function", "'energy'"]),
        ("[search]\nsearcher = 'best'", ["search.searcher", "mcd", "got 'best'"]),
        ("[search]\nsearcher = 'none.at:All'", ["search.searcher", "no 'none'", "PYTHONPATH"]),
        ("[search]\nstrategy = 'best'", ["search.strategy", "supernet", "got 'best'"]),
        ("[supernet]\nstep = 'best'", ["supernet.step", "ordered_dropout", "got 'best'"]),
        ("[search.mcd.schedule]\napproach = 2", ["search.mcd.schedule.approach", "less than 1"]),
        ("[search.random]\nrounds = 2", ["search.random.rounds", "no such key"]),
        ("[run\n", ["not valid TOML", "line 1"]),
        (
            "[task]\nname = 'cifar'",
            ["task.name", "digits, image_folder or package.module:Class", "got 'cifar'"],
        ),
        ("[task]\nname = 3", ["task.name", "names a task", "got 3"]),
    ],
)
def test_errors_name_key_rule_and_value(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "my-run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    for part in ["my-run.toml", *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize(("old", "new"), MOVED.items(), ids=MOVED)
def test_a_key_of_before_names_the_new_one(old: str, new: str) -> None:
    document: object = 1
    for name in reversed(old.split(".")):
        document = {name: document}
    assert isinstance(document, dict)
    with pytest.raises(ConfigError, match=f"{re.escape(old)}: is {re.escape(new)} now; move it"):
        parse_config(document, "run.toml")


def whole_numbers(kind: type, prefix: str = "") -> Iterator[str]:
    """Keys of a settings dataclass, and of those within it, that take whole numbers."""
    hints = get_type_hints(kind)
    for each in dataclasses.fields(kind):
        hint = hints[each.name]
        for member in (hint, *get_args(hint)):
            if member is int:
                yield f"{prefix}{each.name}"
            elif dataclasses.is_dataclass(member) and isinstance(member, type):
                yield from whole_numbers(member, f"{prefix}{each.name}.")


def settings_tables() -> Iterator[tuple[str, type]]:
    """Tables of a run file with the dataclass that each of them is, whatever is chosen by name."""
    yield from (("run", RunSettings), ("device", DeviceSettings), ("sample", SampleSettings))
    yield from (("profile", ProfileSettings), ("supernet", TrainingSettings))
    yield from (("search", LoopSettings), ("search.landing", LandingSettings))
    yield from (("search.evaluation", EvaluationSettings), ("final", TrainingSettings))
    for at, registry in (("task", TASKS), ("supernet", STEPS), ("search", SEARCHERS)):
        for name in registry.places:
            yield f"{at}.{name}", registry.settings_class(name)


NUMBERS = sorted({key for at, kind in settings_tables() for key in whole_numbers(kind, f"{at}.")})
SEEDS = {"run.seed", "task.digits.seed", "task.image_folder.seed", "task.depth.seed"}


@pytest.mark.parametrize("key", [key for key in NUMBERS if key not in SEEDS])
def test_no_whole_number_is_without_end(key: str) -> None:
    """One zero too many is an error, not a machine without memory."""
    for value in (10**12, 10**400):
        document: object = value
        for name in reversed(key.split(".")):
            document = {name: document}
        assert isinstance(document, dict)
        with pytest.raises(ConfigError) as caught:
            parse_config(document, "run.toml")
        assert key.rpartition(".")[2] in str(caught.value)
        assert len(str(caught.value)) < 500
        assert "\n" not in str(caught.value)


def test_no_setting_is_defined_twice() -> None:
    """A key that stands in several settings is one that each of them means by itself."""
    shared = {"seed", "name", "evaluations", "retries", "schedule", "batch_size"}
    shared |= {"temperature", "calibration_images", "validation_images", "random", "round_size"}
    shared |= {"channels", "test_images", "workers", "resolution", "breeding"}
    shared |= {"augmentation", "flip", "mean", "noise", "root", "size", "std"}
    owners: dict[str, set[type]] = {}
    for _, kind in settings_tables():
        for each in dataclasses.fields(kind):
            owners.setdefault(each.name, set()).add(kind)
    twice = {name for name, kinds in owners.items() if len(kinds) > 1}
    assert twice <= shared


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), -1])
@pytest.mark.parametrize(
    ("section", "key"), [("supernet", "learning_rate"), ("search.constraints", "macs")]
)
def test_no_number_is_beyond_all_numbers(section: str, key: str, value: object) -> None:
    document: dict[str, object] = {key: value}
    for name in reversed(section.split(".")):
        document = {name: document}
    with pytest.raises(ConfigError, match=rf"{section}\.{key}") as caught:
        parse_config(document, "run.toml")
    assert len(str(caught.value)) < 500


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none at .*nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")


def test_a_folder_is_no_run_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be readable"):
        read_config(tmp_path)


def test_the_number_of_further_problems_is_said() -> None:
    with pytest.raises(ConfigError, match=r"\(and 1 more\)$"):
        parse_config({"search": {"mcd": {"candidates": 0, "layers": 0}}}, "run.toml")


def test_pictures_are_found_beside_the_run_file(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "run.toml"
    file.parent.mkdir()
    for root, expected in (("../photos", str(tmp_path / "photos")), ("/photos", "/photos")):
        file.write_text(
            f'[task]\nname = "image_folder"\n[task.image_folder]\nroot = "{root}"\n'
            "[space]\nclasses = 7\nresolution = 32\n"
        )
        config = read_config(file)
        assert config.task.settings.root == expected
        assert Parts(config).space.input_shape[2:] == (32, 32)
        assert Parts(config).space.classes == 7
        write_config(config, tmp_path / "copy.toml")
        assert read_config(tmp_path / "copy.toml") == config


def test_a_space_file_is_found_beside_the_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[space]\nname = "mine.toml"')
    assert read_config(path).space.name == str((tmp_path / "mine.toml").resolve())


def test_the_folder_follows_the_name_unless_given() -> None:
    assert RunConfig().changed({"run": {"name": "x"}}).folder == Path("runs/x")
    assert RunConfig().changed({"run": {"folder": "elsewhere"}}).folder == Path("elsewhere")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, LoopSettings("accepted", 3, True)),
        ({"loop": "accepted", "top_k": 7}, LoopSettings("accepted", 7)),
        ({"loop": "top_k"}, LoopSettings("top_k")),
        ({"loop": "top_k", "top_k": 7, "guard": False}, LoopSettings("top_k", 7, False)),
        ({"loop": "predictor"}, LoopSettings("predictor")),
    ],
)
@pytest.mark.parametrize("searcher", ["mcd", "single_layer", "random"])
def test_every_searcher_gets_the_loop(
    searcher: str, section: dict[str, object], expected: LoopSettings
) -> None:
    config = parse_config({"search": {"searcher": searcher, **section}}, "test")
    parts = Parts(config)
    assert parts.search([Constraint(macs(parts.space), 1e6)]).loop == expected


def test_a_super_network_that_is_to_be_compiled_is_refused_at_the_start() -> None:
    parts = Parts(parse_config({"supernet": {"compile": True}}, "test"))
    with pytest.raises(InvalidSettingError, match=r"set it in \[final\] alone"):
        _ = parts.supernet_training
