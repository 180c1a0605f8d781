"""The TOML reader: any file gives a run or one clear line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from netadapt import assembly
from netadapt.config import (
    RunConfig,
    config_text,
    demo_config,
    parse_config,
    read_config,
    write_config,
)
from netadapt.errors import ConfigError
from netadapt.search.landing import LoopSettings
from netadapt.search.metrics import Constraint, macs

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
        ]
    ),
    st.text(min_size=1, max_size=8),
)
sections = st.one_of(st.sampled_from(list(RunConfig.model_fields)), st.text(max_size=8))
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
@example(b"[search]\ncandidates = 0x" + b"f" * 5_000)
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
    config = demo_config().with_run(seed=7)
    write_config(config, tmp_path / "run.toml")
    assert read_config(tmp_path / "run.toml") == config


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[search]\ncandidates = 0", ["search.candidates", "greater than or equal to 1", "got 0"]),
        ("[serch]\n", ["serch", "did you mean 'search'"]),
        ("[search]\ncandidate = 3", ["search.candidate", "did you mean 'candidates'"]),
        ("[profile]\nzzz = 3", ["profile.zzz", "known here", "kernels"]),
        ("search = 3", ["search", "should be a table", "got 3"]),
        ("[profile]\nkernels = true", ["profile.kernels", "valid integer", "got True"]),
        ("[profile]\nvisit_ms = nan", ["profile.visit_ms", "finite", "got nan"]),
        ("[run]\nname = '../up'", ["run.name", "got '../up'"]),
        ("[device]\ncpus = [1]\nthreads = 2", ["device", "as many as threads"]),
        ("[device]\ncpus = [1, 1]", ["device", "distinct"]),
        ("[supernet]\nsteps = 3", ["supernet", "warmup_steps must be below steps", "got 40"]),
        ("[search.constraints]", ["search.constraints", "latency_share = 0.5"]),
        (
            "[search.constraints]\nlatency_ms = 1\nlatency_share = 0.5",
            ["search.constraints", "remove one"],
        ),
        ("[search.constraints]\nlatency_ms = 0", ["search.constraints.latency_ms", "got 0"]),
        ("[search.constraints]\nlatency_ms = []", ["search.constraints.latency_ms", "got []"]),
        (
            "[search.constraints]\nlatency_share = [0.5, 0.35, 0.5]",
            ["search.constraints.latency_share", "different ones", "got [0.5, 0.35, 0.5]"],
        ),
        ("[search.constraints]\nlatency_share = true", ["latency_share", "got True"]),
        ("[search]\nsearcher = 'best'", ["search.searcher", "'mcd'", "got 'best'"]),
        ("[run\n", ["not valid TOML", "line 1"]),
        ("[task]\nname = 'cifar'", ["task.name", "today: digits", "got 'cifar'", "one's own"]),
        ("[task]\nname = 3", ["task.name", "today: digits", "got 3"]),
    ],
)
def test_errors_name_key_rule_and_value(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "my-run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    for part in ["my-run.toml", *parts]:
        assert part in str(caught.value)


def whole_numbers(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from whole_numbers(annotation, f"{prefix}{name}.")
        elif int in (annotation, *(get_args(a)[0] for a in get_args(annotation) if get_args(a))):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("key", sorted(set(whole_numbers(RunConfig)) - {"run.seed", "task.seed"}))
def test_no_whole_number_is_without_end(key: str) -> None:
    """One zero too many is an error, not a machine without memory."""
    section, name = key.split(".")
    for value in (10**12, 10**400):
        with pytest.raises(ConfigError, match=rf"{section}\.{name}.*got 1000000000") as caught:
            parse_config({section: {name: value}}, "run.toml")
        assert len(str(caught.value)) < 500
        assert "\n" not in str(caught.value)


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
        parse_config({"search": {"candidates": 0, "layers": 0}}, "run.toml")


def test_a_space_file_is_found_beside_the_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[space]\nname = "mine.toml"')
    assert read_config(path).space.name == str((tmp_path / "mine.toml").resolve())


def test_the_folder_follows_the_name_unless_given() -> None:
    assert RunConfig().with_run(name="x").folder == Path("runs/x")
    assert RunConfig().with_run(folder="elsewhere").folder == Path("elsewhere")


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
    space = assembly.make_space(config)
    made = assembly.make_search(config, space, [Constraint(macs(space), 1e6)])
    assert made.loop == expected
