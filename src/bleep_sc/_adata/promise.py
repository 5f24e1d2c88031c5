"""Whether anything is promised of the genes of a predicted layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys

if TYPE_CHECKING:
    from anndata import AnnData

PREDICTABILITY = "predictability_of"
"""Of the record of a prediction: one of ``bleep_sc.models.basis.BASES``, or why nothing is promised."""
INTERVAL, CONFIDENCE = "interval_of", "confidence_of"
"""The same: what was held out for either, and where the query is not like it, why."""


def why_not_promised(adata: AnnData, layer: str) -> str:
    """Return why nothing is known of how well the genes of a predicted layer can be predicted, or "" where it is."""
    from bleep_sc.models.basis import BASES

    key = keys.predictability(layer)
    if key in adata.var and np.isfinite(adata.var[key].to_numpy(dtype=np.float64)).any():
        return ""
    said = str(adata.uns.get(keys.imputed(layer), {}).get(PREDICTABILITY, ""))
    return said if said not in BASES else "of none of these genes anything was learnt"
