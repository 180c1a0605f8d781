"""What a whole network takes beside the sum over its kernels, learnt from a handful of networks.

    log(measured / sum) = b0 + b1 * log(sum / typical sum) + sum over types of w_t * share_t + noise

with `share_t` the type's share of the summed time. All coefficients are drawn towards 0 ("the sum
is right") by a normal prior, so that no network at all is a valid case and one more always helps:
Bayesian linear regression, the noise by the highest marginal likelihood. The form is ours (an
assumption); the prior says how far sums were off on the first device measured.
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
NO_NETWORK_SD = 0.1
"""Added where no network was measured, so that nothing vouches for the sum."""


@dataclass(frozen=True)
class NetworkSum:
    """The summed time of a network's kernels.

    Parameters
    ----------
    by_type_ms : mapping of str to float
        Milliseconds by type of kernel.
    """

    by_type_ms: Mapping[str, float]

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
        The geometric mean of the sums it was learnt from.
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
            return cls(types, 1.0, np.zeros(2), prior, NO_NETWORK_SD, 0)
        typical_ms = float(np.exp(np.mean([np.log(s.total_ms) for s in sums])))
        design = _design(sums, types, typical_ms)
        ratios = np.log(measured_ms / np.array([s.total_ms for s in sums]))
        noise_sd = max(NOISE_SD, key=lambda sd: _log_evidence(design, ratios, sd))
        precision = np.eye(design.shape[1]) / PRIOR_SD**2 + design.T @ design / noise_sd**2
        covariance = np.linalg.inv(precision)
        mean = covariance @ design.T @ ratios / noise_sd**2
        return cls(types, typical_ms, mean, covariance, float(noise_sd), len(sums))

    def predict(self, sums: Sequence[NetworkSum]) -> Array:
        """Predict networks' milliseconds, (networks,)."""
        design = _design(sums, self.types, self.typical_ms)
        return np.exp(design @ self.mean) * np.array([s.total_ms for s in sums])

    def interval_ratio(self, sums: Sequence[NetworkSum], coverage: float) -> Array:
        """Ratios of shape (networks,): intervals go from `predict / ratio` to `predict * ratio`.

        By Student's t with as many degrees of freedom as networks, for the noise was estimated from
        these few.
        """
        design = _design(sums, self.types, self.typical_ms)
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design) + self.noise_sd**2
        quantile = stats.t.ppf(0.5 + coverage / 2, df=max(self.samples, 2))
        return np.exp(quantile * np.sqrt(variance))


def _design(sums: Sequence[NetworkSum], types: Sequence[str], typical_ms: float) -> Array:
    return np.array(
        [
            [
                1.0,
                np.log(s.total_ms / typical_ms),
                *(s.by_type_ms.get(name, 0.0) / s.total_ms for name in types),
            ]
            for s in sums
        ]
    ).reshape(len(sums), 2 + len(types))


def _log_evidence(design: Array, ratios: Array, noise_sd: float) -> float:
    covariance = PRIOR_SD**2 * design @ design.T + noise_sd**2 * np.eye(len(ratios))
    evidence = stats.multivariate_normal.logpdf(ratios, cov=covariance)
    preference = stats.norm.logpdf(np.log(noise_sd / TYPICAL_NOISE_SD), scale=np.log(2))
    return float(evidence + preference)
