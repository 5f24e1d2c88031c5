"""Checks at the boundary, whose errors say what is wrong, what exists and which call mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc import _keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

LARGEST_LOG = 25.0
"""Logarithms of expression stay far below: log1p of a million is 14."""


def listed(names: Iterable[Any], limit: int = 8) -> str:
    """Names for an error message, the first few of many."""
    quoted = [repr(str(name)) for name in names]
    if not quoted:
        return "none"
    rest = len(quoted) - limit
    return ", ".join(quoted[:limit]) + (f" and {rest} more" if rest > 0 else "")


def is_by_slide(image: Any) -> bool:
    """Tell a mapping from slides to images from an image of SpatialData with scales, which is a mapping too."""
    return isinstance(image, Mapping) and not hasattr(image, "children")


def require_obsm(adata: AnnData, key: str, remedy: str) -> Any:
    """Return ``adata.obsm[key]``, or raise a KeyError that names the remedy."""
    if key not in adata.obsm:
        raise KeyError(f"obsm[{key!r}] not found (adata.obsm has: {listed(adata.obsm)}). {remedy}")
    return adata.obsm[key]


def require_obs(adata: AnnData, key: str, remedy: str) -> Any:
    """Return ``adata.obs[key]``, or raise a KeyError that names the remedy."""
    if key not in adata.obs:
        raise KeyError(f"obs[{key!r}] not found (adata.obs has: {listed(adata.obs)}). {remedy}")
    return adata.obs[key]


def require_layer(adata: AnnData, layer: str | None, remedy: str) -> Any:
    """Return ``adata.layers[layer]``, or ``adata.X`` for None, or raise a KeyError that names the remedy."""
    names = [name for name in adata.layers if name is not None]  # anndata 0.13 keeps X among the layers, as None
    if layer is None:
        if adata.X is None:
            raise KeyError(f"adata.X is empty (adata.layers has: {listed(names)}). {remedy}")
        if adata.isbacked:
            raise ValueError("adata.X is on disk (adata is backed). Load it first: adata = adata.to_memory().")
        return adata.X
    if layer not in names:
        if _keys.IMPUTED in adata.var and np.all(adata.var[_keys.IMPUTED]):
            remedy = "This is what bleep_sc.tl.to_anndata made, whose X is the prediction: pass the query itself."
        raise KeyError(f"layers[{layer!r}] not found (adata.layers has: {listed(names)}). {remedy}")
    return adata.layers[layer]


def require_model(adata: AnnData, key: str) -> dict[str, Any]:
    """Return ``uns[key]``, a fitted model, or raise a KeyError that says why there may be none."""
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "model" not in record:
        fitted = [name for name, entry in adata.uns.items() if isinstance(entry, dict) and "model" in entry]
        raise KeyError(
            f"The reference holds no model: uns[{key!r}] not found (models in its uns: {listed(fitted)}). Run "
            "bleep_sc.tl.fit(adata_ref) first, and pass the query first and the reference as ref=. If it was fitted "
            "before a concatenation: anndata.concat drops uns unless uns_merge='first' (or 'unique') is given."
        )
    return record


def require_unique_genes(adata: AnnData) -> None:
    """Refuse duplicate gene names, which would make columns ambiguous."""
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(f"adata.var_names are not unique: {listed(twice)}. Run adata.var_names_make_unique() first.")


def libraries(adata: AnnData, library_key: str) -> NDArray[np.str_]:
    """Return the slide of every spot: ``obs[library_key]``, or the one library of ``uns["spatial"]``."""
    if library_key in adata.obs:
        column = adata.obs[library_key]
        if column.isna().any():
            raise ValueError(f"obs[{library_key!r}] is missing for {int(column.isna().sum())} spots; name their slide.")
        return column.astype(str).to_numpy(dtype=str)
    names = list(adata.uns.get(_keys.SPATIAL, {}))
    if library_key != _keys.LIBRARY or len(names) > 1:
        require_obs(adata, library_key, "Pass library_key=, the column that names the slide of every spot.")
    return np.full(adata.n_obs, names[0] if names else "slide")


def stored_values(matrix: Any) -> NDArray[Any]:
    """Return the numbers that a dense or sparse matrix stores."""
    return matrix.data if sparse.issparse(matrix) else np.asarray(matrix)


def holds_counts(matrix: Any) -> bool:
    """Tell whether a matrix holds nothing but non-negative integers, and some above one."""
    values = stored_values(matrix)
    return bool(values.size and values.min() >= 0 and values.max() > 1 and np.all(values == np.floor(values)))


def log_expression(adata: AnnData, layer: str | None = None) -> Any:
    """Return a matrix of log-normalised expression, or raise an error that says why it is not one."""
    require_unique_genes(adata)
    matrix = require_layer(adata, layer, "Pass layer=, the name of the layer with log-normalised expression.")
    name = "adata.X" if layer is None else f"layers[{layer!r}]"
    values = stored_values(matrix)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values. Drop those spots or genes, or mend them, first.")
    if values.size and values.min() < 0:
        raise ValueError(
            f"{name} holds negative values (down to {values.min():.3g}), which log-normalised expression does not. "
            "Scaled or corrected values are no expression: keep them in obsm and pass target_rep=."
        )
    if holds_counts(matrix) or (values.size and values.max() > LARGEST_LOG):
        raise ValueError(
            f"{name} looks like counts, not logarithms (largest value {values.max():.4g}). Run "
            "sc.pp.normalize_total(adata, target_sum=1e4) and sc.pp.log1p(adata) first, or pass layer=."
        )
    empty = int((np.asarray(matrix.sum(axis=1)).ravel() == 0).sum())
    if empty:
        raise ValueError(
            f"{name} has {empty} empty spots, with no expression. Drop them: sc.pp.filter_cells(adata, min_counts=1)."
        )
    return matrix


def panel(adata: AnnData) -> NDArray[np.bool_]:
    """Return the genes to learn on, as ``sc.pp.pca`` does: ``var["highly_variable"]`` where present, else all."""
    if _keys.HIGHLY_VARIABLE not in adata.var:
        return np.ones(adata.n_vars, dtype=bool)
    # An outer join leaves NaN, which is not chosen.
    chosen = np.asarray(adata.var[_keys.HIGHLY_VARIABLE] == True, dtype=bool)  # noqa: E712
    if not chosen.any():
        raise ValueError(
            "var['highly_variable'] chooses no gene. Run bleep_sc.pp.select_genes(adata) again, or drop it."
        )
    return chosen


def dense(matrix: Any) -> NDArray[np.float32]:
    """Return a dense float32 array of a dense or sparse matrix."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float32)
