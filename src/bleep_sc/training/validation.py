"""How tissue that is held out inside the reference judges a model, and what is held out as a whole."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bleep_sc.metrics.correlation import pearson
from bleep_sc.metrics.gene_sets import highest_genes


def monitored_genes(expression: NDArray[np.floating], slides: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return the columns of the most variable genes of (n_spots, n_genes): most others of a panel are noise."""
    return highest_genes(expression, slides, by="variance")


def validation_score(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return the mean Pearson correlation over genes; a gene that does not vary counts as zero."""
    return float(np.nan_to_num(pearson(prediction, truth)).mean())


def units_to_hold_out(slides: NDArray[np.str_], donors: Mapping[str, str] | None) -> NDArray[np.str_]:
    """Return what each spot is held out with as a whole, (n,): its donor, where there are several, else its slide.

    ``slides`` is the slide of every spot, and ``donors`` the donor of every slide; None says that they are not known.
    """
    if donors is None:
        return slides
    of_spots = np.array([donors[slide] for slide in slides.tolist()], dtype=str)
    return of_spots if len(np.unique(of_spots)) > 1 else slides


def folds(groups: NDArray[np.str_], n_folds: int, random_state: int) -> list[NDArray[np.bool_]]:
    """Share whole groups out over at most ``n_folds`` folds, or spots where all are of one.

    Returns the spots that each fold holds out, (n_spots,). ``groups`` is the slide of every spot, or its donor.
    """
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(groups)).astype(str)
    names = np.random.default_rng(random_state).permutation(np.unique(groups))
    if len(names) < 2:
        raise ValueError("One spot cannot be held out from itself; the reference needs several spots.")
    return [np.isin(groups, part) for part in np.array_split(names, min(n_folds, len(names)))]
