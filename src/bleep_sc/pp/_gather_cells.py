from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc import slides
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import holds_counts
from bleep_sc._adata.libraries import slide_to_sum
from bleep_sc._adata.one_slide import require_usable_names
from bleep_sc._adata.places import centers_px
from bleep_sc._adata.scan import check_is_scan
from bleep_sc.pp._gathered import Cells, spots_of_cells
from bleep_sc.pp._images import image_of
from bleep_sc.pp._patch_scale import scale_of
from bleep_sc.pp._transcripts import from_cells_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from spatialdata import SpatialData

    Image = Any


def gather_cells(
    adata: AnnData | SpatialData,
    image: Image | Mapping[str, Image] | None = None,
    *,
    spot_um: float = 55.0,
    mpp: float | None = None,
    min_counts: int = 50,
    min_cells: int = 1,
    table_key: str = "table",
    points_key: str | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
) -> AnnData:
    """Gather the cells of a slide, or its transcripts, into spots: Xenium as a reference.

    Spots are squares side by side, in line with the H&E as patches are, so that each molecule counts once and no tissue
    is left out: on the lattice of Visium, discs of 55 µm every 100 µm see 27 % of it. A square of 55 µm holds some 5 to
    40 cells, whose sum is less noisy than a cell's, and lies in the middle of a patch of 112 µm. spatialdata says what
    lies in which square (:func:`spatialdata.aggregate`). One slide a call: concatenate the results.

    Parameters
    ----------
    adata
        Cells, with raw counts in ``X`` and their centres in ``obsm[spatial_key]``, (x, y) in px of the H&E. Or a
        SpatialData object, as ``spatialdata_io.xenium`` reads it, with an H&E that is aligned: cells and transcripts
        are moved onto it by the transformations of the object.
    image
        The H&E, as :func:`bleep_sc.pp.extract_patches` takes it.
    spot_um
        Side of a spot, µm.
    mpp
        µm per px of the H&E. None is what ``uns["spatial"]`` or the file says; of Xenium's transcripts, which are in
        µm, what the transformations say.
    min_counts, min_cells
        Spots with less are left out, and counted in the log.
    table_key, points_key
        Of SpatialData, the table of the cells, and the points that are summed, without controls and without those of a
        quality (``qv``) below 20. None sums ``"transcripts"``, or the table where there are none of that name.
    library_id
        The slide, where an AnnData has several, or what it is to be called, where nothing names it; of SpatialData what
        it is to be called, by default as its store is, or its region.
    library_key, spatial_key
        Of an AnnData, as for :func:`bleep_sc.pp.extract_patches`.

    Returns
    -------
    An AnnData of the spots, ready for :func:`bleep_sc.pp.extract_patches`:

    ``X`` : CSR float32, (n_obs, n_genes)
        Summed raw counts.
    ``obs`` : DataFrame
        ``library_id``, ``in_tissue``, ``array_row``, ``array_col`` and ``n_cells``, the cells whose centres lie there.
    ``obsm["spatial"]`` : float64, (n_obs, 2)
        Centres, full-resolution px of the H&E.
    ``uns["spatial"]`` : dict
        Squidpy's layout: a small image, ``spot_diameter_fullres`` (the side, px), ``microns_per_pixel``,
        ``source_image_path`` and ``technology``.

    Raises
    ------
    KeyError
        Without coordinates or image.
    ValueError
        When ``X`` holds no raw counts, µm per px are not known, or no spot is left.

    Examples
    --------
    Toy spots, taken for cells:

    >>> cells = bs.datasets.toy(n_slices=1)
    >>> spots = bs.pp.gather_cells(cells, spot_um=220, mpp=1.0)
    >>> bool(spots.obs["n_cells"].max() > 3)
    True
    """
    from anndata import AnnData

    if isinstance(adata, AnnData):
        return _of_adata(adata, image, spot_um, mpp, min_counts, min_cells, library_id, library_key, spatial_key)
    cells, image, name, known = from_cells_of(adata, image, table_key, points_key)
    name = library_id or name
    require_usable_names([name], f"library_id={library_id!r}")
    with slides.open_slide(image) as slide:
        scale = next((each for each in (mpp, known, slide.mpp) if each is not None and np.isfinite(each)), None)
        if scale is None:
            raise ValueError(
                f"µm per px of the H&E are not known: {slide.mpp_source}, and the points of the object are not "
                "Xenium's transcripts, whose places are in µm. Pass mpp=."
            )
        return spots_of_cells(cells, slide, name, scale, spot_um, min_counts, min_cells)


def _of_adata(
    adata: AnnData,
    image: Any,
    spot_um: float,
    mpp: float | None,
    min_counts: int,
    min_cells: int,
    library_id: str | None,
    library_key: str | None,
    spatial_key: str | None,
) -> AnnData:
    """Gather the cells of an AnnData."""
    matrix = require_layer(adata, None, "Put the counts of the cells into adata.X.")
    if not holds_counts(matrix):
        raise ValueError("adata.X holds no raw counts, which are what is summed. Put them there, such as from a layer.")
    name, rows = slide_to_sum(adata, library_key, library_id)
    require_usable_names([name], f"obs[{library_key or 'library_id'!r}]")
    places = centers_px(adata, spatial_key)[rows]
    with slides.open_slide(image_of(adata, image, name)) as slide:
        check_is_scan(adata, name, slide)
        scale, source = scale_of(adata, rows, places, name, slide, mpp, None)
        if np.isnan(scale):
            raise ValueError(f"µm per px of slide {name!r} are not known ({source}). Pass mpp=.")
        cells = Cells(places, adata.var, sparse.csr_matrix(matrix)[rows])
        return spots_of_cells(cells, slide, name, scale, spot_um, min_counts, min_cells)
