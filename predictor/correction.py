"""What a whole network takes beside the sum over its kernels, learnt from a handful of networks.

    log(measured / total) = b0 + b1 * log(total / typical total) + sum over types of w_t * share_t
    total = sum + c * megabytes of weights

with `share_t` the type's share of the summed time. A kernel that is timed in a loop finds its
weights in the cache, a network larger than the cache does not: `c` is what bringing in a megabyte
takes. On an AMD EPYC that alone explains most of what sums are short of (22 % on networks of the
224 space): 0.028 ms, which is 35 GB/s.

All coefficients b and w are drawn towards 0 ("the total is right") by a normal prior, so that no
network at all is a valid case and one more always helps: Bayesian linear regression, the noise and
`c` by the highest marginal likelihood. The form is ours (an assumption); the prior says how far
sums were off on the first device measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from netadapt.predictor.features import Array

PRIOR_SD = 0.1
"""Of each coefficient: a sum that is 10 % off is no surprise."""

NOISE_SD = np.geomspace(0.01, 0.1, 24)
"""Of a network's log ratio, the values to choose from: a few networks that fit by chance promise
no less than 1 %."""

TYPICAL_NOISE_SD = 0.02
WEIGHTS_MS_PER_MB = (0.0, *np.geomspace(0.002, 0.25, 22))
"""What bringing in a megabyte of weights may take: nothing, or 500 to 4 GB/s."""

TYPICAL_WEIGHTS_MS_PER_MB = 0.05
"""20 GB/s; larger values need more evidence."""
NO_NETWORK_SD = 0.1
"""Added where no network was measured, so that nothing vouches for the sum."""


@dataclass(frozen=True)
class NetworkSum:
    """The summed time of a network's kernels.

    Parameters
    ----------
    by_type_ms : mapping of str to float
        Milliseconds by type of kernel.
    weights_mb : float
        Of all kernels' parameters in fp32, 10^6 bytes.
    """

    by_type_ms: Mapping[str, float]
    weights_mb: float = 0.0

    @property
    def total_ms(self) -> float:
        """Of all types together."""
        return sum(self.by_type_ms.values())


@dataclass(frozen=True)
class Correction:
    """The posterior of the coefficients.

    Parameters
    ----------
    types : tuple of str
        The order of the shares.
    typical_ms : float
        The geometric mean of the totals it was learnt from.
    weights_ms_per_mb : float
        What bringing in a megabyte of weights takes beside the sum.
    mean : ndarray of shape (2 + types,)
    covariance : ndarray of shape (2 + types, 2 + types)
        Of b0, b1 and the types' weights.
    noise_sd : float
        Of a network's log ratio.
    samples : int
        Networks it was learnt from.
    """

    types: tuple[str, ...]
    typical_ms: float
    weights_ms_per_mb: float
    mean: Array
    covariance: Array
    noise_sd: float
    samples: int

    @classmethod
    def fit(cls, sums: Sequence[NetworkSum], measured_ms: Array) -> Correction:
        """Learn from networks' sums and measured milliseconds, (networks,); none are fine."""
        types = tuple(sorted({name for s in sums for name in s.by_type_ms}))
        if not sums:
            # No size is typical yet: a coefficient of size would make the interval depend on how
            # far the network is from an arbitrary unit.
            prior = np.diag([PRIOR_SD**2, 0.0])
            return cls(types, 1.0, 0.0, np.zeros(2), prior, NO_NETWORK_SD, 0)

        evidence = np.array([_log_evidence(sums, types, measured_ms, c) for c in WEIGHTS_MS_PER_MB])
        amount, noise = np.unravel_index(evidence.argmax(), evidence.shape)
        per_mb, noise_sd = WEIGHTS_MS_PER_MB[amount], NOISE_SD[noise]
        design, ratios, typical_ms = _ratios(sums, types, measured_ms, per_mb)
        precision = np.eye(design.shape[1]) / PRIOR_SD**2 + design.T @ design / noise_sd**2
        covariance = np.linalg.inv(precision)
        mean = covariance @ design.T @ ratios / noise_sd**2
        return cls(types, typical_ms, float(per_mb), mean, covariance, float(noise_sd), len(sums))

    def predict(self, sums: Sequence[NetworkSum]) -> Array:
        """Predict networks' milliseconds, (networks,)."""
        totals = _totals(sums, self.weights_ms_per_mb)
        return np.exp(self._design(sums) @ self.mean) * totals

    def interval_ratio(self, sums: Sequence[NetworkSum], coverage: float) -> Array:
        """Ratios of shape (networks,): intervals go from `predict / ratio` to `predict * ratio`.

        By Student's t with as many degrees of freedom as networks, for the noise was estimated from
        these few.
        """
        design = self._design(sums)
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design) + self.noise_sd**2
        quantile = stats.t.ppf(0.5 + coverage / 2, df=max(self.samples, 2))
        return np.exp(quantile * np.sqrt(variance))

    def _design(self, sums: Sequence[NetworkSum]) -> Array:
        totals = _totals(sums, self.weights_ms_per_mb)
        return _design(sums, self.types, totals / self.typical_ms)


def _totals(sums: Sequence[NetworkSum], per_mb: float) -> Array:
    return np.array([s.total_ms + per_mb * s.weights_mb for s in sums])


def _ratios(
    sums: Sequence[NetworkSum], types: Sequence[str], measured_ms: Array, per_mb: float
) -> tuple[Array, Array, float]:
    """Design, log ratios and typical total for what a megabyte of weights takes."""
    totals = _totals(sums, per_mb)
    typical_ms = float(np.exp(np.mean(np.log(totals))))
    return _design(sums, types, totals / typical_ms), np.log(measured_ms / totals), typical_ms


def _design(sums: Sequence[NetworkSum], types: Sequence[str], sizes: Array) -> Array:
    shares = [[s.by_type_ms.get(name, 0.0) / s.total_ms for name in types] for s in sums]
    return np.column_stack(
        [np.ones(len(sums)), np.log(sizes), np.array(shares).reshape(len(sums), len(types))]
    )


def _log_evidence(
    sums: Sequence[NetworkSum], types: Sequence[str], measured_ms: Array, per_mb: float
) -> Array:
    """For what a megabyte of weights takes, the evidence of each noise: (noises,).

    The normal density of the log ratios, in the directions of the prior's covariance, where any
    noise is one number more.
    """
    design, ratios, _ = _ratios(sums, types, measured_ms, per_mb)
    variances, directions = np.linalg.eigh(PRIOR_SD**2 * design @ design.T)
    spread = variances + NOISE_SD[:, None] ** 2
    squares = (directions.T @ ratios) ** 2
    density = -0.5 * (squares / spread + np.log(2 * np.pi * spread)).sum(axis=1)
    preference = stats.norm.logpdf(np.log(NOISE_SD / TYPICAL_NOISE_SD), scale=np.log(2))
    rarity = per_mb / TYPICAL_WEIGHTS_MS_PER_MB  # an exponential prior
    return np.asarray(density + preference - rarity)
