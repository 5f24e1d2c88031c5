from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.libraries import written_libraries
from bleep_sc._adata.places import centers_px
from bleep_sc._adata.spots import note
from bleep_sc._output.messages import logger
from bleep_sc.pp._cut import as_dask, cut, write
from bleep_sc.pp._patch_plan import plan_patches, warn_of_magnifications
from bleep_sc.pp._spatialdata import from_spatialdata
from bleep_sc.slides._slide import absolute

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    Image = Any


def extract_patches(
    adata: AnnData | SpatialData,
    image: Image | Mapping[str, Image] | None = None,
    *,
    size: int = 224,
    size_um: float | None = None,
    mpp: float | None = None,
    pitch_um: float | None = None,
    pad: Literal["reflect", "constant", "drop"] = "reflect",
    full_resolution: bool = False,
    store: str | Path | None = None,
    table_key: str = "table",
    library_key: str | None = None,
    spatial_key: str | None = None,
    key_added: str = keys.PATCHES,
    copy: bool = False,
) -> AnnData | None:
    """Cut a square patch of the H&E image around every spot, slide by slide.

    A patch is given by its physical side, ``size_um``, which is resampled to ``size`` px and means the same on every
    scanner; or, as in the paper, by ``size`` px of the full-resolution image, whatever they measure. Micrometres per px
    come from ``mpp``; from ``pitch_um`` and a fit of the spot lattice; from ``microns_per_pixel`` in the scale factors
    (Visium HD); from a fit of the lattice of Visium, whose pitch is 100 µm; or from the image file, in this order. Spot
    diameters are not used: Space Ranger writes 65 or 70 µm there.

    Parameters
    ----------
    adata
        Spots, with full-resolution (x, y) in ``obsm[spatial_key]``. Or a SpatialData object, whose table
        ``tables[table_key]`` is written to: its regions are the slides, and the centres of their shapes, moved onto the
        image, the coordinates; of labels the centres of their px.
    image
        The full-resolution image: a path (TIFF, JPEG, PNG, ...), an RGB uint8 array (height, width, 3), or whatever
        :func:`bleep_sc.slides.open_slide` takes; of SpatialData the name of an image. For several slides a mapping from
        their names to these. By default the file that ``uns["spatial"][library_id]["metadata"]["source_image_path"]``
        names, or the stored image with scale factor 1; of SpatialData what spatialdata_io calls the scan
        (``{dataset}_full_image``, ``he_image``), or the only image that may be one.
    size
        Side of the patches, px.
    size_um
        Side of the tissue that a patch shows, µm. None cuts ``size`` px of the full-resolution image.
    mpp
        µm per full-resolution px.
    pitch_um
        Centre-to-centre distance of neighbouring spots, µm, where these are not Visium's: 200 for original Spatial
        Transcriptomics.
    pad
        What lies beyond the image: its reflection, white, or no patch (``"drop"`` removes such spots from ``adata``).
    full_resolution
        Cut patches from the full resolution of a pyramid, whatever they show, as from a file without a pyramid. By
        default large ones come from the coarsest level that has two px or more for a px of a patch, across and down:
        faster, and alike, not the same. Slides of one model are cut alike: ``pp.tile_slide(ref=)`` does as here.
    store
        A folder for the patches, which are then not held in memory: a sharded zarr array that ``obsm[key_added]`` wraps
        as a dask array. It appears when it is complete; an interrupted call goes on where it was, and one for the same
        patches finds them there.
    table_key
        Of SpatialData, the table with the spots.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    key_added
        Key under which the patches are written.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : uint8, (n_obs, size, size, 3)
        RGB patches; a dask array with ``store=``.
    ``uns[key_added]`` : dict
        For every slide ``size`` (px), ``side_px``, ``size_um``, ``mpp`` and ``mpp_source``, ``pad``, ``level`` (of the
        pyramid; 0 is the full resolution), ``image``, ``store`` (empty without one), and what later calls read back:
        ``full_resolution``, ``library_key``, whether that was given, ``spatial_key`` and, where it was given,
        ``pitch_um``. NaN where µm are not known.
    ``obs["{key_added}_row"]`` : int
        With ``store=``, the row of every spot in the store.

    Raises
    ------
    KeyError
        Without coordinates or image.
    ValueError
        When coordinates lie outside the image, µm per px are needed and not known, or the image is no 8-bit RGB. When
        what is called a slide is several, by places of the array that two spots have or by another column; when an
        image is a scaled-down one by its size or name; when how a region of SpatialData lies on its image is not known.
    FileExistsError
        When ``store`` holds something else.
    OSError
        When the disk is full; what was written is gone on from.

    Warns
    -----
    UserWarning
        When coordinates lie inside the image, but contradict the places of the spots on their array, or look like µm;
        when µm per px contradict what the image file says; when patches show more tissue on one slide than on another;
        when spots are off tissue (``obs["in_tissue"]`` is 0).

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.toy(n_slices=3)
    >>> bs.pp.extract_patches(adata, size=32, size_um=112)
    >>> adata.obsm["patches"].shape[1:]
    (32, 32, 3)
    """
    if size < 1 or (size_um is not None and not size_um > 0):
        raise ValueError(f"size={size} px and size_um={size_um} must be positive.")
    if pad not in ("reflect", "constant", "drop"):
        raise ValueError(f"pad={pad!r} is not known; use 'reflect', 'constant' or 'drop'.")
    from anndata import AnnData

    spatialdata = None if isinstance(adata, AnnData) else adata
    if spatialdata is not None:
        if copy:
            raise ValueError("copy=True is for AnnData; a SpatialData object is written to.")
        spots, image, library_key = from_spatialdata(spatialdata, image, table_key)
        spatial_key = keys.SPATIAL  # where the centres of the shapes are now
        adata = spatialdata.tables[table_key]
    else:
        spots = adata = adata.copy() if copy else adata
    centers, told = centers_px(spots, spatial_key), note(spots, library_key, spatial_key, pitch_um)
    names = written_libraries(spots, library_key)
    asked = (size, size_um, mpp, pitch_um, pad)
    parts, records = plan_patches(spots, image, names, centers, *asked, full_resolution=full_resolution)
    stored = "" if store is None else absolute(str(store))
    records = {name: {**record, "store": stored, **told} for name, record in records.items()}
    kept = np.isin(np.arange(spots.n_obs), np.concatenate([part.rows for part in parts]))
    if not kept.any():
        raise ValueError("Every patch leaves its slide, and pad='drop' would drop all spots. Cut smaller ones (size=).")
    if size_um is None:
        warn_of_magnifications(records, size)
    cutting = partial(cut, parts, centers, size=size, pad="constant" if pad == "constant" else "reflect")
    if store is None:
        patches, stored_at = np.empty((spots.n_obs, size, size, 3), dtype=np.uint8), None
        for rows, batch in cutting():
            patches[rows] = batch
        patches = patches if kept.all() else patches[kept]
    else:
        stored_at = write(Path(store), parts, centers, cutting, records, size)[kept]
        patches = as_dask(store, stored_at)
    if not kept.all():
        logger.warning("%d spots whose patch leaves the slide were dropped (pad='drop').", int((~kept).sum()))
    with all_or_nothing(adata):
        if spatialdata is not None:
            adata.obsm[keys.SPATIAL] = centers
            adata.uns |= {key: spots.uns[key] for key in (keys.SPATIAL,) if key in spots.uns}
        if not kept.all():
            adata._inplace_subset_obs(kept)
        adata.obsm[key_added] = patches
        adata.uns[key_added] = records
        if keys.store_rows(key_added) in adata.obs:  # of an earlier call
            del adata.obs[keys.store_rows(key_added)]
        if stored_at is not None:
            adata.obs[keys.store_rows(key_added)] = stored_at
    if spatialdata is not None:
        spatialdata.tables[table_key] = adata
    return adata if copy else None
