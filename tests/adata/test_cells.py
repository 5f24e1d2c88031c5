import anndata as ad
import numpy as np
import pytest
import shapely

from bleep_sc._adata import keys
from bleep_sc._adata.cells import has_cells, packed, polygons_of
from bleep_sc.slides import Cells

HOLED = shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 4, 4))
SHAPES = np.array([shapely.box(0, 0, 1, 2), HOLED, shapely.MultiPolygon([shapely.box(0, 0, 1, 1), HOLED])])


@pytest.mark.parametrize("ids", [np.array(["b", "a", "c"], dtype=object), np.array([30, 1, 2])])
def test_polygons_survive_files_and_subsets(ids, tmp_path):
    adata = ad.AnnData(obs={keys.CELL_ID: ids}, uns={keys.CELLS: {"x": packed(Cells(ids, SHAPES, ids.astype(str)))}})
    adata.obs_names = ["p", "q", "r"]
    adata[[2, 0]].copy().write_h5ad(tmp_path / "cells.h5ad")
    again = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert has_cells(again, "x")
    assert not has_cells(again, "y")
    rows = np.array([1, 0])
    assert shapely.equals_identical(polygons_of(again, "x", rows), SHAPES[[0, 2]]).all()
    again.obs[keys.CELL_ID] = ["n", "m"]
    with pytest.raises(KeyError, match=r"2 cells, such as .m., have no polygon"):
        polygons_of(again, "x", rows)
