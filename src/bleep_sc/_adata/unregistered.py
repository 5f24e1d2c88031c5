"""A slide as it was measured, before another image was registered, whether one was or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray


def registration_of(adata: AnnData, name: str) -> dict[str, Any] | None:
    """Return what ``uns["registration"]`` says of a slide; None where it was not registered."""
    return adata.uns.get(keys.REGISTRATION, {}).get(name)


def as_measured(adata: AnnData, name: str, rows: NDArray[np.intp], spatial_key: str) -> AnnData:
    """Return the spots of a slide with ``obsm["spatial"]`` and ``uns["spatial"]`` as they belong to its first image."""
    from anndata import AnnData

    entry = registration_of(adata, name)
    slot = spatial_key if entry is None else keys.unregistered(spatial_key)
    places = require_obsm(adata, slot, "It holds (x, y) in px of the image that the spots were measured with.")
    record = adata.uns.get(keys.SPATIAL, {}).get(name, {}) if entry is None else entry["unregistered"]
    return AnnData(
        obs=adata.obs.iloc[rows].copy(),
        uns={keys.SPATIAL: {name: record}},
        obsm={keys.SPATIAL: places[rows, :2].astype(float)},
    )
