import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.records import check_same_patches, patch_recipe


@pytest.mark.parametrize("column", ["library_id", "sample"])
def test_another_field_of_view_is_refused_whatever_the_column_of_slides_is_called(column):
    """A part of a cut-up AnnData has the records of all slides, of which only its own count."""
    sides = {"slice1": 56.0, "slice2": 56.0, "slice3": 112.0}
    obs = pd.DataFrame({column: np.repeat(list(sides), 5)}, index=[str(i) for i in range(15)])
    adata = ad.AnnData(obs=obs)
    adata.uns["patches"] = {
        name: {"size": 56, "side_px": 56, "size_um": um, "library_key": column} for name, um in sides.items()
    }
    ref, query = adata[obs[column] != "slice3"].copy(), adata[obs[column] == "slice3"].copy()
    trained, seen = patch_recipe(ref, "patches"), patch_recipe(query, "patches")
    assert (trained["size_um"], seen["size_um"]) == (56, 112)
    with pytest.raises(ValueError, match="show 112 µm of tissue, but the model was trained on 56 µm"):
        check_same_patches(seen, trained)
    check_same_patches(trained, trained)
