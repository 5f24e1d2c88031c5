"""What held-out slides teach about the predictions of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.metrics.correlation import pearson
from bleep_sc.models.calibration import (
    N_PERCENTILES,
    PROBABILITIES,
    Calibration,
    design,
    disagreement,
    interval_scale,
)
from bleep_sc.training.validation import monitored_genes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.cross_fit import HeldOut

SHRINKAGE_VARIANCE = 0.05
"""How far genes differ in how much they move towards the regression."""
MAX_SPOTS = 4000
"""Spots on which ends of intervals are compared, at most."""


def calibrate(held_out: HeldOut) -> Calibration:
    """Learn from slides that were predicted without having been seen."""
    slides, truth = held_out.slides, held_out.truth
    typical, shrinkage = _shrinkage(held_out)
    predicted = held_out.retrieved + shrinkage * (held_out.regressed - held_out.retrieved)
    std = truth.std(axis=0)
    scale = interval_scale(held_out.variance, std)
    genes = monitored_genes(truth, slides)
    spread = disagreement(held_out.variance[:, genes], std[genes])
    errors = (np.square(truth - predicted)[:, genes] / np.maximum(np.square(std[genes]), 1e-12)).mean(axis=1)
    predictors = design(held_out.similarity, spread)
    coefficients = np.linalg.lstsq(predictors, errors, rcond=None)[0]
    expected = np.percentile(predictors @ coefficients, np.linspace(0, 100, N_PERCENTILES))
    per_slide = [pearson(predicted[slides == name], truth[slides == name]) for name in np.unique(slides)]
    known = np.isfinite(per_slide).any(axis=0)
    predictability = np.full(truth.shape[1], np.nan, dtype=np.float32)
    predictability[known] = np.nanmean(np.array(per_slide)[:, known], axis=0)
    return Calibration(
        shrinkage=shrinkage,
        typical_shrinkage=np.array(typical, dtype=np.float32),
        predictability=predictability,
        std=std.astype(np.float32),
        residuals=_quantiles((truth - predicted) / scale),
        levels=_quantiles(truth),
        is_local=_better_local(truth, predicted, scale, slides),
        monitored=np.isin(np.arange(truth.shape[1]), genes),
        error=coefficients,
        errors=np.maximum.accumulate(expected),
    )


def _shrinkage(held_out: HeldOut) -> tuple[float, NDArray[np.float32]]:
    r"""Return how far predictions should move towards the regression: over all genes, and gene by gene.

    The least-squares slope of what retrieval misses on what the regression would change, within slides, between 0 and
    1; that of a gene is shrunk towards that of all genes.
    """
    change = _within_slides(held_out.regressed - held_out.retrieved, held_out.slides)
    missed = _within_slides(held_out.truth - held_out.retrieved, held_out.slides)
    size = np.maximum(np.square(change).sum(axis=0), 1e-12)  # (n_genes,)
    slope = (change * missed).sum(axis=0) / size
    variance = missed.var(axis=0) / size
    weight = 1 / (variance + SHRINKAGE_VARIANCE)
    typical = float(np.clip((weight * slope).sum() / weight.sum(), 0, 1))
    shrunk = (SHRINKAGE_VARIANCE * slope + variance * typical) * weight
    return typical, np.clip(shrunk, 0, 1).astype(np.float32)


def _within_slides(values: NDArray[np.float32], slides: NDArray[np.str_]) -> NDArray[np.float32]:
    result = values.copy()
    for name in np.unique(slides):
        result[slides == name] -= values[slides == name].mean(axis=0)
    return result


def _better_local(
    truth: NDArray[np.float32], predicted: NDArray[np.float32], scale: NDArray[np.float32], slides: NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Return which ends of intervals better move with the prediction, (n_probabilities, n_genes).

    Both kinds are learnt on all slides but one and compared on that one by the pinball loss, which is least for the
    true quantile: the image does not show every gene, and many are zero in most spots.
    """
    kept = np.random.default_rng(0).permutation(len(truth))[:MAX_SPOTS]
    truth, predicted, scale, slides = truth[kept], predicted[kept], scale[kept], slides[kept]
    better = np.zeros((len(PROBABILITIES), truth.shape[1]))
    for name in np.unique(slides):
        out = slides == name
        residuals = _quantiles((truth - predicted)[~out] / scale[~out])
        levels = _quantiles(truth[~out])
        for i, probability in enumerate(PROBABILITIES):
            local = predicted[out] + scale[out] * residuals[i]
            better[i] += _pinball(levels[i], truth[out], probability) - _pinball(local, truth[out], probability)
    return better > 0


def _quantiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.quantile(values, PROBABILITIES, axis=0).astype(np.float32)


def _pinball(end: NDArray[np.float32], truth: NDArray[np.float32], probability: float) -> NDArray[np.float32]:
    """Return the pinball loss of a quantile, sum over spots, (n_genes,)."""
    above = truth - end
    loss: NDArray[np.float32] = np.maximum(probability * above, (probability - 1) * above).sum(axis=0)
    return loss
