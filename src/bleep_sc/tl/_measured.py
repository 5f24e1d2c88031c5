"""Predicted expression beside the measured one, as arrays of the same genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import _keys
from bleep_sc._checks import dense, require_layer

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def both_sides(
    adata: AnnData, layer: str, truth: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return predicted and measured expression of the predicted genes, (n_obs, n_genes) each, and which these are."""
    predicted = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    measured = require_layer(adata, truth, "Measured expression is needed: pass truth=, the name of its layer.")
    flag = _keys.predicted(layer)
    if flag in adata.var:
        known = adata.var[flag].to_numpy(dtype=bool)
    else:
        known = np.asarray(np.isfinite(dense(predicted)).all(axis=0))
    if not known.any():
        raise ValueError(f"layers[{layer!r}] holds no predicted gene.")
    return dense(predicted[:, known]), dense(measured[:, known]), known
