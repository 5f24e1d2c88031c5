"""In which order the predicted genes of a slide are to be read, and how far each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.promise import LEAST
from bleep_sc._arrays.blocks import dense

if TYPE_CHECKING:
    from anndata import AnnData

BLOCK = 256
"""Genes of which the variance is computed at once."""
WORDS = {0.6: "follows what was measured", 0.4: "shows the pattern", LEAST: "shows a trend", -np.inf: "not to be read"}
"""What Pearson r on held-out slides means for the map of a gene, from the least r that it is said of."""
N_COMPARED = 64
"""Of the first genes, how many are compared for their patterns."""
SAME_PATTERN = 0.8
"""Correlation of genes above which one of them shows what the other does."""
NOT_KNOWN, NOT_PROMISED = "not known", "not promised here"
WHY_NOT_KNOWN = "not among the genes that the model learnt on, or constant on every held-out slide"
"""Why r of a gene is not known, where that of others is."""


def rank_genes(adata: AnnData, layer: str) -> pd.DataFrame:
    """Return the predicted genes of a layer in the order in which to read them, a row each.

    ``r`` is the Pearson r on held-out slides of the reference, highest first; NaN where it is not known of this query,
    and of these genes those that vary most are first. ``means`` says it in words, and ``is_readable`` whether r is at
    least :data:`bleep_sc._adata.promise.LEAST`.
    """
    flag, key = keys.predicted(layer), keys.predictability(layer)
    predicted = np.flatnonzero(adata.var[flag].to_numpy(dtype=bool)) if flag in adata.var else np.arange(adata.n_vars)
    r = np.full(len(predicted), np.nan)
    if key in adata.var:
        r = adata.var[key].to_numpy(dtype=np.float64)[predicted]
    variance = np.zeros(len(predicted))
    unknown = np.flatnonzero(np.isnan(r))
    for start in range(0, len(unknown), BLOCK):
        block = unknown[start : start + BLOCK]
        variance[block] = dense(adata.layers[layer][:, predicted[block]]).var(axis=0)
    order = np.lexsort((-variance, -np.nan_to_num(r, nan=-np.inf)))
    ranked = pd.DataFrame({"r": r[order]}, index=adata.var_names[predicted[order]])
    absent = NOT_PROMISED if np.isnan(r).all() else NOT_KNOWN
    means = [absent if np.isnan(each) else in_words(each) for each in ranked["r"]]
    return ranked.assign(means=means, is_readable=ranked["r"] >= LEAST)


def in_words(r: float) -> str:
    """Say what Pearson r on held-out slides means for the map of a gene."""
    return next(words for least, words in WORDS.items() if r >= least)


def distinct_genes(adata: AnnData, layer: str, n: int = 4) -> list[str]:
    """Return the first n genes to look at, each with a pattern of its own where there are such.

    They are taken in the order of :func:`rank_genes`, and where any are readable, from these alone.
    """
    ranked = rank_genes(adata, layer)
    names = ranked.index[ranked["is_readable"]] if ranked["is_readable"].any() else ranked.index
    leading = names[:N_COMPARED]  # all genes of a large slide would be held twice more
    values = dense(adata.layers[layer][:, adata.var_names.get_indexer(leading)])
    deviation = values - values.mean(axis=0)
    unit = deviation / np.maximum(np.linalg.norm(deviation, axis=0), np.finfo(np.float32).tiny)
    chosen: list[int] = []
    for gene in range(len(leading)):
        if len(chosen) < n and (not chosen or np.abs(unit[:, chosen].T @ unit[:, gene]).max() < SAME_PATTERN):
            chosen.append(gene)
    chosen += [gene for gene in range(len(leading)) if gene not in chosen][: n - len(chosen)]
    return [str(leading[gene]) for gene in chosen]
