"""Slides side by side in one AnnData."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def require_different(slides: Mapping[str, AnnData]) -> None:
    """Refuse a slide that is there twice: the same barcodes with the same counts, under two names.

    Barcodes alone say nothing: those of a place on the array are the same on all Visium slides of a kind.
    """
    totals = {name: slide.obs[keys.TOTAL_COUNTS].sort_index() for name, slide in slides.items()}
    for first, second in combinations(totals, 2):
        if totals[first].equals(totals[second]):
            raise ValueError(
                f"Slides {first!r} and {second!r} are the same: they have the same barcodes with the same counts. Pass "
                "it once; as two slides it would be held out from itself."
            )


def require_shared_genes(slides: Mapping[str, AnnData]) -> None:
    """Refuse slides that share less than half of the genes of the smallest."""
    shared = set.intersection(*(set(slide.var_names) for slide in slides.values()))
    n_genes = {name: slide.n_vars for name, slide in slides.items()}
    if len(slides) > 1:
        logger.info("%s genes are shared by all %d slides.", f"{len(shared):,}", len(slides))
    if 2 * len(shared) < min(n_genes.values()):
        some = "; ".join(f"{name!r} has {listed(slide.var_names, 3)}" for name, slide in list(slides.items())[:4])
        raise ValueError(
            f"The slides share {len(shared)} genes ({some}): they are of several species, or name genes by symbols "
            "here and by ids there. Prepare by itself what belongs together, or rename var_names and pass h5ad files."
        )


def join_slides(slides: Mapping[str, AnnData]) -> AnnData:
    """Return one AnnData of the shared genes; spots are called by their barcode and slide."""
    joined = ad.concat(dict(slides), join="inner", merge="same", index_unique="-")
    joined.X = sparse.csr_matrix(joined.X, dtype=np.float32)
    joined.obs[keys.LIBRARY] = pd.Categorical(joined.obs[keys.LIBRARY].astype(str), categories=list(slides))
    for key in (keys.SPATIAL, keys.PATCHES):
        joined.uns[key] = {name: slide.uns[key][name] for name, slide in slides.items()}
    first = next(iter(slides.values()))
    joined.uns |= {key: first.uns[key] for key in first.obsm if key in first.uns and key.startswith("X_")}
    return joined[np.asarray(joined.X.sum(axis=1)).ravel() > 0].copy()
