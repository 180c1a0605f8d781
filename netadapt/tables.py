"""Which latency table, and which of its rows, a command means."""

from __future__ import annotations

from pathlib import Path

from netadapt.errors import ConfigError
from netadapt.profiler.table import LatencyTable, Provenance
from netadapt.runs.folder import RunFolder
from netadapt.text import one_line


def table_file(path: Path) -> Path:
    """The table itself, also of a run's folder."""
    return RunFolder(path).table if path.is_dir() else path


def provenance_number(table: LatencyTable, number: int | None) -> Provenance | None:
    """The table's provenance of this number, counted from 1 as `netadapt table show` prints them.

    None where no number is given. Raises `ConfigError` for one that there is none of.
    """
    if number is None:
        return None
    provenances = table.provenances()
    if not 1 <= number <= len(provenances):
        raise ConfigError(
            f"a provenance has one of the numbers that `netadapt table show` prints, got {number} "
            f"of {len(provenances)} in {table.path}"
        )
    return provenances[number - 1]


def choose_provenance(
    path: Path,
    *,
    number: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Provenance | None:
    """The one of a table's provenances that has this number, device and number of threads.

    None where nothing is asked for. Raises `ConfigError` where none or several are.
    """
    if (number, device, threads) == (None, None, None):
        return None
    with LatencyTable(path, must_exist=True) as table:
        chosen = provenance_number(table, number)
        provenances = table.provenances()
    meant = [
        p
        for p in provenances
        if chosen in (None, p) and device in (None, p.device.id) and threads in (None, p.threads)
    ]
    if len(meant) != 1:
        known = "; ".join(f"{n}: {one_line(str(p))}" for n, p in enumerate(provenances, 1))
        raise ConfigError(
            f"one kind of rows must be meant, {path} has {len(meant)} that fit among "
            f"{known or 'none'}; name another device or threads, or choose with --provenance N"
        )
    return meant[0]


def check_type(table: LatencyTable, name: str | None) -> None:
    """See that the table has rows of a type. Raises `ConfigError` that says which it has."""
    if name is None:
        return
    types = dict.fromkeys(summary.type for summary in table.summaries())
    if name not in types:
        raise ConfigError(
            f"a type is one that the table has rows of ({', '.join(sorted(types)) or 'none'}), got "
            f"{name!r}; leave --type out to see all"
        )
