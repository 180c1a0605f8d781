"""Published networks for phones: what is known of each, and how to make it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from pydantic import TypeAdapter

from netadapt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Metric:
    """What a network was judged by, as published, e.g. top-1 72.98 % on ImageNet."""

    name: str
    value: float
    unit: str
    data: str

    def __str__(self) -> str:
        return f"{self.data} {self.name} {self.value:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class ReferenceNetwork:
    """A published network.

    Parameters
    ----------
    name : str
        As its authors call it.
    model : str
        As `netadapt.models` knows it.
    input : int
        Pixels of each side, in RGB.
    metrics : tuple of Metric
        The first is what it is compared by.
    parameters : int
    macs : float
        Millions, of convolutions and matrix products.
    source : str
        Of `metrics`.
    """

    name: str
    model: str
    input: int
    metrics: tuple[Metric, ...]
    parameters: int
    macs: float
    source: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the images, batch of 1."""
        return (1, 3, self.input, self.input)

    @property
    def top1(self) -> float | None:
        """On ImageNet, per cent; None of a network for something else."""
        found = (m.value for m in self.metrics if (m.data, m.name) == ("ImageNet", "top-1"))
        return next(found, None)


def reference_networks(names: Sequence[str] = ()) -> list[ReferenceNetwork]:
    """Those of these names, or all of them. Raises `ConfigError` for a name that is none's."""
    text = resources.files("netadapt").joinpath("reference_networks.toml").read_text("utf-8")
    listed = TypeAdapter(list[ReferenceNetwork]).validate_python(tomllib.loads(text)["network"])
    known = {network.name.lower(): network for network in listed}
    if unknown := [name for name in names if name.lower() not in known]:
        close = difflib.get_close_matches(unknown[0].lower(), known, 1)
        hint = f"did you mean {known[close[0]].name}?" if close else "see netadapt reference --list"
        raise ConfigError(
            f"a reference network is one of {len(listed)}, got {unknown[0][:80]!r}; {hint}"
        )
    return [known[name.lower()] for name in names] if names else listed
