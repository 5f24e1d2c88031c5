"""Cells around which patches were cut: their names and polygons, kept beside the AnnData that describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._output.damage import undamaged
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.slides import Cells


def packed(cells: Cells) -> dict[str, Any]:
    """Return cells as arrays that files keep: their ids, and their polygons as WKB, one after another."""
    import shapely

    each = shapely.to_wkb(cells.polygons)
    ids = cells.ids.astype(str) if cells.ids.dtype == object else cells.ids
    ends = np.cumsum([len(one) for one in each], dtype=np.int64)
    return {"ids": ids, "wkb": np.frombuffer(b"".join(each), dtype=np.uint8), "ends": ends}


def has_cells(adata: AnnData, library_id: str) -> bool:
    """Tell whether the spots of a slide are cells of a segmentation."""
    return library_id in adata.uns.get(keys.CELLS, {})


def polygons_of(adata: AnnData, library_id: str, rows: NDArray[np.intp]) -> NDArray[np.object_]:
    """Return shapely's polygons of some cells of a slide, full-resolution px, (n,), whatever was cut out since."""
    import shapely

    record, ids = adata.uns[keys.CELLS][library_id], cell_ids(adata, rows)
    where = f"uns[{keys.CELLS!r}][{library_id!r}]"
    found = pd.Index(np.asarray(record["ids"])).get_indexer(pd.Index(ids))
    if (found < 0).any():
        raise KeyError(
            f"{int((found < 0).sum())} cells, such as {ids[found < 0][0]!r}, have no polygon in {where}: "
            f"obs[{keys.CELL_ID!r}] was changed. Restore it, or lay the patches again, "
            "bleep_sc.pp.tile_slide(image, cells=...)."
        )
    with undamaged(where, "wkb"):
        ends = np.asarray(record["ends"], dtype=np.int64)
        content, starts = np.asarray(record["wkb"], dtype=np.uint8).tobytes(), np.concatenate([[0], ends[:-1]])
        return np.asarray(shapely.from_wkb([content[starts[i] : ends[i]] for i in found]), dtype=object)


def median_diameter(adata: AnnData, library_id: str, rows: NDArray[np.intp]) -> float:
    """Return the median diameter of discs as large as the cells of a slide, full-resolution px."""
    import shapely

    return float(np.median(2 * np.sqrt(shapely.area(polygons_of(adata, library_id, rows)) / np.pi)))


def cell_ids(adata: AnnData, rows: NDArray[np.intp]) -> NDArray[Any]:
    """Return what the segmentation calls some cells, (n,): texts or whole numbers."""
    if keys.CELL_ID not in adata.obs:
        raise KeyError(
            f"obs[{keys.CELL_ID!r}] not found (adata has: {listed(adata.obs.columns, 5)}): the spots are no cells that "
            "bleep_sc.pp.tile_slide(image, cells=...) cut patches around."
        )
    ids = adata.obs[keys.CELL_ID].iloc[rows]
    return np.asarray(ids.astype(object) if isinstance(ids.dtype, pd.CategoricalDtype) else ids)
