"""Features of every slide in units of that slide, so that stain and scanner fall away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._arrays.moments import moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIOR_SPOTS = 10
"""How many spots the reference counts for, beside those of a slide."""
FAR = 10.0
"""Standard deviations beyond which the mean of a slide owes the reference nothing."""
ROUNDING = 1e-5
"""What varies by less than this share of its size is constant, but for the rounding of float32."""
LEAST = 1e-6


@dataclass(frozen=True)
class SlideScale:
    r"""Mean and standard deviation of image features on a typical slide of the reference, (n_features,) each.

    A slide with n spots is standardised by its own moments, shrunk towards these as if m = 10 spots of the reference
    had been seen on it,

    .. math:: \mu = (n \bar x + m' \mu_0) / (n + m'), \qquad \sigma^2 = (n s^2 + m \sigma_0^2) / (n + m),

    so that a few tiles are not standardised by their own accidents. The means of slides may be further from each other
    than a feature varies on any of them: with :math:`d = |\bar x - \mu_0| / \sigma_0`,
    :math:`m' = m \min(1, (10/d)^2)`, or a share of that distance would drown what is seen on the slide. A feature that
    is constant on every slide of the reference (``std`` is 0) taught nothing, and is 0 whatever the query has there.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], slides: NDArray[np.str_]) -> SlideScale:
        """Average the moments of the slides of a reference; ``slides`` is that of every spot, (n,).

        A slide of n spots counts n / (n + 10): two spots say little of how a feature varies.
        """
        names, counts = np.unique(slides, return_counts=True)
        of_slides = zip(*(moments(features[slides == name]) for name in names), strict=True)
        mean, variance = (np.average(each, axis=0, weights=counts / (counts + PRIOR_SPOTS)) for each in of_slides)
        std = np.where(varies(np.sqrt(variance), features), np.sqrt(variance), 0.0)
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def apply(self, features: NDArray[np.float32], slides: NDArray[np.str_]) -> NDArray[np.float32]:
        """Standardise the features (n, n_features) of every slide."""
        result = np.empty_like(features)
        known = np.where(self.std > 0, self.std.astype(np.float64), np.inf)
        for name in np.unique(slides):
            rows = slides == name
            n, (mean, variance) = int(rows.sum()), moments(features[rows])
            mean = of_so_many_spots(mean, self.mean, self.std, n)
            variance = (n * variance + PRIOR_SPOTS * np.square(known)) / (n + PRIOR_SPOTS)
            result[rows] = (features[rows] - mean) / np.maximum(np.sqrt(variance), LEAST)
        return result


def of_so_many_spots(
    mean: NDArray[np.float64], typical: NDArray[np.float32], std: NDArray[np.float32], n: int
) -> NDArray[np.float64]:
    """Draw the mean (n_features,) of n spots towards that of a typical slide, as far as a :class:`SlideScale` does."""
    distance = np.abs(mean - typical) / np.where(std > 0, std.astype(np.float64), np.inf)
    prior = PRIOR_SPOTS * np.square(FAR / np.maximum(distance, FAR))
    result: NDArray[np.float64] = (n * mean + prior * typical) / (n + prior)
    return result


def varies(std: NDArray[np.floating], features: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell whether features (n, n_features) of such standard deviations vary by more than rounding, (n_features,)."""
    size = np.maximum(np.abs(features.max(axis=0)), np.abs(features.min(axis=0)))
    return np.asarray(std > ROUNDING * size)
