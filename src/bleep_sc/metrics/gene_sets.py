"""Which genes are expressed most, or vary most, on slides."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bleep_sc._arrays.moments import moments
from bleep_sc._arrays.unread import subset

N_TOP = 50
"""Genes in the paper's sets of highly expressed and highly variable genes."""


def highest_genes(
    values: NDArray[np.floating], slides: NDArray[np.str_], *, by: Literal["mean", "variance"], n_top: int = N_TOP
) -> NDArray[np.intp]:
    """Return the genes with the highest mean (HEG) or the highest variance (HVG), the highest first.

    Both are taken slide by slide and averaged over slides: what differs between slides, for a batch effect or a fold in
    one of them, makes no gene variable.

    Parameters
    ----------
    values
        (n_spots, n_genes).
    slides
        Slide of every spot, (n_spots,).
    by
        What to rank by.
    n_top
        How many genes.

    Returns
    -------
    Columns, (n_top,); all of them where there are fewer.

    Raises
    ------
    ValueError
        When ``by`` is something else, there is no spot, or not a slide for every one.

    Examples
    --------
    The second gene differs between slides and within none:

    >>> values = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 9.0], [2.0, 9.0]])
    >>> bs.metrics.highest_genes(values, np.array(["a", "a", "b", "b"]), by="variance", n_top=1).tolist()
    [0]
    """
    if by not in ("mean", "variance"):
        raise ValueError(f"by={by!r} is not known; use 'mean' or 'variance'.")
    slides = np.asarray(slides)
    if not len(values) or len(slides) != len(values):
        raise ValueError(f"{len(values)} spots and {len(slides)} slides: one slide for each spot is needed.")
    which = ("mean", "variance").index(by)
    of_slides = [moments(subset(values, slides == slide))[which] for slide in np.unique(slides)]
    return np.argsort(-np.mean(of_slides, axis=0), kind="stable")[:n_top]
