"""What a regression knows of a kernel: one encoder, for fitting and predicting alike.

Latency grows with work and traffic, but in steps: micro-kernels compute 8, 16 or 32 output
channels at a time, and a kernel size, a stride or how the channels fill the widest tile selects
another micro-kernel altogether. So every magnitude comes in log2, work comes as padded to whole
tiles too, and what selects a micro-kernel is a *variant*, distinguished instead of interpolated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from netadapt.predictor.errors import KernelInputError, TrainingDataError
from netadapt.predictor.inputs import read_kernels
from netadapt.profiler.kernels import Kernel

if TYPE_CHECKING:
    from netadapt.predictor.inputs import KernelInput

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

TILES = (8, 16, 32)
"""Output channels that common micro-kernels compute at a time."""

WIDE_TILE = 16
MAX_WIDE_WASTE = 0.01
"""XNNPACK takes the wide micro-kernel, of about twice the speed, where it wastes at most 1 % of the
tiles: on x86-64 with AVX2, 1x1 convolutions reach 40 GMAC/s with 144 output channels and 888, but
22 with 152 and 632 (measured; elsewhere the two variants just turn out alike)."""

SELECTORS = frozenset({"kernel_size", "stride"})
"""Integer fields that select a micro-kernel; a latency is no smooth function of them."""

SPATIAL = frozenset({"height", "width"})

MAGNITUDE = "log2_"
"""Columns whose names begin so hold log2(1 + amount), or a ratio's log2."""

PIXELS = f"{MAGNITUDE}pixels"
"""Follows from the other magnitudes but in no simple way; a roofline needs it."""

FLAG = "="
"""Columns `selector=value` hold 1.0 where the kernel has this value, else 0.0."""

MIN_LOG_RANGE = 0.05
"""Octaves beyond the measured sizes that still count as inside."""


class KernelEncoder(TransformerMixin, BaseEstimator):
    """Kernels of one type as a frame of numbers, which any scikit-learn regressor takes.

    The columns, `C` channels of an output, all floats:

    - `log2_NAME`: log2(1 + amount) of every whole-number field, of `macs`, `input_elements`,
      `output_elements` and `weights`, of `macs_tile8` and its like (work padded to whole tiles of
      output channels), and of `pixels` (output elements by `C`);
    - `log2_padded_FIELD`: log2 of a number of channels padded to whole wide tiles over itself;
    - `NAME=VALUE`: 1 or 0 for each value seen of what selects a micro-kernel: kernel size, stride,
      `wide` (whether `C` fills the wide tile), and every text, such as the activation. All of one
      name are 0 for a value that was never seen.

    Attributes
    ----------
    type_name_ : str
        The type of the kernels it was fitted to.
    values_ : dict of str to tuple of str
        The values seen of each selector.
    low_, high_ : ndarray of shape (magnitudes,)
        The smallest and largest magnitudes seen, `pixels` left out.
    """

    def fit(self, X: KernelInput, y: object = None) -> Self:
        """Learn which values there are of what selects a micro-kernel, and the range of sizes.

        Parameters
        ----------
        X : frame, or sequence of str or Kernel
            Kernels of one type, at least one; see `netadapt.predictor.inputs`.
        y : object
            Ignored.

        Raises
        ------
        TrainingDataError
            Without a kernel.
        KernelInputError
            For kernels of several types, and for what is none.
        """
        kernels = read_kernels(X).kernels
        if not kernels:
            raise TrainingDataError("an encoder learns from at least 1 kernel, got none; pass some")
        self.type_name_ = kernels[0].type_name
        records = self._records(kernels)
        magnitudes, variants = (list(column) for column in zip(*records, strict=True))
        self.magnitudes_ = tuple(magnitudes[0])
        seen = {name: sorted({v[name] for v in variants}) for name in variants[0]}
        self.values_ = {name: tuple(values) for name, values in seen.items()}
        inside = self._log2(magnitudes)[:, self._ranged()]
        self.low_, self.high_ = inside.min(axis=0), inside.max(axis=0)
        return self

    def transform(self, X: KernelInput) -> pd.DataFrame:
        """Encode kernels of the fitted type: a frame of floats of shape (kernels, columns).

        Raises
        ------
        KernelInputError
            For a kernel of another type, and for what is none.
        """
        check_is_fitted(self)
        records = self._records(read_kernels(X).kernels)
        flags = [
            [float(variant[name] == v) for name, values in self.values_.items() for v in values]
            for _, variant in records
        ]
        names = self.get_feature_names_out()
        numbers = np.hstack(
            [
                self._log2([magnitudes for magnitudes, _ in records]),
                np.array(flags, dtype=float).reshape(len(records), -1),
            ]
        )
        return pd.DataFrame(numbers, columns=names)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns, in their order, of shape (columns,)."""
        check_is_fitted(self)
        flags = [f"{name}{FLAG}{v}" for name, values in self.values_.items() for v in values]
        return np.array([*self.magnitudes_, *flags], dtype=object)

    def extrapolates(self, columns: pd.DataFrame) -> Mask:
        """Whether a size or variant lies outside everything seen.

        Parameters
        ----------
        columns : DataFrame of shape (kernels, columns)
            What `transform` gave.

        Returns
        -------
        ndarray of bool of shape (kernels,)
        """
        check_is_fitted(self)
        numbers = columns.to_numpy()
        sizes = numbers[:, : len(self.magnitudes_)][:, self._ranged()]
        outside: Mask = (
            (sizes < self.low_ - MIN_LOG_RANGE) | (sizes > self.high_ + MIN_LOG_RANGE)
        ).any(axis=1)
        start = len(self.magnitudes_)
        for values in self.values_.values():
            outside |= ~numbers[:, start : start + len(values)].any(axis=1)
            start += len(values)
        return outside

    def _records(self, kernels: Sequence[Kernel]) -> list[tuple[dict[str, float], dict[str, str]]]:
        for kernel in kernels:
            if kernel.type_name != self.type_name_:
                raise KernelInputError(
                    f"an encoder is for kernels of one type, got {kernel.key} among "
                    f"{self.type_name_} kernels; fit one for each type"
                )
        return [_record(kernel) for kernel in kernels]

    def _log2(self, magnitudes: Sequence[dict[str, float]]) -> Array:
        rows = [list(row.values()) for row in magnitudes]
        return np.log2(np.array(rows, dtype=float).reshape(len(rows), len(self.magnitudes_)))

    def _ranged(self) -> list[int]:
        """Where the magnitudes stand that have a range of measured sizes."""
        return [i for i, name in enumerate(self.magnitudes_) if name != PIXELS]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def kernel_groups(X: KernelInput) -> NDArray[np.str_]:
    """Names that near-duplicates share, of shape (kernels,).

    Kernels of a group are the same to half an octave in every field, texts aside. A split that
    keeps groups together, such as scikit-learn's `GroupKFold`, tests how well latencies generalise
    and not how well they are looked up.

    Parameters
    ----------
    X : frame, or sequence of str or Kernel
        See `netadapt.predictor.inputs`.
    """
    return np.array([group(kernel) for kernel in read_kernels(X).kernels], dtype=str)


def group(kernel: Kernel) -> str:
    """Name the group of a kernel; see `kernel_groups`."""
    amounts = kernel.features()
    cells = (
        f"{field.name}={round(2 * math.log2(amounts[field.name]))}"
        for field in dataclasses.fields(kernel)
        if field.name in amounts
    )
    return f"{kernel.type_name}({', '.join(cells)})"


def _record(kernel: Kernel) -> tuple[dict[str, float], dict[str, str]]:
    """Of one kernel the magnitudes, before log2, and the variant, by name."""
    amounts = kernel.features()
    out_channels = kernel.output_shape[1]
    fields = [field.name for field in dataclasses.fields(kernel)]
    channels = [n for n in fields if n in amounts and n not in SELECTORS and n not in SPATIAL]
    tiled = {
        f"macs_tile{tile}": amounts["macs"] * _padded(out_channels, tile) / out_channels
        for tile in TILES
    }
    magnitudes = {f"{MAGNITUDE}{name}": 1.0 + a for name, a in (amounts | tiled).items()}
    for name in channels:
        padded = _padded(int(amounts[name]), WIDE_TILE)
        magnitudes[f"{MAGNITUDE}padded_{name}"] = padded / amounts[name]
    magnitudes[PIXELS] = 1.0 + kernel.output_elements / out_channels
    wide = _padded(out_channels, WIDE_TILE) <= (1 + MAX_WIDE_WASTE) * out_channels
    variant = {name: str(getattr(kernel, name)) for name in fields if name in SELECTORS}
    variant["wide"] = str(wide)
    variant |= {name: str(getattr(kernel, name)) for name in fields if name not in amounts}
    return magnitudes, variant


def _padded(count: int, tile: int) -> int:
    return -(-count // tile) * tile
