"""What donors, or slides, that were held out teach about the predictions of a reference."""

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
from bleep_sc.training.shrinkage import of_parts
from bleep_sc.training.validation import MAX_FOLDS, folds, monitored_genes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.cross_fit import HeldOut

# A unit is what was held out as a whole: a donor, or a slide where there are not several donors. Correlations are of
# deviations within slides; what differs, and is judged by others, is a unit.

FEWEST_GENES = 10
"""Genes from which it is told how far correlations differ by chance."""
UNITS_OF_ALL_GENES = 3
"""What all genes together say of how units differ counts for so many more units, gene by gene."""
MAX_SPOTS = 4000
"""Spots on which ends of intervals are compared, at most."""


def calibrate(held_out: HeldOut) -> Calibration:
    """Learn from donors, or slides, that were predicted without having been seen.

    Parts of one slide teach which spots are predicted worse than others, and nothing of genes: their predictability is
    NaN, and they move towards the regression as where nothing says how far.
    """
    slides, units, truth = held_out.slides, held_out.units, held_out.truth
    typical, shrinkage, _ = held_out.shrinkage
    predicted = held_out_prediction(held_out)
    std = truth.std(axis=0)
    scale = interval_scale(held_out.variance, std)
    genes = monitored_genes(truth, slides)
    spread = disagreement(held_out.variance[:, genes], std[genes])
    errors = (np.square(truth - predicted)[:, genes] / np.maximum(np.square(std[genes]), 1e-12)).mean(axis=1)
    predictors = design(held_out.similarity, spread)
    coefficients = np.linalg.lstsq(predictors, errors, rcond=None)[0]
    expected = np.percentile(predictors @ coefficients, np.linspace(0, 100, N_PERCENTILES))
    return Calibration(
        shrinkage=shrinkage,
        typical_shrinkage=np.array(typical, dtype=np.float32),
        predictability=np.full(len(std), np.nan, dtype=np.float32)
        if of_parts(slides, units)
        else predictability(predicted, truth, slides, units),
        std=std.astype(np.float32),
        residuals=ends((truth - predicted) / scale, units, from_others=True),
        levels=ends(truth, units, from_others=False),
        is_local=_better_local(truth, predicted, scale, units),
        monitored=np.isin(np.arange(truth.shape[1]), genes),
        error=coefficients,
        errors=np.maximum.accumulate(expected),
        smoothing_um=np.array(held_out.smoothing_um, dtype=np.float64),
    )


def held_out_prediction(held_out: HeldOut) -> NDArray[np.float32]:
    """Return what would have been predicted for spots that a model had not seen, (n, n_genes)."""
    shrunk_elsewhere = held_out.shrinkage[2]
    return held_out.retrieved + shrunk_elsewhere * (held_out.regressed - held_out.retrieved)


def predictability(
    predicted: NDArray[np.float32], truth: NDArray[np.float32], slides: NDArray[np.str_], units: NDArray[np.str_]
) -> NDArray[np.float32]:
    """Return the correlation of every gene, or set of genes, within slides, less what is chance, (n_genes,).

    The mean over slides, weighed by the inverse variance of a correlation of n spots, 1 / (n - 3), so that three spots
    say nothing. It is shrunk towards zero by the share of chance in it, which units tell by their disagreement over
    all genes: of many genes that nothing predicts, some correlate well on few spots. That of a unit is the mean over
    its slides, by the same weights.
    """
    names, first, counts = np.unique(slides, return_index=True, return_counts=True)
    r = np.stack([pearson(predicted[slides == name], truth[slides == name]) for name in names])  # (n_slides, n_genes)
    weight = np.where(np.isfinite(r), np.maximum(counts - 3.0, 0.0)[:, None], 0.0)
    total, r = weight.sum(axis=0), np.nan_to_num(r)
    known, result = total > 0, np.full(truth.shape[1], np.nan)
    result[known] = (weight * r).sum(axis=0)[known] / total[known]
    r, weight = _by_unit(r, weight, units[first])
    several = known & ((weight > 0).sum(axis=0) > 1)
    if several.sum() >= FEWEST_GENES:
        apart = (weight * np.square(r - result)).sum(axis=0)[several] / ((weight > 0).sum(axis=0)[several] - 1)
        noise = apart.mean() / total[known]
        signal = max(np.square(result[known]).mean() - noise.mean(), 0.0)
        result[known] *= signal / np.maximum(signal + noise, np.finfo(float).tiny)
    return result.astype(np.float32)


def _by_unit(
    r: NDArray[np.float64], weight: NDArray[np.float64], units: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return correlations of slides, (n_slides, n_genes), averaged over those of a unit, and their weights summed."""
    slides_of = [units == name for name in np.unique(units)]
    total = np.stack([weight[own].sum(axis=0) for own in slides_of])  # (n_units, n_genes)
    share = [np.divide(weight[own], of_unit, out=np.zeros_like(weight[own]), where=of_unit > 0)
             for own, of_unit in zip(slides_of, total, strict=True)]  # fmt: skip
    return np.stack([(part * r[own]).sum(axis=0) for part, own in zip(share, slides_of, strict=True)]), total


def ends(values: NDArray[np.float32], units: NDArray[np.str_], *, from_others: bool) -> NDArray[np.float32]:
    r"""Return quantiles of every gene for a further spot of a further unit, (n_probabilities, n_genes).

    For the spot: of n values the :math:`\lfloor (n + 1) p \rfloor`-th, and for upper ends the
    :math:`\lceil (n + 1) p \rceil`-th, as in conformal prediction; the extremes where n is too small. For the unit:
    deviations from the means of units are stretched, so that their variance is that of spots and units together, with
    Student's quantile instead of the normal one for as few units as there are. ``from_others`` says that the values
    are what others missed of a unit, which differs more than a further one will from all of them.
    """
    from scipy.stats import norm, t

    names, unit, counts = np.unique(units, return_inverse=True, return_counts=True)
    n, several = len(values), 1 < len(names) < len(values)
    means = np.stack([values[unit == i].mean(axis=0, dtype=np.float64) for i in range(len(names))])
    overall = values.mean(axis=0, dtype=np.float64)
    within = values - (means[unit] if several else overall)
    between, df = _between_units(within, means - overall, counts) if several else (np.zeros_like(overall), 1.0)
    n_units = max(n**2 / np.square(counts).sum(), 2.0)
    between *= (n_units - 1) ** 2 * (n_units + 1) / n_units**3 if from_others else (n_units + 1) / n_units
    places = [_place(probability, n) for probability in PROBABILITIES]
    ordered = np.partition(within, sorted(set(places)), axis=0)[places]
    half = np.array([probability if probability != 0.5 else 0.25 for probability in PROBABILITIES])
    student = np.square(t.ppf(half, df) / norm.ppf(half))[:, None]
    return np.asarray(overall + ordered * np.sqrt(1 + between * student), dtype=np.float32)


def _place(probability: float, n: int) -> int:
    """Return where among n values in order the quantile of a further one is, at the latest."""
    place = np.floor((n + 1) * probability) if probability < 0.5 else np.ceil((n + 1) * probability)
    return int(np.clip(place, 1, n)) - 1


def _between_units(
    within: NDArray[np.float64], apart: NDArray[np.float64], counts: NDArray[np.intp]
) -> tuple[NDArray[np.float64], float]:
    """Return the variance between units, as a multiple of that within, (n_genes,), and its degrees of freedom.

    From deviations of spots (n, n_genes) from the means of their units, and of these (n_units, n_genes). Few units say
    little of a gene, and many genes something of units: that of all genes counts for three units more.
    """
    n, n_units = len(within), len(counts)
    of_spots = np.square(within).sum(axis=0) / (n - n_units)
    of_units = (counts[:, None] * np.square(apart)).sum(axis=0) / (n_units - 1)
    each = (n - np.square(counts).sum() / n) / (n_units - 1)  # spots of a unit, less where they are uneven
    varies = of_spots > 0
    share = np.divide((of_units - of_spots) / each, of_spots, out=np.zeros_like(of_spots), where=varies)
    common = max(float(share[varies].mean()), 0.0) if varies.any() else 0.0
    own = n**2 / np.square(counts).sum() - 1
    return np.maximum((own * share + UNITS_OF_ALL_GENES * common) / (own + UNITS_OF_ALL_GENES), 0), (
        own + UNITS_OF_ALL_GENES
    )


def _better_local(
    truth: NDArray[np.float32], predicted: NDArray[np.float32], scale: NDArray[np.float32], units: NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Return which ends of intervals better move with the prediction, (n_probabilities, n_genes).

    Both kinds are learnt on all units but one, or a fifth of them where they are many, and compared on these by the
    pinball loss, which is least for the true quantile: the image does not show every gene, and many are zero in most
    spots.
    """
    kept = np.random.default_rng(0).permutation(len(truth))[:MAX_SPOTS]
    truth, predicted, scale, units = truth[kept], predicted[kept], scale[kept], units[kept]
    better = np.zeros((len(PROBABILITIES), truth.shape[1]))
    for out in folds(units, MAX_FOLDS, random_state=0):
        residuals = np.quantile((truth - predicted)[~out] / scale[~out], PROBABILITIES, axis=0)
        levels = np.quantile(truth[~out], PROBABILITIES, axis=0)
        for i, probability in enumerate(PROBABILITIES):
            local = predicted[out] + scale[out] * residuals[i]
            better[i] += _pinball(levels[i], truth[out], probability) - _pinball(local, truth[out], probability)
    return better > 0


def _pinball(end: NDArray[np.float32], truth: NDArray[np.float32], probability: float) -> NDArray[np.float32]:
    """Return the pinball loss of a quantile, sum over spots, (n_genes,)."""
    above = truth - end
    loss: NDArray[np.float32] = np.maximum(probability * above, (probability - 1) * above).sum(axis=0)
    return loss
