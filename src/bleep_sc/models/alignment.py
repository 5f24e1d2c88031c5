"""What stain and scanner add to the features of a slide, told from what its tissue is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.models.slide_scale import of_so_many_spots

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_TISSUES, N_COMPONENTS = 8, 10
"""Kinds of tissue, and principal components in which they are told apart."""
PRIOR_SPOTS = 5.0
"""How many spots the composition of the reference counts for, beside those of a slide."""
MAX_STEPS, CLOSE = 50, 1e-4
LEAST = 1e-6


@dataclass(frozen=True)
class Alignment:
    r"""A mixture of kinds of tissue, in features from which the offset of their slide was taken.

    On a slide with features :math:`x`, the offset :math:`\delta` and the shares :math:`\pi` of the kinds maximise the
    likelihood of

    .. math:: x - \delta \sim \sum_k \pi_k \, N(\mu_k, \sigma_k^2),

    by expectation and maximisation from the mean of the slide on. So a slide with less of some tissue keeps that
    difference, which would be lost if its mean were taken for its stain. As for a
    :class:`~bleep_sc.models.slide_scale.SlideScale`, offsets of few spots are drawn towards that of the reference.
    """

    mean: NDArray[np.float32]
    """Offset of a typical slide of the reference, (n_features,)."""
    std: NDArray[np.float32]
    """Standard deviation of a feature within slides, (n_features,); 0 where it does not vary."""
    components: NDArray[np.float32]
    """(10, n_features), to be multiplied with features without offset; zero where there are fewer."""
    profiles: NDArray[np.float32]
    """Mean features of every kind of tissue, without offset, (8, n_features)."""
    centers: NDArray[np.float32]
    """The same along the components, (8, 10)."""
    variances: NDArray[np.float32]
    """(8, 10)."""
    shares: NDArray[np.float32]
    """Of the kinds in the reference, (8,); zero where there are fewer."""

    def offset(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the offset of one slide, (n_features,), from its features (n, n_features)."""
        start = features.mean(axis=0, dtype=np.float64)
        along = (features - start).astype(np.float32) @ self.components.T
        found = (features - self._kinds(along.astype(np.float64)) @ self.profiles).mean(axis=0, dtype=np.float64)
        return of_so_many_spots(found, self.mean, self.std, len(features))

    def apply(self, features: NDArray[np.float32], slides: NDArray[np.str_]) -> NDArray[np.float32]:
        """Take from features (n, n_features) the offset of their slide; what does not vary becomes zero."""
        result = np.empty_like(features)
        for name in np.unique(slides):
            rows = slides == name
            result[rows] = np.where(self.std > 0, features[rows] - self.offset(features[rows]), 0)
        return result

    def _kinds(self, along: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return how likely every spot is of every kind, (n, 8), from its components (n, 10)."""
        shares, shift = self.shares.astype(np.float64), np.zeros(along.shape[1])
        weights = 1 / self.variances.astype(np.float64)
        for _ in range(MAX_STEPS):
            kinds = self._likely(along - shift, shares, weights)
            counts = kinds.sum(axis=0)
            shares = (counts + PRIOR_SPOTS * self.shares) / (len(along) + PRIOR_SPOTS)
            pulled = along.T @ kinds - self.centers.T * counts  # (10, 8): how far spots are from the kinds, in sum
            new = (pulled * weights.T).sum(axis=1) / (counts @ weights)
            moved = np.abs(new - shift).max()
            shift = new
            if moved < CLOSE:
                break
        return self._likely(along - shift, shares, weights).astype(np.float32)

    def _likely(
        self, along: NDArray[np.float64], shares: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        scaled = self.centers * weights
        squares = np.square(along) @ weights.T - 2 * along @ scaled.T + (scaled * self.centers).sum(axis=1)  # (n, 8)
        with np.errstate(divide="ignore"):
            likely = (np.log(weights).sum(axis=1) - squares) / 2 + np.log(shares)
        likely = np.exp(likely - likely.max(axis=1, keepdims=True))
        result: NDArray[np.float64] = likely / likely.sum(axis=1, keepdims=True)
        return result
