"""The spots of a SpatialData object, on the px of its images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import is_by_slide
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

SMALLER = ("_hires_image", "_lowres_image")
"""What spatialdata_io calls images that are scaled down."""


def from_spatialdata(sdata: SpatialData, image: Any, table_key: str) -> tuple[AnnData, dict[str, Any], str]:
    """Return the table, with ``obsm["spatial"]`` in px of the images; the images by region; and the key of the regions.

    ``image`` is the name of an image, or a mapping from regions to names, paths or arrays; None takes
    ``{region}_full_image``, or the only image that is not scaled down.
    """
    if not hasattr(sdata, "tables"):
        raise TypeError(f"adata must be an AnnData or SpatialData object, not {type(sdata).__name__}.")
    if table_key not in sdata.tables:
        raise KeyError(f"table_key={table_key!r} not found (tables: {listed(sdata.tables)}). Pass table_key=.")
    table = sdata.tables[table_key]
    attributes = table.uns.get("spatialdata_attrs", {})
    if "region_key" not in attributes:
        raise ValueError(f"tables[{table_key!r}] annotates no shapes (it has no uns['spatialdata_attrs']).")
    region_key, instance_key = str(attributes["region_key"]), str(attributes["instance_key"])
    regions = table.obs[region_key].astype(str).to_numpy()
    images, centers = {}, np.full((table.n_obs, 2), np.nan)
    for region in dict.fromkeys(regions.tolist()):
        rows = np.flatnonzero(regions == region)
        images[region], name = _image(sdata, image, region)
        if region in sdata.shapes and name is not None:
            centers[rows], side = _squares(sdata, region, name, table.obs[instance_key].to_numpy()[rows])
            _note_resolution(table, region, side)
        elif keys.SPATIAL in table.obsm:
            centers[rows] = np.asarray(table.obsm[keys.SPATIAL], dtype=np.float64)[rows, :2]
        else:
            raise KeyError(f"Region {region!r} has no shapes (shapes: {listed(sdata.shapes)}), and the table no obsm.")
    table.obsm[keys.SPATIAL] = centers
    return table, images, region_key


def _image(sdata: SpatialData, image: Any, region: str) -> tuple[Any, str | None]:
    """Return the image of a region, and its name where it is one of the object's."""
    wanted = image.get(region) if is_by_slide(image) else image
    if wanted is None:
        full = [name for name in sdata.images if not name.endswith(SMALLER)]
        wanted = f"{region}_full_image" if f"{region}_full_image" in full else full[0] if len(full) == 1 else None
    if wanted is None:
        raise KeyError(
            f"Which image shows region {region!r} is not clear (images: {listed(sdata.images)}). Pass image=, its "
            "name, or a mapping from regions to names; the full-resolution one, since smaller ones blur the patches."
        )
    if isinstance(wanted, str) and wanted in sdata.images:
        return sdata.images[wanted], wanted
    if isinstance(wanted, str) and not Path(wanted).is_file():
        raise KeyError(f"image={wanted!r} is neither an image of the object ({listed(sdata.images)}) nor a file.")
    return wanted, None


def _note_resolution(table: AnnData, region: str, side: float) -> None:
    """Note µm per px of the bins of Visium HD, whose region is named after their side in µm; ``side`` is in px."""
    bins = re.search(r"square_(\d+)um$", region)
    if bins and np.isfinite(side):
        library = table.uns.setdefault(keys.SPATIAL, {}).setdefault(region, {})
        library.setdefault("scalefactors", {}).setdefault("microns_per_pixel", float(bins[1]) / side)


def _squares(sdata: SpatialData, region: str, image: str, instances: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Return the centres of shapes in px of an image, (n, 2), and the side of those that are squares; NaN of others."""
    from spatialdata.transformations import get_transformation_between_coordinate_systems

    shapes = sdata.shapes[region].loc[instances]
    points = shapes.geometry.centroid
    move = get_transformation_between_coordinate_systems(sdata, sdata.shapes[region], sdata.images[image])
    matrix = move.to_affine_matrix(("x", "y"), ("x", "y"))
    centers = np.column_stack([points.x, points.y, np.ones(len(points))]) @ matrix[:2].T
    area = float(shapes.geometry.area.median())  # of points, which have a radius instead, it is zero
    return centers, float(np.sqrt(area * abs(np.linalg.det(matrix[:2, :2])))) if area > 0 else float("nan")
