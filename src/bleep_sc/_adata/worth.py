"""What a reference says of its own worth: how well its genes were predicted on what was held out when it was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc._adata.promise import LEAST

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

GOOD = 0.5
"""Pearson r of genes that are counted beside those that are to be read."""


def known_scores(adata: AnnData, layer: str) -> pd.Series | None:
    """Return the Pearson r of every gene of which it is known, by a model or a prediction of a name; None of none."""
    key = keys.predictability(layer)
    known = adata.var[key].dropna() if key in adata.var else None
    return known if known is not None and len(known) else None


def in_short(scores: pd.Series) -> str:
    """Say the median of scores, and how many genes are to be read."""
    return (
        f"median Pearson r {scores.median():.2f} over {len(scores):,} genes; {(scores >= LEAST).sum():,} of them are "
        f"to be read (r of {LEAST} or more), {(scores >= GOOD).sum():,} reach {GOOD}"
    )
