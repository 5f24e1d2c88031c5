"""How sets of genes are scored: sums over genes, which are found once and applied to all that is to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bleep_sc._arrays.blocks import dense, row_blocks, slices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Method = Literal["score_genes", "mean"]
SPOTS = 4096
"""That are scored at once."""
BINS, GENES_OF_BIN = 25, 10
"""Of scanpy's control genes: so many bins of expression, of so many genes at least."""
NO_CONTROLS, DOES_NOT_VARY = "no control genes of like expression", "its genes do not vary"


@dataclass(frozen=True)
class Scoring:
    """Scores as sums over genes."""

    weights: NDArray[np.float64]
    """(n_genes, n_sets); zero for sets that cannot be scored."""
    shift: NDArray[np.float64]
    """What is added to the sums, (n_sets,); NaN for sets that cannot be scored."""
    n_used: NDArray[np.intp]
    """Genes of every set that are at hand, (n_sets,)."""
    notes: list[str]
    """Why a set cannot be scored; empty for those that can."""

    def scores(self, values: Any) -> NDArray[np.float64]:
        """Return the scores of spots, (n, n_sets), from the expression of the genes, (n, n_genes), read in blocks."""
        parts = [dense(values[rows]) @ self.weights + self.shift for rows in slices(values.shape[0], SPOTS)]
        return np.concatenate(parts)


def scoring(
    sets: Mapping[str, Mapping[str, float]],
    genes: pd.Index,
    profiles: Any,
    *,
    method: Method,
    min_genes: int,
    random_state: int,
) -> Scoring:
    """Find how sets are scored on genes (n_genes,), by their mean and spread in ``profiles``, (n_spots, n_genes)."""
    mean, std = _moments(profiles)
    weights = np.zeros((len(genes), len(sets)))
    used = [np.flatnonzero(genes.isin(list(of_set))) for of_set in sets.values()]
    notes = []
    for number, (of_set, own) in enumerate(zip(sets.values(), used, strict=True)):
        note, column = f"{len(own)} of its {len(of_set)} genes at hand", None
        if len(own) >= max(min_genes, 1):
            if method == "score_genes":
                note, column = NO_CONTROLS, _less_controls(own, mean, random_state)
            else:
                note, column = DOES_NOT_VARY, _mean_of_units(np.array([of_set[gene] for gene in genes[own]]), own, std)
        if column is not None:
            note, weights[:, number] = "", column
        notes.append(note)
    shift = -mean @ weights if method == "mean" else np.zeros(len(sets))
    n_used = np.array([len(own) for own in used], dtype=np.intp)
    return Scoring(weights, np.where([note != "" for note in notes], np.nan, shift), n_used, notes)


def _less_controls(own: NDArray[np.intp], mean: NDArray[np.float64], random_state: int) -> NDArray[np.float64] | None:
    """Return the weights of all genes in the score of ``sc.tl.score_genes``; None without control genes.

    Once control genes are drawn, by the order of the genes in mean expression, the score is a sum over genes. So scanpy
    is asked for the scores of spots that express one gene each, as much as is its place in that order.
    """
    import scanpy as sc
    from scipy import sparse
    from scipy.stats import rankdata

    size = rankdata(mean, method="min").astype(np.float64)
    names, each = pd.Index([str(number) for number in range(len(mean))]), np.arange(len(mean))
    spots = sc.AnnData(sparse.csr_matrix((size, (each, each))), var=pd.DataFrame(index=names))
    n_bins = max(2, min(BINS, len(mean) // GENES_OF_BIN))
    if len(own) == len(mean):
        return None
    # scanpy seeds the generator of the user's session, and tells of every gene that has no control genes.
    before, verbosity = np.random.get_state(), sc.settings.verbosity
    try:
        sc.settings.verbosity = "error"
        sc.tl.score_genes(spots, names[own], n_bins=n_bins, ctrl_as_ref=False, random_state=random_state)
    except RuntimeError as error:
        if "control genes" not in str(error):
            raise
        return None
    finally:
        np.random.set_state(before)
        sc.settings.verbosity = verbosity
    return np.asarray(spots.obs["score"].to_numpy() / size)


def _mean_of_units(
    weights: NDArray[np.float64], own: NDArray[np.intp], std: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the weights of all genes in the mean of those of a set, in standard deviations; None if none varies."""
    varies = std[own] > 0
    total = np.abs(weights[varies]).sum()
    if not total > 0:
        return None
    column = np.zeros(len(std))
    column[own[varies]] = weights[varies] / std[own[varies]] / total
    return column


def _moments(values: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of every column, (n_genes,) each."""
    n, total, squares = values.shape[0], np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for _, block in row_blocks(values):
        part = dense(block).astype(np.float64)
        total, squares = total + part.sum(axis=0), squares + np.square(part).sum(axis=0)
    mean = total / n
    variance = squares / n - np.square(mean)
    return mean, np.sqrt(np.where(variance > 1e-9 * np.maximum(squares / n, 1e-300), variance, 0.0))
