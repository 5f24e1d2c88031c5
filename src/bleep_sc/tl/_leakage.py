"""A warning where a query is predicted from itself."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import _keys
from bleep_sc._checks import libraries, listed

if TYPE_CHECKING:
    from anndata import AnnData


def warn_of_shared_slides(adata: AnnData, refs: list[AnnData], library_key: str) -> None:
    """Warn where a slide of the query, or a named spot of it, is in a reference."""
    shared = sorted(_slides(adata, library_key) & set().union(*(_slides(each, library_key) for each in refs)))
    if shared:
        what = f"Slide {listed(shared)} is in the query and in the reference (obs[{library_key!r}])"
    else:
        spots = sum(int(adata.obs_names.isin(each.obs_names).sum()) for each in refs if _have_coordinates(adata, each))
        if not spots:
            return
        what = f"{spots} spots of the query are in the reference, with the same names and coordinates"
    warnings.warn(
        f"{what}: they find themselves, and scores of this prediction would be meaningless.", UserWarning, stacklevel=4
    )


def _slides(adata: AnnData, library_key: str) -> set[str]:
    """Return the slides of an AnnData, as far as they are named."""
    if library_key not in adata.obs and len(adata.uns.get(_keys.SPATIAL, {})) != 1:
        return set()
    key = library_key if library_key in adata.obs else _keys.LIBRARY
    return set(np.unique(libraries(adata, key)).tolist())


def _have_coordinates(adata: AnnData, ref: AnnData) -> bool:
    """Tell whether spots of the same name also stand at the same place; names alone may well repeat between slides."""
    if _keys.SPATIAL not in adata.obsm or _keys.SPATIAL not in ref.obsm or not adata.obs_names.is_unique:
        return False
    common = adata.obs_names.intersection(ref.obs_names)
    if not len(common) or not ref.obs_names.is_unique:
        return False
    ours, theirs = (
        np.asarray(each.obsm[_keys.SPATIAL], dtype=np.float64)[each.obs_names.get_indexer(common), :2]
        for each in (adata, ref)
    )
    return bool(np.array_equal(ours, theirs))
