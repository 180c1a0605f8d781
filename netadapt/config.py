"""A run, described by one TOML file: checked when read, saved resolved beside its results.

Every key has a default, so that an empty file is a valid run; where a part has the same setting,
the default is the same (a test holds the two together). Defaults that the published papers do not
settle are marked "assumption"; `docs/algorithms.md` says what they stand for.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from netadapt.android_runner.files import write_atomically
from netadapt.errors import ConfigError
from netadapt.runs.budgets import label, several
from netadapt.search.errors import shown

# Whole numbers have upper bounds, far above any use: a slip of the keyboard, such as
# `networks = 1000000000`, is an error and not a machine without memory.
FEW, MANY, ENDLESS = 1_000, 1_000_000, 1_000_000_000
Few = Annotated[int, Field(ge=1, le=FEW)]
Count = Annotated[int, Field(ge=1, le=MANY)]
Steps = Annotated[int, Field(ge=1, le=ENDLESS)]
Natural = Annotated[int, Field(ge=0, le=MANY)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
ShareOfTraining = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
# A text that is safe as a folder's name and as a key
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f]+$")]


_HUGE = 1e300  # an integer may be larger than any float


def _budgets(value: object) -> float | tuple[float, ...] | None:
    """A budget, or a list of different ones."""
    if value is None:
        return None
    listed = isinstance(value, (list, tuple))
    wanted: Sequence[Any] = value if isinstance(value, (list, tuple)) else (value,)
    numbers = [one for one in wanted if type(one) in (int, float) and 0 < one < _HUGE]
    if len(numbers) < len(wanted) or len(set(map(label, numbers))) < max(len(wanted), 1):
        raise ValueError(
            f"should be a number above 0 or a list of different ones, got {shown(value)}; "
            "correct it or leave it out"
        )
    return tuple(map(float, numbers)) if listed else float(numbers[0])


# One search for each of them, all from one super-network
Budgets = Annotated[float | tuple[float, ...] | None, BeforeValidator(_budgets)]


class Section(BaseModel):
    """A table of the file: unknown keys, wrong types and numbers without a value are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RunSection(Section):
    """What the run is called and where its results go; `folder` is `runs/<name>` when not given."""

    name: Name = "run"
    seed: Seed = 0
    folder: Text | None = None


class DeviceSection(Section):
    """What latencies are measured on.

    id: `host` is this machine, `phone` the only phone there is, anything else a phone's serial or
    `host:port` (`netadapt devices`).
    cpus: cores to pin to, or a phone's `big` or `little` ones; not given, the device's default.
    wait_s: how long a phone is waited for that is lost, locked, full or empty.
    fixed_performance, governor, freq_khz, start_below_c, min_battery_pct: of phones, as in
    `netadapt.android_runner.phone.PhoneSettings`.
    """

    id: Text = "host"
    threads: Few = 1
    # strict mode takes no TOML array for a tuple
    cpus: (
        Annotated[tuple[Natural, ...], Field(min_length=1, max_length=FEW, strict=False)]
        | Literal["big", "little"]
        | None
    ) = None
    wait_s: NotNegative = 900.0
    fixed_performance: bool = True
    governor: Name | None = None
    freq_khz: Steps | None = None
    start_below_c: Positive = 45.0
    min_battery_pct: Annotated[int, Field(ge=0, le=100)] = 15

    @model_validator(mode="after")
    def _one_core_a_thread(self) -> Self:
        if not isinstance(self.cpus, tuple):
            return self
        if len(set(self.cpus)) != len(self.cpus):
            raise ValueError("cpus must be distinct core numbers; name each core once")
        if len(self.cpus) < self.threads:
            raise ValueError("cpus must be at least as many as threads; name more cores")
        return self


class SpaceSection(Section):
    """Where to search: a space that comes along, or a `.toml` file (relative to the run file).

    `bypass`: channel-level bypass connections on or off; not given, as the space has it.
    """

    name: Text = "digits"
    bypass: bool | None = None


def _known_task(name: object) -> object:
    if name not in TASKS:
        raise ValueError(
            f"is one of the tasks there are today: {', '.join(TASKS)}, got {shown(name)}; data of "
            "one's own cannot be trained on yet, but `netadapt profile` and `fit` need no task"
        )
    return name


TASKS = ("digits",)


class TaskSection(Section):
    """What networks are trained for.

    seed: of the data; not given, the run's.
    channels, pixels: of the digits' images: 1 (grey) or 3 (coloured), and their side.
    """

    name: Annotated[str, BeforeValidator(_known_task)] = "digits"
    seed: Seed | None = None
    channels: Literal[1, 3] = 1
    pixels: Annotated[int, Field(ge=16, le=512)] = 24


class ProfileSection(Section):
    """What goes into the latency table, and how long each measurement takes.

    kernels, chains: programs of single kernels and of repeated kernels (they tell the layout cost).
    networks: whole networks measured for the predictor's correction and its honest report.
    rounds, warmup_ms, visit_ms: as in `android_runner.RunSpec`. batch: programs in one process.
    workers: lowering processes at a time; not given, one for each core.
    """

    kernels: Count = 300
    chains: Natural = 24
    networks: Annotated[int, Field(ge=0, le=FEW)] = 12
    rounds: Annotated[int, Field(ge=2, le=MANY)] = 12
    warmup_ms: NotNegative = 5.0
    visit_ms: Positive = 3.0
    batch: Few = 48
    workers: Few | None = None


class TrainingSection(Section):
    """As `netadapt.search.training.TrainingSettings`: the sections below set its length."""

    steps: Steps = 800
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    optimizer: Literal["adamw", "sgd"] = "sgd"
    learning_rate: Positive = 0.2
    warmup_steps: Annotated[int, Field(ge=0, le=ENDLESS)] = 40
    weight_decay: NotNegative = 1e-4
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps must be below steps ({self.steps}), got {self.warmup_steps}; "
                "lower warmup_steps"
            )
        return self


class SupernetSection(TrainingSection):
    """Training of the super-network with ordered dropout.

    kernel_per: whether each image of a batch or each step draws its kernel sizes (assumption).
    ramp: shares of the training between which ordered dropout sets in (assumption).
    """

    kernel_per: Literal["image", "step"] = "image"
    ramp: Annotated[tuple[ShareOfTraining, ShareOfTraining], Field(strict=False)] = (0.2, 0.6)

    @model_validator(mode="after")
    def _ramp_ascends(self) -> Self:
        if self.ramp[0] > self.ramp[1]:
            raise ValueError(f"a ramp ascends, got {list(self.ramp)}; swap its two shares")
        return self


class FinalSection(TrainingSection):
    """Training of the found, the reference and the scaled networks: one recipe for all.

    weights: where they start from, the super-network's weights or new ones.
    """

    weights: Literal["supernet", "scratch"] = "supernet"


class ConstraintsSection(Section):
    """What the found network must meet; at least one, all together.

    latency_share: of the measured latency of the space's reference network.
    latency_ms and latency_share may be lists: a network is then searched for each of the budgets,
    all of them from one super-network (`netadapt.runs.budgets`).
    """

    latency_ms: Budgets = None
    latency_share: Budgets = None
    macs: Positive | None = None
    params: Positive | None = None
    planned_memory_bytes: Positive | None = None

    @model_validator(mode="after")
    def _something_to_meet(self) -> Self:
        if self.latency_ms is not None and self.latency_share is not None:
            raise ValueError(
                "latency is given once, as latency_ms or as latency_share; remove one of them"
            )
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("a search needs a constraint; set latency_share = 0.5")
        return self


class SearchSection(Section):
    """How the super-network is shrunk.

    candidates, layers: J and L of multi-layer coordinate descent; `candidates` are also the
    networks of one round of random search.
    initial_reduction, decay: r0 and d of the schedule; not given, the searcher's own.
    approach, finest_step: a geometric schedule instead: the share of the logarithmic way to the
    budget that each iteration goes, and the share of the last target that it takes at least.
    similarity: how far candidates may undershoot, as a share of the first value.
    evaluations: networks scored in all; not given, as the schedule has it (random search: 1000).
    validation_images: the first of the validation split; not given, all.
    calibration_images: what batch-norm statistics are re-estimated on for each network.
    loop: what is measured on the device while the search goes on. "predictor": nothing. "accepted":
    the network that each iteration settles on. "top_k": the `top_k` most accurate candidates of
    each iteration, before it settles on one of them.
    guard: the last candidates stay inside the latency budget with the upper end of the prediction's
    interval, which measurements narrow; with loop = "predictor" it stays as wide as it is.
    All of them are assumptions.
    """

    searcher: Literal["mcd", "single_layer", "random"] = "mcd"
    candidates: Annotated[int, Field(ge=1, le=100_000)] = 100
    layers: Few = 10
    initial_reduction: Annotated[float, Field(gt=0, lt=1)] | None = None
    decay: Share | None = None
    approach: Annotated[float, Field(gt=0, lt=1)] | None = None
    finest_step: Annotated[float, Field(gt=0, lt=1)] = 0.07
    similarity: Annotated[float, Field(ge=0, lt=1)] = 0.01
    evaluations: Count | None = None
    validation_images: Count | None = None
    calibration_images: Annotated[int, Field(ge=2, le=MANY)] = 256
    loop: Literal["predictor", "accepted", "top_k"] = "accepted"
    top_k: Few = 3
    guard: bool = True
    constraints: ConstraintsSection = Field(
        default_factory=lambda: ConstraintsSection(latency_share=0.5)
    )

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.approach is not None and (self.initial_reduction or self.decay):
            raise ValueError(
                "a search has one schedule: approach, or initial_reduction and decay; remove one"
            )
        return self


INDIFFERENT = frozenset({"run.folder", "device.wait_s", "profile.workers"})
"""Keys that decide nothing about a run's results: they may change when it is gone on with."""

BUDGETS = frozenset({"search.constraints.latency_ms", "search.constraints.latency_share"})
"""Keys that decide which searches a run makes, and nothing about any one of them."""


class RunConfig(Section):
    """A whole run. Read it with `read_config`, save it with `write_config`."""

    run: RunSection = Field(default_factory=RunSection)
    device: DeviceSection = Field(default_factory=DeviceSection)
    space: SpaceSection = Field(default_factory=SpaceSection)
    task: TaskSection = Field(default_factory=TaskSection)
    profile: ProfileSection = Field(default_factory=ProfileSection)
    supernet: SupernetSection = Field(default_factory=SupernetSection)
    search: SearchSection = Field(default_factory=SearchSection)
    final: FinalSection = Field(default_factory=FinalSection)

    @property
    def folder(self) -> Path:
        """Where the run's results go."""
        return Path(self.run.folder or f"runs/{self.run.name}")

    def flat(self) -> dict[str, object]:
        """Values by key, e.g. `search.constraints.latency_share`; those not given are left out."""

        def walk(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
            for name, value in table.items():
                if isinstance(value, dict):
                    yield from walk(value, f"{prefix}{name}.")
                else:
                    yield f"{prefix}{name}", value

        return dict(walk(self.model_dump(exclude_none=True), ""))

    def decisive(self) -> dict[str, object]:
        """`flat` without the keys that decide nothing about the results, and without `BUDGETS`.

        Without the space's name too: its content decides, which this does not know.
        """
        left_out = INDIFFERENT | BUDGETS | {"space.name"}
        return {key: value for key, value in self.flat().items() if key not in left_out}

    def with_run(self, **changes: object) -> Self:
        """A copy with other keys in `[run]`, checked like a file."""
        run = self.run.model_dump() | changes
        return self.model_validate(self.model_dump() | {"run": run})

    def with_budgets(self, texts: Sequence[str]) -> RunConfig:
        """A copy with latency budgets added: shares, or milliseconds (`12ms`) where the run's are.

        Those that it has already change nothing. Raises `ConfigError` for what is no budget, or
        one of the other kind.
        """
        constraints = self.search.constraints
        if constraints.latency_share is not None:
            key, unit, given = "latency_share", "", constraints.latency_share
        elif constraints.latency_ms is not None:
            key, unit, given = "latency_ms", "ms", constraints.latency_ms
        else:
            raise ConfigError(
                f"a budget is added to a run with a latency budget, {self.run.name!r} has none; "
                "write a run file with latency_share"
            )
        values = list(several(given))
        for text in texts:
            try:
                value = float(text.strip().removesuffix(unit))
            except ValueError as error:
                example = "12ms" if unit else "0.35, a share of the reference's latency,"
                raise ConfigError(
                    f"the budgets of a run are all of one kind, got {_line(text)!r}; give one "
                    f"like {example} as its others"
                ) from error
            if label(value) not in map(label, values):
                values.append(value)
        document = self.model_dump()
        document["search"]["constraints"][key] = values if len(values) > 1 else values[0]
        return parse_config(document, "--budget")


def read_config(path: Path) -> RunConfig:
    """The run that the TOML file at `path` describes.

    Raises `ConfigError`, one line that names the file, the key, the rule and the value.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError as error:
        raise ConfigError(
            f"a run is described by a TOML file, found none at {path}; "
            f"name another, or write one with `netadapt init {path}`"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"a run file must be readable, {path} is not: {error.strerror}; name another file"
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or nested without end
        raise ConfigError(
            f"{_line(path)}: not valid TOML: {_line(error)}; mend the file there"
        ) from error
    config = parse_config(document, str(path))
    name = config.space.name
    if name.endswith(".toml") and not Path(name).is_absolute():
        # The resolved file goes elsewhere, and has to mean the same there.
        space = config.space.model_copy(update={"name": str((path.parent / name).resolve())})
        config = config.model_copy(update={"space": space})
    return config


def parse_config(document: Mapping[str, Any], source: str) -> RunConfig:
    """The run that a TOML document describes; `source` is what errors call it."""
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{_line(source)}: {_explain(problems[0])}{more}") from error


def config_text(config: RunConfig) -> str:
    """The run as TOML, every default written out; `read_config` gives the same run again."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def write_config(config: RunConfig, path: Path) -> None:
    """Save the run as TOML, whole or not at all."""
    write_atomically(path, config_text(config).encode())


def demo_config() -> RunConfig:
    """The run that `netadapt demo` does; its file comes with the package."""
    resource = files("netadapt") / "examples" / "demo.toml"
    return parse_config(tomllib.loads(resource.read_text("utf-8")), "demo.toml")


def _explain(problem: Mapping[str, Any]) -> str:
    """One problem that pydantic found as rule, value and next step."""
    location: Sequence[object] = problem["loc"]
    key = ".".join(str(part) for part in location) or "the file"
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_beside(location)
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"{_line(key)}: there is no such key; {advice}"
    if kind == "value_error":  # our own rules say everything themselves
        return f"{_line(key)}: {_line(context['error'])}"
    rule = "should be a table" if kind == "model_type" else problem["msg"].removeprefix("Input ")
    return f"{_line(key)}: {_line(rule)}, got {shown(value)}; correct it or leave it out"


def _keys_beside(location: Sequence[object]) -> list[str]:
    """The keys that the table has in which an unknown one, at `location`, was found."""
    model: type[BaseModel] = RunConfig
    for part in location[:-1]:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        model = inner
    return list(model.model_fields)


def _line(text: object) -> str:
    """`text` as one line of bounded length."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= 200 else f"{line[:197]}..."
