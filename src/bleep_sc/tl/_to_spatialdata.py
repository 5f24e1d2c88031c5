from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.cells import has_cells, polygons_of
from bleep_sc._adata.checks import is_by_slide
from bleep_sc._adata.libraries import libraries, library_column, spots_of
from bleep_sc._adata.places import centers_px, spot_diameter
from bleep_sc._adata.scan import check_is_scan
from bleep_sc._output.messages import listed, logger
from bleep_sc.slides._centers import check_centers
from bleep_sc.tl._to_anndata import to_anndata

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

SPOT_ID = "spot_id"
"""A number, as that of spatialdata_io: napari-spatialdata takes no name for it."""
RGB = ["r", "g", "b"]
"""Without these names viewers stretch each channel by itself, and the colours are false."""
CHUNK, PYRAMID = 4096, (2, 2, 2, 2)
SMALL = 4096
"""Images with no longer side have no pyramid."""


def to_spatialdata(
    adata: AnnData,
    layer: str = "bleep",
    *,
    image: Any = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
) -> SpatialData:
    """Make a SpatialData object of a prediction: image, spots and predicted genes of every slide, in its px.

    It is laid out as :func:`spatialdata_io.visium` lays out measured slides: a coordinate system named after each
    slide, in full-resolution px. It opens in spatialdata-plot and napari-spatialdata.

    Parameters
    ----------
    adata
        Spots or tiles with a predicted layer.
    layer
        The predicted layer; :func:`bleep_sc.tl.to_anndata` makes the table of it.
    image
        Full-resolution image, whatever :func:`bleep_sc.slides.open_slide` takes, or a mapping from slides to these; it
        is read piece by piece when the object is written. Slides without one have the small image in
        ``uns["spatial"]``.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.

    Returns
    -------
    A SpatialData object: ``images["{slide}_full_image"]`` or ``images["{slide}_hires_image"]``, ``shapes[slide]``
    (circles of the diameter of the spots, squares for tiles in a square layout, polygons for cells), and
    ``tables["table"]``. The index of the shapes is ``obs["spot_id"]`` of the table, which counts the spots of
    ``adata``. Where SpatialData does not take the name of a slide, such as ``"Größe 1"``, other letters are ``_``, and
    the log says so.

    Raises
    ------
    KeyError
        Without the layer or coordinates, or when ``image`` names a slide that is not there.
    ValueError
        When coordinates lie outside the image, or it is a scaled-down one; when two slides have the same name in
        letters that SpatialData takes.

    Notes
    -----
    napari-spatialdata (with anndata 0.12) and Vitessce show it, also from disk: the page *Predictions in napari and
    Vitessce* has the code.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> sdata = bs.tl.to_spatialdata(adata_query)
    >>> sorted(sdata.shapes)
    ['slice3']
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spatialdata's, about itself, when it is imported
        from spatialdata import SpatialData
        from spatialdata.models import TableModel

    table = to_anndata(adata, layer)
    region_key = library_column(adata, library_key)
    names = libraries(adata, region_key)
    spots = spots_of(names)
    called, images = _called(list(spots)), _images_of(image, list(spots))
    centers = centers_px(adata, spatial_key)
    elements: dict[str, dict[str, Any]] = {"images": {}, "shapes": {}}
    for name, rows in spots.items():
        elements["images"] |= _image(adata, name, called[name], images.get(name), centers[rows])
        elements["shapes"][called[name]] = _shapes(adata, name, called[name], rows, centers[rows])
    table.obs[region_key] = pd.Categorical([called[name] for name in names])
    table.obs[SPOT_ID] = np.arange(table.n_obs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that anndata changes types
        parsed = TableModel.parse(table, region=list(called.values()), region_key=region_key, instance_key=SPOT_ID)
        return SpatialData(**elements, tables={"table": parsed})


def _called(names: list[str]) -> dict[str, str]:
    """Return what the elements of slides are called: SpatialData takes letters of ASCII, digits, '_', '.' and '-'."""
    called = {name: re.sub(r"[^\w.-]", "_", name, flags=re.ASCII) for name in names}
    called = {name: re.sub("^__+", "_", each) for name, each in called.items()}
    if len({each.lower() for each in called.values()}) < len(names):
        raise ValueError(
            f"SpatialData takes letters, digits, '_', '.' and '-' in names, without regard to case, and so the slides "
            f"{listed(names)} would not all have their own: {listed(called.values())}. Rename them in obs and in "
            "uns['spatial']."
        )
    if changed := [f"{name!r} is {each!r}" for name, each in called.items() if name != each]:
        logger.warning("SpatialData takes no other names: slide %s there.", ", ".join(changed))
    return called


def _images_of(image: Any, present: list[str]) -> Mapping[str, Any]:
    """Return the images that were given, by slide."""
    if image is None:
        return {}
    if not is_by_slide(image):
        if len(present) > 1:
            raise ValueError(
                f"image= is one image, but there are {len(present)} slides ({listed(present)}). Pass a mapping from "
                "their names to their images."
            )
        return {present[0]: image}
    unknown = [name for name in image if name not in present]
    if unknown:
        raise KeyError(f"image= names slides that are not in adata: {listed(unknown)} (it has: {listed(present)}).")
    return image


def _image(adata: AnnData, name: str, called: str, image: Any, centers: NDArray[np.float64]) -> dict[str, Any]:
    """Return the image of a slide by its name; none where there is no image."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Identity, Scale

    record = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    factors = {key: float(value) for key, value in record.get("scalefactors", {}).items() if key.startswith("tissue_")}
    if image is not None:
        slide = slides.open_slide(image)
        check_centers((slide.height, slide.width), centers, factors)
        check_is_scan(adata, name, slide)
        pyramid = PYRAMID if max(slide.width, slide.height) > SMALL else None
        element = Image2DModel.parse(
            _as_dask(slide),
            dims=("y", "x", "c"),
            c_coords=RGB,
            transformations={called: Identity()},
            scale_factors=pyramid,
        )
        return {f"{called}_full_image": element}
    for resolution in ("hires", "lowres"):
        if resolution in record.get("images", {}):
            factor = 1 / factors[f"tissue_{resolution}_scalef"]
            pixels = np.asarray(record["images"][resolution])[..., :3]
            scale = Scale([factor, factor], axes=("y", "x"))
            element = Image2DModel.parse(pixels, dims=("y", "x", "c"), c_coords=RGB, transformations={called: scale})
            return {f"{called}_{resolution}_image": element}
    return {}


def _as_dask(slide: slides.Slide) -> Any:
    import dask.array as da

    def read(block_info: Any = None) -> NDArray[np.uint8]:
        (top, bottom), (left, right), _ = block_info[None]["array-location"]
        return slide.read_region(left, top, right - left, bottom - top)

    chunks = tuple(
        tuple(min(CHUNK, length - start) for start in range(0, length, CHUNK)) for length in (slide.height, slide.width)
    )
    return da.map_blocks(read, chunks=(*chunks, (3,)), dtype=np.uint8, meta=np.empty((0, 0, 0), dtype=np.uint8))


def _shapes(adata: AnnData, name: str, called: str, spots: NDArray[np.intp], centers: NDArray[np.float64]) -> Any:
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    if has_cells(adata, name):
        return _polygons(polygons_of(adata, name, spots), called, spots)
    radius = spot_diameter(adata, name, centers) / 2
    if adata.uns.get(keys.TILES, {}).get(name, {}).get("layout") != "square":
        return ShapesModel.parse(centers, geometry=0, radius=radius, index=spots, transformations={called: Identity()})
    import shapely

    return _polygons(shapely.box(*(centers - radius).T, *(centers + radius).T), called, spots)


def _polygons(polygons: NDArray[np.object_], called: str, spots: NDArray[np.intp]) -> Any:
    import geopandas
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    frame = geopandas.GeoDataFrame({"geometry": polygons}, index=spots)
    return ShapesModel.parse(frame, transformations={called: Identity()})
