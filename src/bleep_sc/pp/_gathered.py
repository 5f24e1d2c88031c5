"""Spots of what was gathered in squares of one slide: those that hold enough, as an AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._output.messages import logger
from bleep_sc.pp._squares import squares_of, sum_cells, sum_points
from bleep_sc.slides._centers import check_centers
from bleep_sc.slides._slide import IN_MEMORY, absolute

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

THUMBNAIL = 2000
"""Longest side of the picture that is kept, px."""


@dataclass(frozen=True)
class Cells:
    """Cells of a slide, and the molecules that were read there; places are (x, y) in px of its H&E."""

    places: NDArray[np.float64]
    """Centres of the cells, (n, 2)."""
    var: pd.DataFrame
    """The genes."""
    counts: sparse.csr_matrix | None = None
    """Of every cell, (n, n_genes); None where transcripts are summed."""
    transcripts: tuple[NDArray[np.float64], pd.Categorical] | None = None
    """Places of transcripts, (m, 2), and their genes, whose categories are those of ``var``; None sums cells."""
    technology: str = "cells"


def spots_of_cells(
    cells: Cells, slide: slides.Slide, name: str, mpp: float, spot_um: float, min_counts: int, min_cells: int
) -> AnnData:
    """Sum what lies in squares of ``spot_um`` side by side over a slide, and return those that hold enough."""
    from anndata import AnnData

    check_centers((slide.height, slide.width), cells.places, few_may_leave=True)
    squares = squares_of(slide.width, slide.height, spot_um / mpp)
    one = pd.Categorical.from_codes(np.zeros(len(cells.places), dtype=np.int8), categories=["cell"])
    n_cells = sum_points(cells.places, one, squares).toarray().ravel().astype(np.int64)
    if cells.transcripts is not None:
        counts = sum_points(*cells.transcripts, squares)
    else:
        counts = sum_cells(cells.places, cells.counts, squares)
    total = np.asarray(counts.sum(axis=1)).ravel()
    few_cells, few_counts = n_cells < min_cells, total < min_counts
    kept = ~few_cells & ~few_counts
    occupied = (n_cells > 0) | (total > 0)
    logger.info(
        "%s: %d spots of %g µm hold %d of %d cells (median %g cells and %g counts a spot, %d genes, %s summed); %d "
        "with less than min_cells=%d and %d more with less than min_counts=%d were left out, and %d cells beside them.",
        *(name, kept.sum(), spot_um, n_cells[kept].sum(), len(cells.places)),
        *((np.median(n_cells[kept]), np.median(total[kept])) if kept.any() else (0, 0)),
        *(counts.shape[1], "cells" if cells.transcripts is None else "transcripts"),
        *((few_cells & occupied).sum(), min_cells, (few_counts & ~few_cells).sum(), min_counts),
        len(cells.places) - n_cells.sum(),
    )
    if not kept.any():
        raise ValueError(
            f"No spot of slide {name!r} is left: the fullest holds {n_cells.max()} cells and {total.max():.0f} counts, "
            f"and min_cells={min_cells} and min_counts={min_counts} are asked for. Pass less, or a larger spot_um=."
        )
    row, column = np.unravel_index(np.flatnonzero(kept), squares.shape)
    obs = pd.DataFrame(
        {
            keys.LIBRARY: pd.Categorical([name] * len(row)),
            keys.IN_TISSUE: 1,
            keys.ARRAY_ROW: row,
            keys.ARRAY_COL: column,
            keys.N_CELLS: n_cells[kept],
        },
        index=[f"{name}_{r}x{c}" for r, c in zip(row, column, strict=True)],
    )
    spots = AnnData(counts[kept], obs=obs, var=cells.var.copy())
    spots.obsm[keys.SPATIAL] = squares.centers[kept]
    spots.uns[keys.SPATIAL] = {name: _library(slide, squares.side, mpp, cells.technology)}
    return spots


def _library(slide: slides.Slide, side: float, mpp: float, technology: str) -> dict[str, Any]:
    """Return squidpy's layout for a slide, with a small image."""
    thumbnail, path = slide.thumbnail(THUMBNAIL), absolute(slide.name)
    return {
        "images": {"hires": thumbnail},
        "scalefactors": {
            "tissue_hires_scalef": thumbnail.shape[1] / slide.width,
            "spot_diameter_fullres": side,
            "microns_per_pixel": mpp,
        },
        "metadata": {"source_image_path": path if slide.name != IN_MEMORY else "", "technology": technology},
    }
