"""What a reference knows about its own predictions, and how it is used on a query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBABILITIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995)
"""Of the quantiles of standardised residuals that are kept; others are interpolated."""
FLOOR = 0.3
"""Least scale of an interval, as a share of the standard deviation of the gene: neighbours may agree by accident."""
N_PERCENTILES = 101


@dataclass(frozen=True)
class Calibration:
    """Plain arrays, kept with the model; genes are those of its panel."""

    shrinkage: NDArray[np.float32]
    """How far the retrieved mean of a gene moves towards the regression, (n_genes,)."""
    typical_shrinkage: NDArray[np.float32]
    """The same over all genes, for genes outside the panel; a scalar."""
    predictability: NDArray[np.float32]
    """Pearson r of a gene within slides that were held out, less what chance explains, (n_genes,); NaN where it never
    varied, or on no more than three spots."""
    std: NDArray[np.float32]
    """Standard deviation of a gene over the reference, (n_genes,)."""
    residuals: NDArray[np.float32]
    """Quantiles of the residuals of held-out spots in units of their scale, as they are for a further slide,
    (n_probabilities, n_genes)."""
    levels: NDArray[np.float32]
    """The same of the measured values, whatever was predicted."""
    is_local: NDArray[np.bool_]
    """Where the end of an interval moves with the prediction, which was better on held-out slides, (n_probabilities,
    n_genes); elsewhere it is a level of the gene."""
    monitored: NDArray[np.bool_]
    """The most variable genes, by which spots are judged, (n_genes,)."""
    error: NDArray[np.float64]
    """Expected error of a spot: coefficients of a constant, the similarity and the disagreement of its neighbours."""
    errors: NDArray[np.float64]
    """Percentiles of the expected errors of the held-out spots, (101,)."""
    smoothing_um: NDArray[np.float64] = field(default_factory=lambda: np.array(0.0))
    """Over how much tissue embeddings were averaged before they were looked for, µm; a scalar."""

    def end(
        self,
        probability: float,
        predicted: NDArray[np.float32],
        scale: NDArray[np.float32],
        genes: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float32]:
        """Return the end of an interval, below which this share of the measured values is to lie, (n, n_genes).

        ``predicted`` and ``scale`` are (n, n_genes), of these ``genes`` of the panel; None is all of them.
        """
        if not PROBABILITIES[0] <= probability <= PROBABILITIES[-1]:
            raise ValueError(f"interval={1 - 2 * min(probability, 1 - probability):g} must lie between 0 and 0.99.")
        genes = np.arange(len(self.std)) if genes is None else genes
        residual, level = (_between(probability, each[:, genes]) for each in (self.residuals, self.levels))
        is_local = self.is_local[np.abs(np.array(PROBABILITIES) - probability).argmin(), genes]
        return np.where(is_local, predicted + scale * residual, level).astype(np.float32)

    def confidence(self, similarity: NDArray[np.float32], disagreement: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the share of held-out spots whose expected error is larger, for spots (n,)."""
        expected = design(similarity, disagreement) @ self.error
        below = np.interp(expected, self.errors, np.linspace(0, 1, N_PERCENTILES))
        return (1 - below).astype(np.float32)


def interval_scale(variance: NDArray[np.float32], std: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scale of intervals (n, n_genes): how far neighbours differ, and never next to nothing."""
    scale: NDArray[np.float32] = np.sqrt(variance + np.square(FLOOR * std) + np.float32(1e-12))
    return scale


def disagreement(variance: NDArray[np.float32], std: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the variance among neighbours in units of that of the gene, mean over genes, (n,)."""
    result: NDArray[np.float32] = (variance / np.maximum(np.square(std), np.float32(1e-12))).mean(axis=1)
    return result


def design(similarity: NDArray[np.float32], spread: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what the expected error of spots is a linear function of, (n, 3)."""
    return np.column_stack([np.ones(len(similarity)), similarity, spread]).astype(np.float64)


def _between(probability: float, quantiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a quantile of every gene, (n_genes,), of those that are kept, (n_probabilities, n_genes)."""
    return np.array([np.interp(probability, PROBABILITIES, column) for column in quantiles.T], dtype=np.float32)
