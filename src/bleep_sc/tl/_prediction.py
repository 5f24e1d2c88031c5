"""The output contract of predictions: a layer, the genes that it holds, and a record of what its numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc import _keys
from bleep_sc._checks import LARGEST_LOG, holds_counts, require_layer, stored_values
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def units(ref: AnnData, layer: str | None, target_rep: str | None = None) -> dict[str, Any]:
    """Say what the numbers of a reference mean: ``transform``, ``target_sum`` (0 where unknown) and ``corrected``."""
    if target_rep is not None:
        return {"transform": "log1p", "target_sum": 0.0, "corrected": True}
    matrix = require_layer(ref, layer, "Pass layer=, a layer of the reference.")
    if holds_counts(matrix):
        return {"transform": "counts", "target_sum": 0.0, "corrected": False}
    values = stored_values(matrix)
    if values.min() < 0 or (_keys.LOG1P not in ref.uns and values.max() > LARGEST_LOG):
        return {"transform": "unknown", "target_sum": 0.0, "corrected": False}
    linear = matrix.expm1() if sparse.issparse(matrix) else np.expm1(np.asarray(matrix, dtype=np.float64))
    totals = np.asarray(linear.sum(axis=1)).ravel()
    constant = np.ptp(totals) < 1e-3 * totals.mean()
    return {"transform": "log1p", "target_sum": round(float(totals.mean()), 1) if constant else 0.0, "corrected": False}


def write_prediction(
    adata: AnnData, name: str, predicted: NDArray[np.float32], genes: NDArray[np.bool_], record: dict[str, Any]
) -> None:
    """Write predicted expression (n_obs, n_predicted) and its record."""
    values = np.full(adata.shape, np.nan, dtype=np.float32)
    values[:, genes] = predicted
    adata.layers[name] = values
    adata.var[_keys.predicted(name)] = genes
    adata.uns[_keys.imputed(name)] = {**record, "version": __version__}
