"""Cells and transcripts of a SpatialData object, on the px of its H&E."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed, logger
from bleep_sc.pp._gathered import Cells
from bleep_sc.pp._spatialdata import _image, _table, from_spatialdata, onto
from bleep_sc.slides import transform_points

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

TRANSCRIPTS = "transcripts"
"""What spatialdata_io's reader of Xenium calls its points."""
QUALITY, LEAST_QUALITY = "qv", 20.0
"""Column of the quality of a transcript, and the least that Xenium's own matrix counts: one in a hundred is wrong."""
GENES = "Gene Expression"
"""Feature type of what is neither a control nor a protein."""


def from_cells_of(
    sdata: SpatialData, image: Any, table_key: str, points_key: str | None
) -> tuple[Cells, Any, str, float]:
    """Return the cells of a SpatialData object, their image, what the slide is called, and µm per px where known."""
    table, region_key, _ = _table(sdata, table_key)
    regions = table.obs[region_key].astype(str).unique().tolist()
    if len(regions) != 1:
        raise ValueError(
            f"tables[{table_key!r}] has cells of several regions ({listed(regions)}), and a slide is gathered by "
            "itself. Pass a SpatialData object of one: sdata.filter_by_coordinate_system(...), or a table of one."
        )
    placed, images, _ = from_spatialdata(sdata, image, table_key)
    _, image_name = _image(sdata, image, regions[0])
    is_gene = table.var["feature_types"] == GENES if "feature_types" in table.var else np.ones(table.n_vars, dtype=bool)
    genes = table[:, np.asarray(is_gene)]
    if points_key is not None and points_key not in sdata.points:
        raise KeyError(f"points_key={points_key!r} not found (points: {listed(sdata.points)}). Pass points_key=.")
    points_key = points_key or (TRANSCRIPTS if TRANSCRIPTS in sdata.points else None)
    mpp, transcripts, counts = float("nan"), None, None
    if points_key is not None:
        points = sdata.points[points_key]
        matrix = onto(sdata, regions[0], points, image_name, placed.obsm[keys.SPATIAL])
        transcripts = _transcripts(points, points_key, matrix, genes)
        if QUALITY in points.columns:  # Xenium's, whose places are in µm
            mpp = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    else:
        counts = sparse.csr_matrix(genes.X)
    name = Path(sdata.path).name.removesuffix(".zarr") if sdata.path is not None else regions[0]
    cells = Cells(placed.obsm[keys.SPATIAL], genes.var, counts, transcripts)
    return cells, images[regions[0]], name, mpp


def _transcripts(
    points: Any, points_key: str, matrix: NDArray[np.float64], genes: AnnData
) -> tuple[NDArray[np.float64], pd.Categorical]:
    """Return where the transcripts of the genes lie, px of the H&E, (n, 2), and which these are."""
    feature_key = points.attrs.get("spatialdata_attrs", {}).get("feature_key")
    if feature_key is None:
        raise ValueError(
            f"points[{points_key!r}] does not say which column names the gene. Pass points that do: "
            "spatialdata.models.PointsModel.parse(..., feature_key=)."
        )
    columns = [name for name in ("x", "y", feature_key, QUALITY) if name in points.columns]
    return chosen_transcripts(points[columns].compute(), feature_key, ("x", "y"), matrix, genes.var_names, points_key)


def chosen_transcripts(
    table: pd.DataFrame,
    feature_key: str,
    place: tuple[str, str],
    matrix: NDArray[np.float64],
    genes: pd.Index,
    called: str,
) -> tuple[NDArray[np.float64], pd.Categorical]:
    """Move transcripts onto the H&E by an affine map, (3, 3), and leave out controls and those of low quality."""
    names = table[feature_key].astype("category").cat
    named = pd.Categorical.from_codes(np.append(genes.get_indexer(names.categories), -1)[names.codes], categories=genes)
    is_gene = named.codes >= 0
    if not is_gene.any():
        raise ValueError(
            f"No transcript of {called!r} is of a gene of the table ({listed(genes, 3)}): column {feature_key!r} names "
            f"{listed(table[feature_key].unique(), 3)}. Both need the same names; rename those of table.var_names."
        )
    good = (table[QUALITY] >= LEAST_QUALITY).to_numpy() if QUALITY in table else np.ones(len(table), dtype=bool)
    logger.info(
        "%d of %d transcripts are summed; %d of controls and %d with a quality below %g are left out.",
        *((is_gene & good).sum(), len(table), (~is_gene).sum(), (is_gene & ~good).sum(), LEAST_QUALITY),
    )
    kept = is_gene & good
    return transform_points(table.loc[kept, list(place)].to_numpy(dtype=np.float64), matrix), named[kept]
