"""What sections of a reference teach about copying from the same place of the others, holding out one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.models.same_place import agreement, mean_and_variance, place_weights
from bleep_sc.training.calibration import calibrate, held_out_prediction
from bleep_sc.training.cross_fit import HeldOut
from bleep_sc.training.validation import monitored_genes, validation_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bleep_sc.models.calibration import Calibration

WIDTHS_UM = (50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0)
"""Between which held-out sections choose."""


def learn_place(
    morphology: NDArray[np.float32],
    truth: NDArray[np.float32],
    slides: NDArray[np.str_],
    centers_um: NDArray[np.float64],
    laid: Mapping[str, NDArray[np.float64]],
) -> tuple[float, Calibration]:
    """Learn how near a place counts, and how far every gene moves from morphology towards it.

    Every section is predicted from the same place of the others, and what that adds to what morphology predicted there
    is told by its deviations within slides (:func:`bleep_sc.training.calibration.calibrate`, with the place where
    the regression stands otherwise): the share of a gene is shrunk towards that of all genes, and the width, like all
    that is promised, is judged on sections that had no part in the shares.

    Parameters
    ----------
    morphology
        What was predicted of the spots by models that had not seen their section, (n, n_genes); NaN for other spots.
    truth
        (n, n_genes).
    slides, centers_um
        Section of every spot, (n,), and where it is there, µm, (n, 2).
    laid
        For two sections or more: where all spots come to lie on it, µm, (n, 2), NaN for those that are not copied
        from, among them its own.

    Returns
    -------
    The standard deviation of the weights, µm, and what was learnt; its ``shrinkage`` is the share of the place.
    """
    rows = np.flatnonzero(np.isfinite(morphology).all(axis=1) & np.isin(slides, list(laid)))
    genes = monitored_genes(truth[rows], slides[rows])
    some = {width: _held_out(morphology, truth, slides, centers_um, laid, rows, width, genes) for width in WIDTHS_UM}
    width_um = max(WIDTHS_UM, key=lambda width: _score(some[width]))
    every = np.arange(truth.shape[1])
    return width_um, calibrate(_held_out(morphology, truth, slides, centers_um, laid, rows, width_um, every))


def _held_out(
    morphology: NDArray[np.float32],
    truth: NDArray[np.float32],
    slides: NDArray[np.str_],
    centers_um: NDArray[np.float64],
    laid: Mapping[str, NDArray[np.float64]],
    rows: NDArray[np.intp],
    width_um: float,
    genes: NDArray[np.intp],
) -> HeldOut:
    """Return what sections were predicted as: by morphology where retrieval stands, by place where regression does."""
    values = truth[:, genes]
    place, variance = (np.empty((len(rows), len(genes)), dtype=np.float32) for _ in range(2))
    for name in np.unique(slides[rows]):
        here = slides[rows] == name
        weights = place_weights(centers_um[rows[here]], laid[str(name)], width_um)
        place[here], variance[here] = mean_and_variance(weights, values)
    by_morphology, truth_there = morphology[np.ix_(rows, genes)], values[rows]
    judges = monitored_genes(truth_there, slides[rows])
    return HeldOut(
        slides=slides[rows],
        units=slides[rows],
        truth=truth_there,
        retrieved=by_morphology,
        variance=variance,
        regressed=place,
        similarity=agreement(by_morphology[:, judges], place[:, judges], truth_there[:, judges].std(axis=0)),
        rows=rows,
    )


def _score(held_out: HeldOut) -> float:
    """Return the mean correlation within slides, weighed by their spots."""
    predicted, score = held_out_prediction(held_out), 0.0
    for name in np.unique(held_out.slides):
        here = held_out.slides == name
        score += here.sum() * validation_score(predicted[here], held_out.truth[here])
    return score
