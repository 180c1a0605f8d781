"""Layers and networks to ExecuTorch programs: export, partition to XNNPACK, serialise.

Lowering costs far more than timing, so it runs in parallel processes and its results are kept in
a cache by content: a program is lowered once for a recipe, whoever asks.

About a third of a second of every call goes into tables of operator decompositions that are
rebuilt and installed anew although a program uses a handful of operators. `_lean_decompositions`
installs those of the program at hand only; the programs are the same to the byte
(`tests/profiler/test_lowering.py` compares them).
"""

from __future__ import annotations

import copy
import ctypes
import functools
import hashlib
import logging
import os
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.paths import cache_folder
from netadapt.profiler.errors import LoweringError
from netadapt.profiler.kernels import ConvNorm, Kernel, Shape

if TYPE_CHECKING:
    from torch.export import ExportedProgram

logger = logging.getLogger(__name__)

RECIPE = "xnnpack-fp32-1"
"""Names how programs are made; a change of the recipe makes every cached program stale."""

PRECISION = "fp32"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is lowered and timed alone: `copies` of a kernel one after the other.

    One copy is the kernel itself. Chains of a kernel that keeps its shape carry the cost of the
    layout change at their ends once, so that two lengths tell it from the kernel's own time.
    """

    kernel: Kernel
    copies: int = 1

    def __post_init__(self) -> None:
        if self.copies < 1 or (self.copies > 1 and not self.kernel.keeps_shape):
            raise ValueError(
                "a chain has at least 1 copy of a kernel that keeps its shape, "
                f"got {self.copies} of {self.kernel.key}"
            )

    @property
    def name(self) -> str:
        """Readable and unique, e.g. `linear(in_features=64, out_features=64) x3`."""
        return self.kernel.key if self.copies == 1 else f"{self.kernel.key} x{self.copies}"

    @property
    def cache_key(self) -> str:
        """Content of the program to come: its kernel, length, recipe and compiler versions."""
        return hashlib.sha256("\n".join((self.name, *recipe_versions())).encode()).hexdigest()

    def module(self) -> nn.Module:
        """The module to lower, weights seeded."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if self.copies == 1:
                return self.kernel.module()
            return _Chain(self.kernel, self.copies).eval()


class _Chain(nn.Module):
    def __init__(self, kernel: Kernel, copies: int) -> None:
        super().__init__()
        # Named attributes, not a Sequential: an XNNPACK pass fails on names that begin with a digit
        for i in range(copies):
            self.add_module(f"copy{i}", kernel.module())

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


@functools.cache
def recipe_versions() -> tuple[str, ...]:
    """What decides a program's bytes beside the module: recipe, torch, executorch."""
    return (RECIPE, f"torch {version('torch')}", f"executorch {version('executorch')}")


def fold_norms(module: nn.Module) -> nn.Module:
    """A copy of `module` in eval mode with every batch norm folded into its convolution."""
    folded = copy.deepcopy(module).eval()
    for layer in folded.modules():
        if isinstance(layer, ConvNorm):
            layer.fold_norm()
    return folded


def _to_export(module: nn.Module) -> nn.Module:
    """A copy of `module` as it is exported: in eval mode, norms folded, every tensor contiguous.

    Training leaves filters in channels-last order, which the backend's layout passes refuse for
    more than one input channel. The order of a filter's bytes in the program is the backend's own
    choice, so nothing is lost.
    """
    ready = fold_norms(module)
    for tensor in (*ready.parameters(), *ready.buffers()):
        # Not `contiguous()`: it leaves the strides of dimensions of size 1 (1x1 filters) alone.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return ready


Constant = float | int | bool | str | Sequence[float] | Sequence[int] | Sequence[str]


def lower(
    module: nn.Module, inputs: Sequence[Tensor], constants: Mapping[str, Constant] | None = None
) -> bytes:
    """Lower `module` in eval mode for inputs of these shapes to the bytes of a `.pte` program.

    In which memory format weights and inputs lie makes no difference. `constants` become methods
    beside `forward` that take nothing and give back their value, a sequence as so many outputs;
    `forward` is the same with or without them.

    Raises `LoweringError` where export or the XNNPACK backend refuses.
    """
    return _lower_exported(_export(module, inputs), constants)


def lower_cached(module: nn.Module, inputs: Sequence[Tensor], cache: ProgramCache) -> bytes:
    """`lower`, unless the cache holds the program of the same graph and weights."""
    exported = _export(module, inputs)
    key = _content_key(exported)
    data = cache.get(key)
    if data is None:
        data = _lower_exported(exported)
        cache.put(key, data)
    return data


class ProgramCache:
    """Programs on disk by the hash of their content; safe for any number of processes.

    Kept in `folder`, by default in the user's cache (`$NETADAPT_CACHE`). Behind a program's bytes,
    where runtimes do not look, stands a digest of them and their key: a file that was cut off,
    changed, exchanged or written without one counts as missing and is lowered again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "programs"

    def get(self, key: str) -> bytes | None:
        """The program kept under `key`, or None."""
        try:
            kept = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        data, seal = kept[:-_SEAL_BYTES], kept[-_SEAL_BYTES:]
        if data and seal == _seal(key, data):
            return data
        logger.info("the program cache's file %s is damaged or old: lowered again", key)
        return None

    def put(self, key: str, data: bytes) -> None:
        write_atomically(self._path(key), data + _seal(key, data))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.pte"


def _seal(key: str, data: bytes) -> bytes:
    return _SEAL_MARK + hashlib.sha256(key.encode() + b"\0" + data).digest()


_SEAL_MARK = b"netadapt"
_SEAL_BYTES = len(_SEAL_MARK) + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class LoweringFailure:
    """A subject that could not be lowered, and why."""

    subject: Subject
    message: str


def lower_subjects(
    subjects: Sequence[Subject],
    cache: ProgramCache,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[LoweringFailure]:
    """See that the cache holds the program of every subject; returns those that cannot be lowered.

    Parameters
    ----------
    workers: processes at a time; None takes one for each core.
    on_progress: called with (done, total) after each subject.
    """
    missing = [s for s in dict.fromkeys(subjects) if cache.get(s.cache_key) is None]
    done, total = len(subjects) - len(missing), len(subjects)
    if on_progress:
        on_progress(done, total)
    failures = []
    lowered = _in_processes(
        _lower_into_cache, [(s, cache.folder) for s in missing], workers, _KERNELS_PAY_FROM
    )
    with closing(lowered):
        for failure in lowered:
            done += 1
            if failure is not None:
                failures.append(failure)
            if on_progress:
                on_progress(done, total)
    return failures


def lower_networks(
    networks: Sequence[nn.Module],
    input_shape: Shape,
    cache: ProgramCache,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[bytes]:
    """The programs of whole networks, in their order, for inputs of `input_shape`.

    Raises `LoweringError` for the first that cannot be lowered.
    """
    programs = []
    lowered = _in_processes(
        _lower_network,
        [(network, input_shape, cache.folder) for network in networks],
        workers,
        _NETWORKS_PAY_FROM,
    )
    with closing(lowered):
        for program in lowered:
            programs.append(program)
            if on_progress:
                on_progress(len(programs), len(networks))
    return programs


_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)

# A worker process imports for seconds; fewer programs than this are lowered right here.
_KERNELS_PAY_FROM = 12
_NETWORKS_PAY_FROM = 3


def _in_processes(
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    workers: int | None,
    pays_from: int,
) -> Generator[Any, None, None]:
    """`function` of each tuple of arguments, in their order, in worker processes where it pays."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(arguments) < pays_from:
        yield from (function(*a) for a in arguments)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator")
    with _signals_held():
        results = parallel(delayed(_in_worker)(os.getpid(), function, a) for a in arguments)
    yield from results  # ended early, it ends the workers at once


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started within leave Ctrl-C and the like to this one, which ends them.

    They also start processes that warn of what an ended one could not put away, and do it then.
    """
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    said = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{said},{quiet}" if said else quiet
    try:
        yield
    finally:
        if said is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = said
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_worker(parent: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """In a worker process: it ends with the one that asked, however that ends."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return function(*arguments)


def _lower_into_cache(subject: Subject, folder: Path) -> LoweringFailure | None:
    with _one_thread():
        try:
            data = lower(subject.module(), subject.kernel.example_inputs())
        except LoweringError as error:
            return LoweringFailure(subject, str(error))
    ProgramCache(folder).put(subject.cache_key, data)
    return None


def _lower_network(network: nn.Module, input_shape: Shape, folder: Path) -> bytes:
    with _one_thread():
        return lower_cached(network, (torch.zeros(input_shape),), ProgramCache(folder))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lowering computes next to nothing; a pool of threads would only be in other workers' way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _export(module: nn.Module, inputs: Sequence[Tensor]) -> ExportedProgram:
    contiguous = tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)
    with _quiet():
        try:
            return torch.export.export(_to_export(module), contiguous, strict=False)
        except Exception as error:  # torch.export documents no common base of what it raises
            raise LoweringError(_one_line("torch.export", module, error)) from error


def _lower_exported(
    exported: ExportedProgram, constants: Mapping[str, Constant] | None = None
) -> bytes:
    with _quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            with _lean_decompositions(exported):
                edge = to_edge_transform_and_lower(
                    exported,
                    partitioner=[XnnpackPartitioner()],
                    constant_methods=None if constants is None else dict(constants),
                )
            return bytes(edge.to_executorch().buffer)
        except Exception as error:  # as above: backends raise what they like
            raise LoweringError(_one_line("ExecuTorch", exported, error)) from error


def _one_line(who: str, what: object, error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return (
        f"{who} could not lower {type(what).__name__}: {type(error).__name__}: {first[:300]}; "
        "leave the kernel out or file an issue with its key"
    )


def _content_key(exported: ExportedProgram) -> str:
    digest = hashlib.sha256("\n".join(recipe_versions()).encode())
    digest.update(exported.graph_module.code.encode())
    for node in exported.graph.nodes:  # the code does not tell the shapes of the inputs
        digest.update(f"{node.name} {node.meta.get('val')}".encode())
    for name, tensor in (*exported.state_dict.items(), *exported.constants.items()):
        digest.update(name.encode())
        if isinstance(tensor, Tensor):
            digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Export warns of its own internals in dozens of lines; errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree", "root")]
    levels = [log.level for log in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in loggers:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)


@contextmanager
def _lean_decompositions(exported: ExportedProgram) -> Iterator[None]:
    """Install only the decompositions of operators that `exported` calls while it is lowered.

    Private names of the pinned torch are replaced for the time being; where they are not found
    (another torch), lowering takes its ordinary, slower way.
    """
    import torch._export.utils as export_utils
    import torch.export.exported_program

    exported_program: Any = torch.export.exported_program
    names = ("_collect_all_valid_cia_ops_for_namespace", "_materialize_cpp_cia_ops")
    install = getattr(exported_program, "_override_composite_implicit_decomp", None)
    if install is None or not all(hasattr(export_utils, name) for name in names):
        logger.debug("torch has no decomposition tables where expected: lowering unassisted")
        yield
        return

    operators = {node.target for node in exported.graph.nodes if node.op == "call_function"}

    def install_used(table: dict[Any, Any]) -> Any:
        return install({op: how for op, how in table.items() if op in operators})

    originals = {name: getattr(export_utils, name) for name in names}
    exported_program._override_composite_implicit_decomp = install_used
    for name, original in originals.items():
        setattr(export_utils, name, _remembered(original))
    try:
        yield
    finally:
        exported_program._override_composite_implicit_decomp = install
        for name, original in originals.items():
            setattr(export_utils, name, original)


@functools.cache
def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    # One memory for the process: the operators registered do not change between two programs.
    return functools.cache(function)
