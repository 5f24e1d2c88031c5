"""What a method is shown of a slide beside its features: pictures, places, and how things were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import ON_TISSUE, off_tissue
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData
    from numpy.typing import NDArray

LATTICE = (keys.ARRAY_ROW, keys.ARRAY_COL)
"""Columns of obs that a method may see."""
MOST_NUMBERS, MOST_LETTERS = 16, 400
"""Of one entry of a record; stains are six numbers."""


def lattice(adata: AnnData) -> dict[str, NDArray[np.float64]]:
    """Return the rows and columns of the array, as numbers and no more; refuse spots beside the tissue."""
    if beside := int(off_tissue(adata).sum()):
        raise ValueError(
            f"obs['in_tissue'] is 0 for {beside} spots, which lie beside the tissue: telling them from it is no "
            f"prediction. Drop them: {ON_TISSUE}."
        )
    places = {}
    for name in LATTICE:
        if name in adata.obs:
            places[name] = pd.to_numeric(adata.obs[name].astype(str), errors="coerce").to_numpy(dtype=np.float64)
            if not np.isfinite(places[name]).all():
                off = adata.obs[name].astype(str).to_numpy()[~np.isfinite(places[name])]
                raise ValueError(f"obs[{name!r}] holds {listed(off[:1])}, which is no number. Drop the column.")
    return places


def pictures(record: Any) -> dict[str, Any]:
    """Return the pictures (y, x, colours) of a slide, its scale factors, and where its image is."""
    record = record if isinstance(record, Mapping) else {}
    images = {name: np.array(image) for name, image in record.get("images", {}).items()}
    metadata = record.get("metadata", {})
    return {
        "images": {name: image for name, image in images.items() if image.ndim == 3 and image.shape[2] in (3, 4)},
        "scalefactors": _plain(record.get("scalefactors", {})),
        "metadata": {name: str(metadata[name]) for name in ("source_image_path",) if name in metadata},
    }


def recorded(record: Mapping[str, Any], slides: Collection[str]) -> dict[str, Any]:
    """Return how patches of these slides, or features, were made: plain values, and too few for one a spot."""
    own = {name: _plain(each) for name, each in record.items() if name in slides and isinstance(each, Mapping)}
    return {**_plain(record), **own}


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MOST_LETTERS
    numbers = (
        np.asarray(value) if isinstance(value, bool | int | float | np.generic | np.ndarray | list | tuple) else None
    )
    return numbers is not None and numbers.dtype.kind in "biufU" and numbers.size <= MOST_NUMBERS


def by_place(adata: AnnData) -> NDArray[np.intp]:
    """Return an order of the spots that says nothing: by slide and place."""
    where = np.asarray(adata.obsm[keys.SPATIAL]) if keys.SPATIAL in adata.obsm else adata.obs_names.to_numpy()[:, None]
    return np.lexsort((*where.T[::-1], adata.obs[keys.LIBRARY].astype(str).to_numpy()))
