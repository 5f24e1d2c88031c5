from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.cells import cell_ids, has_cells, polygons_of
from bleep_sc._adata.checks import require_layer, require_obs, require_unique_genes
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._adata.places import centers_px, spot_diameter
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.disk import appears
from bleep_sc._output.messages import listed
from bleep_sc.slides._cells import with_measurements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

CORNERS = 16
"""Of the polygon that stands for a round spot."""


def to_geojson(
    adata: AnnData,
    path: str | Path,
    *,
    genes: str | Sequence[str],
    layer: str = "bleep",
    classes: str | None = None,
    cells: str | Path | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
) -> None:
    """Write predictions as GeoJSON that QuPath opens: a detection for every spot, with a measurement for every gene.

    Cells of a segmentation (:func:`bleep_sc.pp.tile_slide` with ``cells=``) have their own polygons and ids. Drag the
    file onto the slide in QuPath, or use *File > Import objects*; *Measure > Show measurement maps* colours
    the spots. Coordinates are full-resolution px of the image that the predictions were made on.

    Parameters
    ----------
    adata
        Spots or tiles with a predicted layer.
    path
        The file; it appears when it is complete, and replaces one that is there.
    genes
        Genes to write.
    layer
        The predicted layer.
    classes
        Column of ``obs`` whose categories become the classes of the detections, such as ``"region"`` or clusters.
    cells
        The GeoJSON that the cells were read from: it is written again as it is, hierarchy, nuclei, classes and
        measurements included, with the genes added to the measurements of every cell that was predicted. Without, there
        is a detection for every cell, with nothing but the genes.
    library_id
        The slide; needed where there are several.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.

    Returns
    -------
    None. Cells are written as they were segmented, tiles in a square layout as squares, all else as circles of the
    diameter of the spots.

    Raises
    ------
    KeyError
        When the layer, a gene, a column or the slide is not there; when ``cells`` lacks one of the cells.
    ValueError
        When a gene was not predicted, names of genes are not unique, coordinates are missing, or there are several
        slides and none is named.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.to_geojson(adata_query, "slice3.geojson", genes=["CYP3A4", "HAL"])  # doctest: +SKIP
    """
    import shapely

    require_unique_genes(adata)
    wanted = [genes] if isinstance(genes, str) else list(genes)
    predicted = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    absent = [gene for gene in wanted if gene not in adata.var_names]
    if absent:
        raise KeyError(f"genes={listed(absent)} are not in adata.var_names (it has: {listed(adata.var_names, 3)}).")
    name, rows = one_slide(libraries(adata, library_key), library_id)
    values = dense(predicted[:, [adata.var_names.get_loc(gene) for gene in wanted]])[rows]
    unknown = [gene for gene, column in zip(wanted, values.T, strict=True) if not np.isfinite(column).all()]
    if unknown:
        raise ValueError(f"layers[{layer!r}] holds no prediction of {listed(unknown)}. Impute them, or leave them out.")
    labels = None
    if classes is not None:
        column = require_obs(adata, classes, "Pass classes=, a column of obs.").astype(object)
        labels = column.where(column.notna(), "").astype(str).to_numpy()[rows]
    measurements = [dict(zip(wanted, map(_rounded, row), strict=True)) for row in values.tolist()]
    if cells is not None:
        content = with_measurements(cells, cell_ids(adata, rows), measurements, labels)
        with appears(Path(path)) as draft, draft.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content))
        return
    if has_cells(adata, name):
        ids, outlines = cell_ids(adata, rows).tolist(), shapely.to_geojson(polygons_of(adata, name, rows))
    else:
        ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}/{each}")) for each in adata.obs_names[rows]]
        outlines = _spots(adata, name, centers_px(adata, spatial_key)[rows])
    names = map(str, adata.obs_names[rows])
    with appears(Path(path)) as draft, draft.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for i, (own_id, own_name, outline) in enumerate(zip(ids, names, outlines, strict=True)):
            properties: dict[str, Any] = {"objectType": "detection", "name": own_name, "measurements": measurements[i]}
            if labels is not None and labels[i]:
                properties["classification"] = {"name": labels[i]}
            start, end = json.dumps({"type": "Feature", "id": own_id})[:-1], json.dumps(properties, allow_nan=False)
            file.write(f'{"," if i else ""}\n{start}, "geometry": {outline}, "properties": {end}}}')
        file.write("\n]}\n")


def _rounded(value: float) -> float:
    return round(value, 4)


def _spots(adata: AnnData, name: str, centers: NDArray[np.float64]) -> Iterator[str]:
    """Return the outline of every spot as GeoJSON has it."""
    outline = _outline(adata, name, centers)
    if not (np.isfinite(centers).all() and np.isfinite(outline).all()):
        raise ValueError(
            f"Coordinates or the diameter of the spots of slide {name!r} are NaN: GeoJSON has no such number."
        )
    is_round = len(outline) > CORNERS  # QuPath then draws a true circle
    return (
        json.dumps({"type": "Polygon", "coordinates": [(center + outline).round(2).tolist()], "isEllipse": is_round})
        for center in centers + 0.0
    )


def _outline(adata: AnnData, name: str, centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a closed outline around the origin, px: a square for tiles in squares, else a circle."""
    radius = spot_diameter(adata, name, centers) / 2
    if adata.uns.get(keys.TILES, {}).get(name, {}).get("layout") == "square":
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
    else:
        angles = 2 * np.pi * np.arange(CORNERS) / CORNERS
        corners = np.column_stack([np.cos(angles), np.sin(angles)])
    return radius * np.vstack([corners, corners[:1]])
