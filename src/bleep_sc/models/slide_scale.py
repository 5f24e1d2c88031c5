"""Features of every slide in units of that slide, so that stain and scanner fall away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIOR_SPOTS = 10
"""How many spots the reference counts for, beside those of a slide."""
LEAST = 1e-6


@dataclass(frozen=True)
class SlideScale:
    r"""Mean and standard deviation of image features on a typical slide of the reference, (n_features,) each.

    A slide with n spots is standardised by its own moments, shrunk towards these as if m = 10 spots of the reference
    had been seen on it,

    .. math:: \mu = (n \bar x + m \mu_0) / (n + m), \qquad \sigma^2 = (n s^2 + m \sigma_0^2) / (n + m),

    so that a few tiles are not standardised by their own accidents.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], slides: NDArray[np.str_]) -> SlideScale:
        """Average the moments of the slides of a reference; ``slides`` is that of every spot, (n,)."""
        moments = [_moments(features[slides == name]) for name in np.unique(slides)]
        mean, variance = (np.mean(each, axis=0) for each in zip(*moments, strict=True))
        return cls(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))

    def apply(self, features: NDArray[np.float32], slides: NDArray[np.str_]) -> NDArray[np.float32]:
        """Standardise the features (n, n_features) of every slide."""
        result = np.empty_like(features)
        for name in np.unique(slides):
            rows = slides == name
            n, (mean, variance) = int(rows.sum()), _moments(features[rows])
            mean = (n * mean + PRIOR_SPOTS * self.mean) / (n + PRIOR_SPOTS)
            variance = (n * variance + PRIOR_SPOTS * np.square(self.std)) / (n + PRIOR_SPOTS)
            result[rows] = (features[rows] - mean) / np.maximum(np.sqrt(variance), LEAST)
        return result


def _moments(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return features.mean(axis=0, dtype=np.float64), features.var(axis=0, dtype=np.float64)
