"""Checks at the boundary, whose errors say what is wrong, what exists and which call mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._arrays.blocks import require_whole
from bleep_sc._output.messages import columns_with, did_you_mean, listed, warn

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

OFF_TISSUE = ["0", "0.0", "false"]
"""What ``obs["in_tissue"]`` holds of spots beside the tissue, as text in lower case."""
ON_TISSUE = f"adata = adata[~adata.obs['in_tissue'].astype(str).str.lower().isin({OFF_TISSUE})].copy()"
"""What leaves them out."""


def is_by_slide(image: Any) -> bool:
    """Tell a mapping from slides to images from an image of SpatialData with scales, which is a mapping too."""
    return isinstance(image, Mapping) and not hasattr(image, "children")


def require_spots(adata: AnnData) -> None:
    """Refuse an AnnData of which a selection left nothing."""
    if not adata.n_obs:
        raise ValueError("adata has no spots (n_obs is 0): a selection left none. Look at what was left out before.")


def require_obsm(adata: AnnData, key: str, remedy: str) -> Any:
    """Return ``adata.obsm[key]``, or raise a KeyError that names the remedy."""
    if key not in adata.obsm:
        raise KeyError(f"obsm[{key!r}] not found (adata.obsm has: {listed(adata.obsm)}). {remedy}")
    return adata.obsm[key]


def require_obs(adata: AnnData, key: str, remedy: str) -> Any:
    """Return ``adata.obs[key]``, or raise a KeyError that names the remedy."""
    if key not in adata.obs:
        columns = columns_with(adata.obs, [key])
        meant = f" {key!r} is a value of obs[{columns[0]!r}]." if columns else ""
        raise KeyError(f"obs[{key!r}] not found (adata.obs has: {listed(adata.obs)}).{meant} {remedy}")
    return adata.obs[key]


def require_layer(adata: AnnData, layer: str | None, remedy: str) -> Any:
    """Return ``adata.layers[layer]``, or ``adata.X`` for None, or say what is wrong; sparse blocks of dask are."""
    values = unread_layer(adata, layer, remedy)
    if hasattr(values, "dask") and not isinstance(values._meta, np.ndarray):
        place, name = ("adata.X", "X") if layer is None else (f"layers[{layer!r}]", f"layers[{layer!r}]")
        raise ValueError(
            f"{place} is a dask array of sparse blocks, which is not in memory. Load it: adata.{name} = "
            f"adata.{name}.compute(), or adata = adata.to_memory()."
        )
    return values


def unread_layer(adata: AnnData, layer: str | None, remedy: str) -> Any:
    """Return ``adata.layers[layer]``, or ``adata.X`` for None, as it is, or raise a KeyError that names the remedy."""
    require_spots(adata)
    names = [name for name in adata.layers if name is not None]  # anndata 0.13 keeps X among the layers, as None
    if layer is None:
        if adata.X is None:
            raise KeyError(f"adata.X is empty (adata.layers has: {listed(names)}). {remedy}")
        if adata.isbacked:
            raise ValueError("adata.X is on disk (adata is backed). Load it first: adata = adata.to_memory().")
        require_whole(adata.X, "adata.X")
        return adata.X
    if layer not in names:
        if keys.IMPUTED in adata.var and np.all(adata.var[keys.IMPUTED]):
            remedy = "This is what bleep_sc.tl.to_anndata made, whose X is the prediction: pass the query itself."
        raise KeyError(f"layers[{layer!r}] not found (adata.layers has: {listed(names)}). {remedy}")
    require_whole(adata.layers[layer], f"layers[{layer!r}]")
    return adata.layers[layer]


def require_model(adata: AnnData, key: str) -> dict[str, Any]:
    """Return ``uns[key]``, a fitted model, or raise a KeyError that says why there may be none."""
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "model" not in record:
        fitted = [name for name, entry in adata.uns.items() if isinstance(entry, dict) and "model" in entry]
        if fitted:
            raise KeyError(
                f"The reference holds no model {key!r}, and has {listed(fitted)}.{did_you_mean([key], fitted)} Pass "
                f"key={fitted[0]!r}, or fit it."
            )
        raise KeyError(
            f"The reference holds no model: uns[{key!r}] not found, nor any other. Run bleep_sc.tl.fit(adata_ref) "
            "first, and pass the query first and the reference as ref=. If it was lost by a concatenation "
            "(anndata.concat drops uns): concatenate, then fit; or pass the parts as a list, ref=[first, other], with "
            "bleep_sc.tl.embed(other, first, expression=True)."
        )
    return record


def require_unique_genes(adata: AnnData) -> None:
    """Refuse duplicate gene names, which would make columns ambiguous."""
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(f"adata.var_names are not unique: {listed(twice)}. Run adata.var_names_make_unique() first.")


def off_tissue(adata: AnnData) -> NDArray[np.bool_]:
    """Return which spots their reader calls off tissue, (n_obs,); where it says nothing, as after a join, it does not.

    Numbers, booleans, text and categories say it, as files and joins leave them.
    """
    if keys.IN_TISSUE not in adata.obs:
        return np.zeros(adata.n_obs, dtype=bool)
    return np.asarray(adata.obs[keys.IN_TISSUE].astype(str).str.lower().isin(OFF_TISSUE), dtype=bool)


def warn_of_glass(adata: AnnData) -> None:
    """Warn of spots that are off tissue."""
    if off := int(off_tissue(adata).sum()):
        warn(
            f"{off} of {adata.n_obs} spots are off tissue (obs['in_tissue'] is 0): they show glass, and hold what "
            f"leaked there. Leave them out: {ON_TISSUE}."
        )
