"""How tissue that is held out inside the reference judges a model, and what is held out as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from bleep_sc.metrics.correlation import pearson
from bleep_sc.metrics.gene_sets import highest_genes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bleep_sc._arrays.sparse_rows import SparseRows
    from bleep_sc.training.config import FitConfig

MAX_FOLDS = 5
"""Models that are trained to predict what they have not seen, at most."""
N_PARTS, FEWEST_SPOTS = 5, 100
"""Parts of a slide that are held out where there is one slide, and spots from which it has parts."""


def monitored_genes(expression: NDArray[np.floating] | SparseRows, slides: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return the columns of the most variable genes of (n_spots, n_genes): most others of a panel are noise."""
    # Rows of the one become those of the other when they are read.
    return highest_genes(cast("NDArray[np.floating]", expression), slides, by="variance")


def validation_score(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return the mean Pearson correlation over genes; a gene that does not vary counts as zero."""
    return float(np.nan_to_num(pearson(prediction, truth)).mean())


def parts_of_slide(centers_um: NDArray[np.float64], random_state: int) -> NDArray[np.str_]:
    """Return in which part of its slide each spot is, (n,): neighbours, by k-means of their places, (n, 2)."""
    from sklearn.cluster import KMeans

    parts = KMeans(N_PARTS, n_init=10, random_state=random_state).fit_predict(centers_um)
    return np.char.add("part ", (parts + 1).astype(str))


def units_to_hold_out(
    slides: NDArray[np.str_],
    donors: Mapping[str, str] | None,
    *,
    centers_um: NDArray[np.float64] | None = None,
    random_state: int = 0,
) -> NDArray[np.str_]:
    """Return what each spot is held out with as a whole, (n,): its donor, where there are several, else its slide.

    ``slides`` is the slide of every spot, and ``donors`` the donor of every slide; None says that they are not known.
    With ``centers_um``, (n, 2), where spots are, one slide of 100 spots or more is held out in five parts.
    """
    if centers_um is not None and len(slides) >= FEWEST_SPOTS and len(np.unique(slides)) == 1:
        return parts_of_slide(centers_um, random_state)
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


def holds_out(config: FitConfig, units: NDArray[np.str_]) -> bool:
    """Tell whether any of the units is held out to learn what predictions are worth."""
    return config.cross_fit and len(np.unique(units)) > 1
