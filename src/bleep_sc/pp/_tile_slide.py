from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.cells import packed
from bleep_sc._adata.one_slide import require_usable_names
from bleep_sc._output.messages import logger, progress
from bleep_sc.pp._cells import cells_on
from bleep_sc.pp._tile_patches import give_patches, patch_recipes
from bleep_sc.pp._tissue import tissue_mask
from bleep_sc.slides._centers import check_centers
from bleep_sc.slides._grid import covered
from bleep_sc.slides._patch_file import PatchFile, read_patch_file
from bleep_sc.slides._resolution import require_mpp
from bleep_sc.slides._slide import IN_MEMORY, absolute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

THUMBNAIL = 2000
"""Longest side of the picture on which tissue is found, and which is kept, px."""
SIZE = 224
"""Of patches, px, where nothing says it."""
FOCUS_MPP, COARSEST_MPP = 1.0, 1.5
"""µm per px at which sharpness is measured, and above which it is not."""


def tile_slide(
    image: Any,
    *,
    ref: AnnData | None = None,
    key: str = "bleep",
    spacing_um: float = 100.0,
    layout: Literal["hexagonal", "square"] = "hexagonal",
    size: int | None = None,
    size_um: float | None = None,
    mpp: float | None = None,
    full_resolution: bool | None = None,
    min_tissue: float = 0.5,
    min_sharpness: float = 0.05,
    region: Any = None,
    centers: ArrayLike | str | Path | None = None,
    cells: Any = None,
    library_id: str | None = None,
    show_progress_bar: bool = True,
) -> AnnData:
    """Lay tiles over the tissue of a slide that has no expression, ready for :func:`bleep_sc.tl.impute`.

    Tiles with too little tissue, or out of focus, are left out and counted. The patches themselves are cut from the
    slide when they are needed, so that the result stays small however large the slide is.

    Parameters
    ----------
    image
        What :func:`bleep_sc.slides.open_slide` takes: a path, an array, an image of SpatialData.
    ref
        The reference, fitted by one of the ``tl.fit*`` functions: its genes become ``var``, and tiles show what its
        patches show, in the same size and stains. Where its features are not those of
        :func:`bleep_sc.pp.image_features`, put the same features of the tiles into ``obsm``.
    key
        Name of the model in the reference.
    spacing_um
        Distance of neighbouring tiles, µm. Smaller than the side of a patch they overlap, for a finer map.
    layout
        ``"hexagonal"``, as the spots of Visium, or ``"square"``.
    size, size_um
        Side of the patches in px (None: 224), and of the tissue that they show in µm (None: ``size`` px of the full
        resolution), or what a file of ``centers`` says; with ``ref`` those of its patches, if they are known.
    mpp
        µm per full-resolution px; None is what the file says.
    full_resolution
        Cut patches from the full resolution of a pyramid, whatever they show, as from a file without a pyramid; with
        False large ones come from the coarsest level that has two px or more for a px of a patch, across and down:
        faster, and alike, not the same. None is what :func:`bleep_sc.pp.extract_patches` was told for ``ref``, and
        False without it.
    min_tissue
        Least share of tissue in the square of ``spacing_um`` around a tile.
    min_sharpness
        Least share of its contrast that is finer than 3 µm (:func:`bleep_sc.slides.sharpness`): .05 leaves out a blur
        of 2 µm. Not measured on slides coarser than 1.5 µm per px.
    region
        QuPath's annotations (a GeoJSON file, or what it holds): only tiles inside are kept, and named after the
        annotation that their centre lies in, the smallest where several overlap. Of annotations on an image that was
        scanned separately, :func:`bleep_sc.slides.label_points` names tiles that are laid without them, whose places
        :func:`bleep_sc.slides.transform_points` moves there.
    centers
        Tiles of your own, full-resolution px, (n, 2), instead of a grid; or the ``.h5`` file of TRIDENT or CLAM that
        names patches by their corners, whose features :func:`bleep_sc.pp.read_features` reads. All of them are kept.
    cells
        Cells or nuclei of a segmentation, instead of a grid: what :func:`bleep_sc.slides.read_cells` takes, such as the
        GeoJSON of QuPath, or shapes or labels of SpatialData, which its transformations bring onto ``image``. A patch
        is cut around the centroid of each; all of them are kept, and their sharpness is not measured. Their polygons
        come back with the predictions (:func:`bleep_sc.tl.to_geojson`, :func:`bleep_sc.tl.to_spatialdata`,
        :func:`bleep_sc.tl.to_table`). What is predicted is expression at the place of a cell, in an area as large as
        the spots of the reference, and not that of the cell alone.
    library_id
        Name of the slide; None is that of the file.
    show_progress_bar
        Whether to show a bar.

    Returns
    -------
    An AnnData of the tiles, without ``X``:

    ``obsm["spatial"]`` : float64, (n_obs, 2)
        Centres, full-resolution px.
    ``obs`` : DataFrame
        ``library_id``, ``in_tissue``, ``tissue`` (share), ``sharpness`` (NaN where not measured), ``region`` (with
        ``region``); on a grid ``array_row`` and ``array_col``. With ``cells``, ``cell_id``, their ids in the
        segmentation, which also are the names of the tiles where they are texts, and ``cell_class`` where it has any.
    ``uns["spatial"]`` : dict
        Squidpy's layout, with a small image, so that plots need nothing else.
    ``uns["patches"]`` : dict
        How patches are cut, as :func:`bleep_sc.pp.extract_patches` records it; of an array the patches themselves are
        in ``obsm["patches"]``. With ``ref``, one for each of its ``patches_key``.
    ``uns["tiles"]`` : dict
        For the slide ``spacing_um``, ``layout``, ``mpp``, ``mpp_source``, and how many tiles there were (``n_grid``)
        and were left out (``n_blank``, ``n_blurred``, ``n_outside_region``); ``cells_file``, that of the
        cells.
    ``uns["cells"]`` : dict
        With ``cells``, for the slide their ``ids`` and polygons (``wkb``, one after another, and their ``ends``),
        full-resolution px.

    Raises
    ------
    ValueError
        When µm per px are not known, no tile is left, or cells lie outside the image.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> image = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    >>> tiles = bs.pp.tile_slide(image, mpp=2.0, size=32, size_um=112)
    >>> tiles.obsm["patches"].shape[1:]
    (32, 32, 3)
    """
    from anndata import AnnData

    file = read_patch_file(centers) if isinstance(centers, str | Path) else None
    size, centers = _of_file(file, size, centers)
    _check(spacing_um, layout, min_tissue, size, size_um)
    if centers is not None and cells is not None:
        raise ValueError("centers= and cells= both say where patches are cut; pass one of them.")
    segmented = None if cells is None else cells_on(cells, image)
    on_grid = centers is None and cells is None
    with slides.open_slide(image) as slide:
        scale, scale_source = _resolution(slide, mpp)
        size_um = file.side_px * scale if file is not None and file.side_px and size_um is None else size_um
        name = library_id or (Path(absolute(slide.name)).name.split(".")[0] if slide.name != IN_MEMORY else "slide")
        require_usable_names([name], f"library_id={library_id!r} of {Path(slide.name).name!r}")
        spacing = spacing_um / scale
        places, numbers = _places(slide, spacing, layout, centers if segmented is None else segmented.centers)
        counts = {"n_grid": len(places), "n_outside_region": 0, "n_blank": 0, "n_blurred": 0}
        labels = None
        if region is not None:
            labels = slides.label_points(places, slides.read_regions(region))
            kept = labels != ""
            counts["n_outside_region"] = int((~kept).sum())
            places, labels = places[kept], labels[kept]
            numbers = None if numbers is None else numbers[kept]
            segmented = None if segmented is None else segmented[kept]
        thumbnail = slide.thumbnail(THUMBNAIL)
        shrink = thumbnail.shape[1] / slide.width
        tissue = covered(tissue_mask(thumbnail), places * shrink, spacing * shrink)
        kept = (tissue >= min_tissue) if on_grid else np.ones(len(places), dtype=bool)
        counts["n_blank"] = int((~kept).sum())
        sharp = np.full(len(places), np.nan)
        if scale <= COARSEST_MPP and segmented is None:
            sharp[kept] = _sharpness(slide, places[kept], spacing_um, scale, show_progress_bar)
        if on_grid:
            blurred = kept & (sharp < min_sharpness)
            counts["n_blurred"] = int(blurred.sum())
            kept &= ~blurred
        if not kept.any():
            raise ValueError(_why_none(name, counts, min_tissue, min_sharpness))
        tiles = AnnData(obs=_obs(name, kept, tissue, sharp, labels, numbers), var=_genes(ref))
        tiles.obsm[keys.SPATIAL] = places[kept]
        tiles.uns[keys.SPATIAL] = {name: _library(absolute(slide.name), thumbnail, shrink, scale, spacing)}
        known = {"spacing_um": spacing_um, "layout": layout, "mpp": scale, "mpp_source": scale_source}
        if isinstance(cells, str | Path):
            known["cells_file"] = Path(cells).name
        tiles.uns[keys.TILES] = {name: {**known, **counts}}
        if segmented is not None:
            _give_cells(tiles, name, segmented)
        for patches_key, recipe in patch_recipes(ref, key, size, size_um).items():
            known_scale = (scale, scale_source)
            give_patches(tiles, patches_key, name, recipe, slide, *known_scale, full_resolution=full_resolution)
    logger.info(
        "%s: %d tiles, %.4g µm per px (%s); %d blank, %d out of focus and %d outside the regions were left out.",
        name,
        tiles.n_obs,
        scale,
        scale_source,
        counts["n_blank"],
        counts["n_blurred"],
        counts["n_outside_region"],
    )
    if on_grid and counts["n_blank"]:
        logger.info("Pale tissue may be among what is blank: a smaller min_tissue= keeps more of it.")
    return tiles


def _of_file(file: PatchFile | None, size: int | None, centers: Any) -> tuple[int, Any]:
    """Return the side of the patches, px, and the centres of the tiles: as given, or as a file names them."""
    if file is None:
        return SIZE if size is None else size, centers
    return size or file.size or SIZE, file.centers()


def _give_cells(tiles: AnnData, name: str, cells: slides.Cells) -> None:
    """Name tiles after the cells that they are laid around, and keep the polygons of these."""
    tiles.obs[keys.CELL_ID] = cells.ids
    if cells.ids.dtype == object:
        tiles.obs_names = cells.ids
    else:
        tiles.obs_names = [f"{name}_{number}" for number in cells.ids]
    if (cells.classes != "").any():
        tiles.obs[keys.CELL_CLASS] = pd.Categorical([each or None for each in cells.classes])
    tiles.uns[keys.CELLS] = {name: packed(cells)}


def _why_none(name: str, counts: Mapping[str, int], min_tissue: float, min_sharpness: float) -> str:
    return (
        f"No tile is left of {counts['n_grid']} on slide {name!r}: {counts['n_outside_region']} lie outside the "
        f"regions, {counts['n_blank']} have less tissue than min_tissue={min_tissue}, and {counts['n_blurred']} are "
        f"out of focus (sharpness below min_sharpness={min_sharpness}). Look at the image, and lower the limit that is "
        "too strict."
    )


def _check(spacing_um: float, layout: str, min_tissue: float, size: int, size_um: float | None) -> None:
    if not 0 < spacing_um < np.inf or size < 1 or (size_um is not None and not size_um > 0):
        raise ValueError(f"spacing_um={spacing_um}, size={size} and size_um={size_um} must be positive and finite.")
    if layout not in ("hexagonal", "square"):
        raise ValueError(f"layout={layout!r} is not known; use 'hexagonal' or 'square'.")
    if not 0 <= min_tissue <= 1:
        raise ValueError(f"min_tissue={min_tissue} is a share, and must lie in [0, 1].")


def _resolution(slide: slides.Slide, mpp: float | None) -> tuple[float, str]:
    if mpp is not None:
        require_mpp(mpp)
        if np.isfinite(slide.mpp) and abs(slide.mpp / mpp - 1) > 0.05:
            logger.warning("mpp=%.4g is taken; %s says %.4g (%s).", mpp, slide.name, slide.mpp, slide.mpp_source)
        return float(mpp), "given"
    if np.isnan(slide.mpp):
        raise ValueError(
            f"µm per px of {slide.name!r} are not known ({slide.mpp_source}). Pass mpp=: about 0.25 for a scan with a "
            "40× objective, 0.5 with 20×; the scanner's software says it exactly. For the picture of an ST or Visium "
            "slide take what bleep-sc prepare prints of such slides."
        )
    return slide.mpp, slide.mpp_source


def _places(
    slide: slides.Slide, spacing: float, layout: Literal["hexagonal", "square"], centers: Any
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Return the centres of all tiles, px, and the rows and columns of those on a grid."""
    if centers is None:
        places, rows, columns = slides.grid(slide.width, slide.height, spacing, layout)
        return places, np.column_stack([rows, columns])
    places = np.asarray(centers, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places):
        raise ValueError(f"centers= has shape {places.shape}; it must be (n, 2), x and y of every tile.")
    check_centers((slide.height, slide.width), places)
    return places, None


def _obs(
    name: str,
    kept: NDArray[np.bool_],
    tissue: NDArray[np.float64],
    sharpness: NDArray[np.float64],
    labels: NDArray[np.object_] | None,
    numbers: NDArray[np.int64] | None,
) -> pd.DataFrame:
    """Return the table of the tiles that are kept."""
    columns: dict[str, Any] = {
        keys.LIBRARY: pd.Categorical([name] * int(kept.sum())),
        "in_tissue": 1,
        keys.TISSUE: tissue[kept],
        keys.SHARPNESS: sharpness[kept],
    }
    if labels is not None:
        columns[keys.REGION] = pd.Categorical(labels[kept])
    if numbers is not None:
        columns[keys.ARRAY_ROW], columns[keys.ARRAY_COL] = numbers[kept].T
    return pd.DataFrame(columns, index=[f"{name}_{number}" for number in np.flatnonzero(kept)])


def _sharpness(
    slide: slides.Slide, places: NDArray[np.float64], spacing_um: float, mpp: float, show_progress_bar: bool
) -> NDArray[np.float64]:
    """Return the sharpness of every tile at 1 µm per px."""
    side, size = max(1, round(spacing_um / mpp)), max(8, round(spacing_um / FOCUS_MPP))
    level = max(i for i, each in enumerate(slide.levels) if i == 0 or each.downsample * mpp <= FOCUS_MPP)
    result = np.empty(len(places))
    batches = slides.read_patches(slide, places, side=side, size=size, level=level, batch_size=256)
    total = -(-len(places) // 256)
    for rows, patches in progress(batches, "Looking for blurred tiles", show=show_progress_bar, total=total):
        result[rows] = slides.sharpness(patches)
    return result


def _genes(ref: AnnData | None) -> pd.DataFrame:
    if ref is None:
        return pd.DataFrame(index=pd.Index([], dtype=str))
    return ref.var[[name for name in keys.GENE_IDENTIFIERS if name in ref.var]].copy()


def _library(image: str, thumbnail: NDArray[np.uint8], shrink: float, mpp: float, spacing: float) -> dict[str, Any]:
    return {
        "images": {"hires": thumbnail},
        "scalefactors": {
            "tissue_hires_scalef": shrink,
            "spot_diameter_fullres": spacing,
            "microns_per_pixel": mpp,
        },
        "metadata": {"source_image_path": image if image != IN_MEMORY else "", "technology": "tiles"},
    }
