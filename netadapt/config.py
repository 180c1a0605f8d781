"""A run, described by one TOML file: checked when read, saved with all defaults beside its results.

Every key has a default, so that an empty file is a valid run. A section of the file is a settings
dataclass of the part that it sets, and nothing here has a default or a bound of its own; a part
that is chosen by name (a task, a searcher, ...) has its settings in a table of that name:

    [search]
    searcher = "mcd"            # or "my_package.my_module:MySearcher"

    [search.mcd]                # or [search.MySearcher]
    candidates = 40
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from netadapt.android_runner.errors import PluginError
from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.plugins import Registry
from netadapt.android_runner.text import shown
from netadapt.checked import line_of, validated
from netadapt.devices import DeviceSettings
from netadapt.errors import ConfigError
from netadapt.profiler.settings import ProfileSettings, SampleSettings
from netadapt.runs.strategy import STRATEGIES
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.landing import LandingSettings, LoopSettings
from netadapt.search.searchers.base import SEARCHERS
from netadapt.search.task import TASKS
from netadapt.search.training.settings import TrainingSettings
from netadapt.search.training.step import STEPS
from netadapt.settings import (
    Chosen,
    ConstraintSettings,
    RunSettings,
    SpaceSettings,
    WeightsFrom,
    budget_label,
    run_folder,
    settings_table,
    several,
)

# Keys of 0.1, and where their values stand now.
MOVED: Mapping[str, str] = {
    **{f"task.{key}": f"task.digits.{key}" for key in ("seed", "channels", "pixels")},
    **{f"profile.{key}": f"sample.{key}" for key in ("kernels", "chains", "networks")},
    **{f"supernet.{key}": f"supernet.ordered_dropout.{key}" for key in ("kernel_per", "ramp")},
    **{f"search.{key}": f"search.mcd.{key}" for key in ("candidates", "layers", "similarity")},
    "search.evaluations": "search.mcd.evaluations (or search.random.evaluations)",
    **{
        f"search.{key}": f"search.mcd.schedule.{key}"
        for key in ("initial_reduction", "decay", "approach", "finest_step")
    },
    **{
        f"search.{key}": f"search.evaluation.{key}"
        for key in ("validation_images", "calibration_images")
    },
}

INDIFFERENT = frozenset({"run.folder", "run.trains_on", "device.wait_s", "profile.workers"})
"""Keys that decide nothing about a run's results: they may change when it is resumed."""

BUDGETS = frozenset({"search.constraints.latency_ms", "search.constraints.latency_share"})
"""Keys that decide which searches a run makes, and nothing about any one of them."""


def _chosen(registry: Registry[Any], name: str) -> Chosen:
    return Chosen(name, registry.settings_class(name)())


@dataclass(frozen=True, slots=True)
class SupernetSection:
    """`[supernet]`: the training of the super-network; `step` is what a batch teaches it."""

    training: TrainingSettings = field(default_factory=TrainingSettings)
    step: Chosen = field(default_factory=lambda: _chosen(STEPS, "ordered_dropout"))


@dataclass(frozen=True, slots=True)
class SearchSection:
    """`[search]`: how the network for a budget is found."""

    strategy: Chosen = field(default_factory=lambda: _chosen(STRATEGIES, "supernet"))
    searcher: Chosen = field(default_factory=lambda: _chosen(SEARCHERS, "mcd"))
    loop: LoopSettings = field(default_factory=LoopSettings)
    landing: LandingSettings = field(default_factory=LandingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    constraints: ConstraintSettings = field(
        default_factory=lambda: ConstraintSettings(latency_share=0.5)
    )


@dataclass(frozen=True, slots=True)
class FinalSection:
    """`[final]`: the training of the found, the reference and the scaled networks.

    Parameters
    ----------
    weights: where they start from, the super-network's weights or new ones.
    scaled: whether the reference, scaled to the found latency in up to three ways, is trained too.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    weights: WeightsFrom = "supernet"
    scaled: bool = True


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A whole run. Read it with `read_config`, save it with `write_config`."""

    run: RunSettings = field(default_factory=RunSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    task: Chosen = field(default_factory=lambda: _chosen(TASKS, "digits"))
    sample: SampleSettings = field(default_factory=SampleSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)
    supernet: SupernetSection = field(default_factory=SupernetSection)
    search: SearchSection = field(default_factory=SearchSection)
    final: FinalSection = field(default_factory=FinalSection)

    @property
    def folder(self) -> Path:
        """Where the run's results go."""
        return run_folder(self.run)

    def document(self) -> dict[str, Any]:
        """The run as a file has it, every default written out; what is None is left out."""
        search, supernet, final = self.search, self.supernet, self.final
        return {
            "run": _plain(self.run),
            "device": _plain(self.device),
            "space": _plain(self.space),
            "task": {"name": self.task.name, **_table_of(self.task)},
            "sample": _plain(self.sample),
            "profile": _plain(self.profile),
            "supernet": {
                **_plain(supernet.training),
                "step": supernet.step.name,
                **_table_of(supernet.step),
            },
            "search": {
                "strategy": search.strategy.name,
                "searcher": search.searcher.name,
                **_plain(search.loop),
                "constraints": _plain(search.constraints),
                "landing": _plain(search.landing),
                "evaluation": _plain(search.evaluation),
                **_table_of(search.strategy),
                **_table_of(search.searcher),
            },
            "final": {
                "weights": final.weights,
                "scaled": final.scaled,
                **_plain(final.training),
            },
        }

    def flat(self) -> dict[str, object]:
        """Values by key, e.g. `search.constraints.latency_share`; those not given are left out."""
        return dict(_walk(self.document(), ""))

    def decisive(self) -> dict[str, object]:
        """`flat` without the keys that decide nothing about the results, and without `BUDGETS`.

        Without the space's name too: its content decides, which this does not know.
        """
        left_out = INDIFFERENT | BUDGETS | {"space.name"}
        return {key: value for key, value in self.flat().items() if key not in left_out}

    def changed(self, options: Mapping[str, Any]) -> Self:
        """A copy with other values in some tables, checked like a file; None changes nothing."""
        document = self.document()
        _merge(document, options)
        return type(self)(**_sections(document, "the options"))

    def with_constraints(self, constraints: ConstraintSettings) -> Self:
        """A copy that must meet other constraints."""
        search = dataclasses.replace(self.search, constraints=constraints)
        return dataclasses.replace(self, search=search)

    def with_steps(self, steps: int) -> Self:
        """A copy whose trainings all have so many steps only: to try a run."""
        own, last = self.supernet, self.final
        supernet = dataclasses.replace(own, training=own.training.shortened(steps))
        final = dataclasses.replace(last, training=last.training.shortened(steps))
        return dataclasses.replace(self, supernet=supernet, final=final)

    def with_budgets(self, texts: Sequence[str]) -> Self:
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
                    f"the budgets of a run are all of one kind, got {line_of(text)!r}; give one "
                    f"like {example} as its others"
                ) from error
            if budget_label(value) not in map(budget_label, values):
                values.append(value)
        one_or_several = values if len(values) > 1 else values[0]
        return self.changed({"search": {"constraints": {key: one_or_several}}})


def read_config(path: Path) -> RunConfig:
    """The run that the TOML file at `path` describes.

    A space that is a file is found relative to it, as are the `paths` of a task's settings (names
    of fields, where its dataclass has such a tuple). Raises `ConfigError` in one line.
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
            f"{line_of(path)}: not valid TOML: {line_of(error)}; mend the file there"
        ) from error
    config = _at_home(parse_config(document, str(path)), path)
    name = config.space.name
    if name.endswith(".toml") and not Path(name).is_absolute():
        # The resolved file goes elsewhere, and has to mean the same there.
        absolute = str((path.parent / name).resolve())
        config = dataclasses.replace(config, space=dataclasses.replace(config.space, name=absolute))
    return config


def _at_home(config: RunConfig, path: Path) -> RunConfig:
    """With the paths among a task's settings found relative to the run file."""
    settings = config.task.settings
    absolute = {
        name: str((path.parent / Path(value).expanduser()).resolve())
        for name in getattr(type(settings), "paths", ())
        if (value := getattr(settings, name))
    }
    if not absolute:
        return config
    return dataclasses.replace(
        config, task=Chosen(config.task.name, dataclasses.replace(settings, **absolute))
    )


def parse_config(document: Mapping[str, Any], source: str) -> RunConfig:
    """The run that a TOML document describes; `source` is what errors call it.

    Raises `ConfigError`, also for keys of 0.1 that have moved.
    """
    return RunConfig(**_sections(document, source))


def config_text(config: RunConfig) -> str:
    """The run as TOML, every default written out; `read_config` gives the same run again."""
    import tomli_w

    return tomli_w.dumps(config.document())


def write_config(config: RunConfig, path: Path) -> None:
    """Save the run as TOML, whole or not at all."""
    write_atomically(path, config_text(config).encode())


def demo_config() -> RunConfig:
    """The run that `netadapt demo` does; its file comes with the package."""
    return example_config("demo")


def example_config(name: str) -> RunConfig:
    """A run that comes with the package, in `netadapt/examples`."""
    resource = files("netadapt") / "examples" / f"{name}.toml"
    return parse_config(tomllib.loads(resource.read_text("utf-8")), resource.name)


def _sections(document: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The sections of a file, checked; those that it lacks are left to their defaults."""
    try:
        return _read(_Table("", document))
    except ConfigError as error:
        raise ConfigError(f"{line_of(source)}: {error}") from error


def _read(file: _Table) -> dict[str, Any]:
    file.refuse_moved()
    made: dict[str, Any] = {}
    for name, kind in (
        ("run", RunSettings),
        ("device", DeviceSettings),
        ("space", SpaceSettings),
        ("sample", SampleSettings),
        ("profile", ProfileSettings),
    ):
        made[name] = file.table(name).settings(kind, alone=True)
    task = file.table("task")
    made["task"] = task.chosen("name", TASKS, "digits")
    task.end()
    supernet = file.table("supernet")
    made["supernet"] = SupernetSection(
        step=supernet.chosen("step", STEPS, "ordered_dropout"),
        training=supernet.settings(TrainingSettings),
    )
    supernet.end()
    made["search"] = _search(file.table("search"))
    final = file.table("final")
    own = final.settings(_Finals)
    made["final"] = FinalSection(final.settings(TrainingSettings), own.weights, own.scaled)
    final.end()
    file.end()
    return made


def _search(table: _Table) -> SearchSection:
    made = SearchSection(
        strategy=table.chosen("strategy", STRATEGIES, "supernet"),
        searcher=table.chosen("searcher", SEARCHERS, "mcd"),
        loop=table.settings(LoopSettings),
        landing=table.table("landing").settings(LandingSettings, alone=True),
        evaluation=table.table("evaluation").settings(EvaluationSettings, alone=True),
        constraints=(
            table.table("constraints").settings(ConstraintSettings, alone=True)
            if "constraints" in table.left
            else ConstraintSettings(latency_share=0.5)
        ),
    )
    table.end()
    return made


@dataclass(frozen=True, slots=True)
class _Finals:
    weights: WeightsFrom = "supernet"
    scaled: bool = True


class _Table:
    """A table of the file while it is read: what is taken out, and what nobody asked for."""

    def __init__(self, at: str, content: object) -> None:
        if not isinstance(content, Mapping):
            raise ConfigError(
                f"{line_of(at)}: should be a table, got {shown(content)}; write [{at}]"
            )
        self._at = at
        self.left: dict[str, Any] = dict(content)
        self._known: list[str] = []

    def table(self, name: str) -> _Table:
        """The table called `name` in this one; an empty one where it is not there."""
        self._known.append(name)
        return _Table(self._key(name), self.left.pop(name, {}))

    def settings(self, kind: type[Any], *, alone: bool = False) -> Any:
        """A settings dataclass of its keys in here; `alone`: nothing else belongs here."""
        names = [each.name for each in dataclasses.fields(kind)]
        self._known += names
        if alone:
            self.end()
        own = {name: self.left.pop(name) for name in names if name in self.left}
        return validated(kind, own, self._at)

    def chosen(self, key: str, registry: Registry[Any], usual: str) -> Chosen:
        """The part named by `key`, with the settings in the table of its name.

        Tables of parts that come along and are not chosen are left to rest, once checked.
        """
        self._known.append(key)
        name = self.left.pop(key, usual)
        if not isinstance(name, str):
            raise ConfigError(
                f"{self._key(key)}: names a {registry.what}, got {shown(name)}; correct it"
            )
        found = None
        for one in dict.fromkeys((*registry.places, name)):
            if one == name or settings_table(one) in self.left:
                made = self._part(key, one, registry)
                found = made if one == name else found
        assert found is not None
        return found

    def _part(self, key: str, name: str, registry: Registry[Any]) -> Chosen:
        own = settings_table(name)
        if own in self._known:
            raise ConfigError(
                f"{self._key(key)}: a part's settings have a table of their own, {line_of(name)} "
                f"would share {self._key(own)} with another; rename that class"
            )
        try:
            kind = registry.settings_class(name)
        except PluginError as error:
            raise ConfigError(f"{self._key(key)}: {line_of(error)}") from error
        return Chosen(name, self.table(own).settings(kind, alone=True))

    def end(self) -> None:
        """Raises `ConfigError` for a key that nobody took."""
        unknown = next((name for name in self.left if name not in self._known), None)
        if unknown is None:
            return
        close = difflib.get_close_matches(unknown, self._known, n=1)
        known = ", ".join(dict.fromkeys(self._known))
        advice = f"did you mean {close[0]!r}?" if close else f"known here: {known}"
        raise ConfigError(f"{line_of(self._key(unknown))}: there is no such key; {advice}")

    def refuse_moved(self) -> None:
        """Raises `ConfigError` for keys of 0.1 that stand elsewhere now."""
        for key, _ in _walk(self.left, ""):
            if key in MOVED:
                raise ConfigError(f"{key}: is {MOVED[key]} now; move it there")

    def _key(self, name: str) -> str:
        return f"{self._at}.{name}" if self._at else name


def _table_of(chosen: Chosen) -> dict[str, Any]:
    """The table of a chosen part's settings, none where it has no settings."""
    settings = _plain(chosen.settings)
    return {chosen.table: settings} if settings else {}


def _plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as TOML takes it: no None, no tuples, no empty tables."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            inner = {key: plain(one) for key, one in value.items() if one is not None}
            return {key: one for key, one in inner.items() if one != {}}
        return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value

    found: dict[str, Any] = plain(dataclasses.asdict(settings))
    return found


def _walk(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _merge(document: dict[str, Any], options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, Mapping):
            _merge(document.setdefault(name, {}), value)
        elif value is not None:
            document[name] = value
