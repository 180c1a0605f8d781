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
    top1 : float
        On ImageNet, per cent.
    parameters : int
    macs : float
        Millions, of convolutions and matrix products.
    source : str
        Of `top1`.
    """

    name: str
    model: str
    input: int
    top1: float
    parameters: int
    macs: float
    source: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the images, batch of 1."""
        return (1, 3, self.input, self.input)


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
