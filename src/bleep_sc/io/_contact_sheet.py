"""A picture of what was prepared: every slide with its patches, some of them, and its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bleep_sc import pl
from bleep_sc._adata import keys
from bleep_sc._adata.libraries import libraries, spots_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

INCHES = (4.2, 3.6)
N_PATCHES = 9


def contact_sheet(adata: AnnData) -> Figure:
    """Draw a row for every slide: the scan with the outlines of its patches, some patches, and total counts."""
    from matplotlib.figure import Figure

    names = list(spots_of(libraries(adata)))
    figure = Figure(figsize=(3 * INCHES[0], INCHES[1] * len(names)), layout="constrained")
    axes: Any = figure.subplots(len(names), 3, squeeze=False)
    for name, row in zip(names, axes, strict=True):
        pl.patches(adata, library_id=name, n_patches=N_PATCHES, ax=row[:2])
        pl.spatial(adata, keys.TOTAL_COUNTS, library_id=name, ax=row[2])
        row[2].set_title("total counts", fontsize="medium")
    return figure
