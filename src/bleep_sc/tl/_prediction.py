"""The output contract of predictions: a layer, the genes that it holds, and a record of what its numbers mean."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc import _keys
from bleep_sc._checks import LARGEST_LOG, holds_counts, require_layer, stored_values
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

UNEVEN = 3.0
"""Ratio of totals between slides that normalisation would not leave."""


def units(ref: AnnData, layer: str | None, target_rep: str | None = None) -> dict[str, Any]:
    """Say what the numbers of a reference mean: ``transform``, ``target_sum`` (0 where unknown) and ``corrected``."""
    if target_rep is not None:
        # Only what Harmony corrected in gene space is still expression.
        corrected = "var_names" in ref.uns.get(target_rep, {})
        return {"transform": "log1p" if corrected else "unknown", "target_sum": 0.0, "corrected": True}
    matrix = require_layer(ref, layer, "Pass layer=, a layer of the reference.")
    if holds_counts(matrix):
        return {"transform": "counts", "target_sum": 0.0, "corrected": False}
    values = stored_values(matrix)
    if not values.size:
        return {"transform": "unknown", "target_sum": 0.0, "corrected": False}
    if values.min() < 0 or (_keys.LOG1P not in ref.uns and values.max() > LARGEST_LOG):
        return {"transform": "unknown", "target_sum": 0.0, "corrected": False}
    totals = _linear_totals(matrix)
    constant = np.ptp(totals) < 1e-3 * totals.mean()
    return {"transform": "log1p", "target_sum": round(float(totals.mean()), 1) if constant else 0.0, "corrected": False}


def _linear_totals(matrix: Any) -> NDArray[np.float64]:
    """Return the total of every spot before the logarithm."""
    linear = matrix.expm1() if sparse.issparse(matrix) else np.expm1(np.asarray(matrix, dtype=np.float64))
    return np.asarray(linear.sum(axis=1), dtype=np.float64).ravel()


def warn_of_uneven_slides(adata: AnnData, layer: str | None, slides: NDArray[np.str_]) -> None:
    """Warn where one slide was normalised to another total than the next."""
    totals = _linear_totals(require_layer(adata, layer, "Pass layer=, the layer with logarithms."))
    medians = {str(slide): float(np.median(totals[slides == slide])) for slide in np.unique(slides)}
    if max(medians.values()) > UNEVEN * min(medians.values()):
        listed = ", ".join(f"{slide} {median:.4g}" for slide, median in medians.items())
        warnings.warn(
            f"The slides are not normalised alike (median total of a spot before the logarithm: {listed}). Run "
            "sc.pp.normalize_total(adata, target_sum=1e4) on the counts of all of them, then sc.pp.log1p.",
            UserWarning,
            stacklevel=3,
        )


def check_layer_is_free(adata: AnnData, name: str) -> None:
    """Refuse to write a prediction over a layer that is none."""
    if name in adata.layers and _keys.imputed(name) not in adata.uns:
        raise ValueError(f"layers[{name!r}] exists and is no prediction; it would be lost. Pass another key_added=.")


def write_prediction(
    adata: AnnData, name: str, predicted: NDArray[np.float32], genes: NDArray[np.bool_], record: dict[str, Any]
) -> None:
    """Write predicted expression (n_obs, n_predicted) and its record."""
    values = np.full(adata.shape, np.nan, dtype=np.float32)
    values[:, genes] = predicted
    adata.layers[name] = values
    adata.var[_keys.predicted(name)] = genes
    adata.uns[_keys.imputed(name)] = {**record, "version": __version__}
