"""Whether anything is promised of the genes of a predicted layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys

if TYPE_CHECKING:
    from anndata import AnnData

LEAST = 0.2
"""Pearson r on held-out slides below which the map of a gene is not to be read."""


def why_not_promised(adata: AnnData, layer: str) -> str:
    """Return why nothing is known of how well the genes of a predicted layer can be predicted, or "" where it is."""
    from bleep_sc.models.basis import BASES

    key = keys.predictability(layer)
    if key in adata.var and np.isfinite(adata.var[key].to_numpy(dtype=np.float64)).any():
        return ""
    said = str(adata.uns.get(keys.imputed(layer), {}).get(keys.PREDICTABILITY_OF, ""))
    return said if said not in BASES else "of none of these genes anything was learnt"
