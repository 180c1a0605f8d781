"""Models of anybody's, by what a person calls them on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from netadapt import timm_networks
from netadapt.errors import ConfigError
from netadapt.profiler.lowering.cache import ProgramCache
from netadapt.profiler.lowering.programs import lower_exported
from netadapt.profiler.lowering.seam import Lowering, quiet, refusal
from netadapt.profiler.rewrites import applicable, rewritten
from netadapt.text import one_line

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from netadapt.profiler.graph import ModelGraph
    from netadapt.profiler.lowering.xnnpack import XnnpackFp32
    from netadapt.profiler.recognition import Part

FORMS = "file.py:name, package.module:name, timm:name, model.pt2 or program.pte"
"""What a model is named by; `name` is a module, a class or a function that makes one."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model, ready to run on a device.

    Parameters
    ----------
    name : str
        As it was asked for.
    program : bytes
        A `.pte`.
    graph : ModelGraph, or None
        What of it is executed; None of a `.pte` of somebody's, which does not say.
    parameters : int, or None
        None where nobody can count them.
    exported : ExportedProgram, or None
        What the program was made of; None of a `.pte` of somebody's.
    """

    name: str
    program: bytes
    graph: ModelGraph | None = None
    parameters: int | None = None
    exported: ExportedProgram | None = None

    @property
    def rewrites(self) -> tuple[str, ...]:
        """Of `netadapt.profiler.rewrites`, those that would change it still."""
        return () if self.exported is None else tuple(applicable(self.exported))

    @property
    def facts(self) -> str:
        """Name, multiply-accumulates and parameters, as far as they are known."""
        facts = [self.name]
        if self.graph is not None:
            facts.append(f"{self.graph.macs / 1e6:.1f} M multiply-accumulates")
        if self.parameters is not None:
            facts.append(f"{self.parameters:,} parameters")
        return ", ".join(facts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The kernels that are executed, those outside of the backend last.

        Raises `ConfigError` where nobody knows.
        """
        from netadapt.profiler.recognition import recognise

        if self.graph is None:
            raise ConfigError(
                f"a .pte does not say what it executes, {self.name} is one; name what it was made "
                "of"
            )
        return tuple(recognise(self.graph))


def lower_model(
    name: str,
    shapes: list[tuple[int, ...]],
    cache: ProgramCache,
    lowering: XnnpackFp32,
    rewrites: Sequence[str] = (),
) -> Model:
    """The model called `name`, lowered for inputs of these shapes; a `.pte` as it is.

    With the exact rewrites of these names, of `netadapt.profiler.rewrites`.

    Raises `ConfigError` for a name that is no model's, and `LoweringError` where torch or the
    backend refuse it.
    """
    path = Path(name)
    if path.suffix == ".pte":
        return Model(name, _bytes(path))
    exported, parameters = export_model(name, shapes, lowering)
    return _lowered(name, exported, parameters, rewrites, cache, lowering)


def rewrite_model(model: Model, cache: ProgramCache, lowering: XnnpackFp32) -> Model | None:
    """The model with all rewrites that would change it still; None where there is none.

    Raises `LoweringError` where the backend refuses it.
    """
    if model.exported is None or not model.rewrites:
        return None
    return _lowered(model.name, model.exported, model.parameters, model.rewrites, cache, lowering)


def _lowered(
    name: str,
    exported: ExportedProgram,
    parameters: int | None,
    rewrites: Sequence[str],
    cache: ProgramCache,
    lowering: XnnpackFp32,
) -> Model:
    exported = rewritten(exported, rewrites)
    program, graph = lower_exported(exported, cache, lowering)
    return Model("+".join((name, *rewrites)), program, graph, parameters, exported)


def read_shape(text: str) -> tuple[int, ...]:
    """`1,3,224,224` as sizes. Raises `ConfigError` for anything else."""
    sizes = text.replace("x", ",").split(",")
    if not all(size.strip().isdecimal() and 0 < int(size) <= 2**31 - 1 for size in sizes):
        raise ConfigError(
            f"an input is named by its sizes from 1 on, got {one_line(text)[:80]!r}; e.g. "
            "--input 1,3,224,224"
        )
    return tuple(map(int, sizes))


def export_model(
    name: str, shapes: list[tuple[int, ...]], lowering: Lowering
) -> tuple[ExportedProgram, int]:
    """The model called `name`, exported for inputs of these shapes (random, fp32); its parameters.

    Raises as `lower_model` does.
    """
    path = Path(name)
    if path.suffix == ".pt2":
        return _saved(path)
    model, usual = make_model(name)
    shapes = shapes or usual
    if not shapes:
        raise ConfigError(
            f"a model is exported for inputs of known sizes, {name} was given none; add e.g. "
            "--input 1,3,224,224"
        )
    inputs = _inputs(shapes)
    try:
        model.eval()(*inputs)
    except Exception as error:  # a model may raise anything
        raise ConfigError(
            f"{name} must run on inputs of {_listed(shapes)}, it does not "
            f"({type(error).__name__}: {one_line(str(error))[:300]}); give its own sizes with "
            "--input, once for each input"
        ) from error
    return lowering.export(model, inputs), sum(p.numel() for p in model.parameters())


def make_model(name: str) -> tuple[nn.Module, list[tuple[int, ...]]]:
    """The module called `name`, and the shapes of its inputs where these are known.

    Raises `ConfigError` for a name that is no module's.
    """
    if name.startswith(timm_networks.PREFIX):
        network, shape = timm_networks.build(name.removeprefix(timm_networks.PREFIX))
        return network, [shape]
    place, colon, member = name.rpartition(":")
    if not colon or not member:
        raise ConfigError(f"a model is named {FORMS}, got {one_line(name)[:200]!r}; correct it")
    return _made(_imported(place), member, name), []


def _inputs(shapes: list[tuple[int, ...]]) -> tuple[Tensor, ...]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"a model's file must be readable, {path} is not ({error.strerror}); check the path"
        ) from error


def _saved(path: Path) -> tuple[ExportedProgram, int]:
    import torch

    _bytes(path)
    with quiet():
        try:
            exported = torch.export.load(path)
        except Exception as error:  # torch.export documents no common base of what it raises
            raise refusal("torch.export", path.name, error) from error
    if exported.range_constraints:
        raise ConfigError(
            f"a model is timed at fixed sizes, {path} has dynamic ones; export it without "
            "dynamic_shapes"
        )
    return exported, sum(value.numel() for value in exported.state_dict.values())


def _imported(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(Path(place).stem, _existing(Path(place)))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except ConfigError:
        raise
    except Exception as error:  # a module of somebody else's may raise anything
        raise ConfigError(
            f"{place} must be importable to make a model of it, it is not "
            f"({type(error).__name__}: {one_line(str(error))[:300]}); see that `python` imports it"
        ) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"a model's file must be there, {path} is not; check the path")
    return path


def _made(module: ModuleType, member: str, name: str) -> Any:
    import torch
    from torch import nn

    found: Any = getattr(module, member, None)
    try:
        if inspect.isclass(found) or inspect.isfunction(found):
            with torch.random.fork_rng(devices=[]):  # the same weights each time: found in a cache
                torch.manual_seed(0)
                found = found()
    except Exception as error:  # as above
        raise ConfigError(
            f"{name} must make a model without arguments, it does not ({type(error).__name__}: "
            f"{one_line(str(error))[:300]}); write a function that calls it with yours"
        ) from error
    if not isinstance(found, nn.Module):
        raise ConfigError(
            f"{name} must be a torch module, or make one, it is {type(found).__name__}; name a "
            "module, its class or a function"
        )
    return found
