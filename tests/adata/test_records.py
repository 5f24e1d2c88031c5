import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.records import check_same_patches, feature_recipe, patch_recipe, require_one_field
from bleep_sc.tl._models.inputs import features_recipe


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


def cut(um, column="library_id"):
    """Spots of a slide each, whose patches show so many µm."""
    obs = pd.DataFrame({column: np.repeat(list(um), 5)}, index=[str(i) for i in range(5 * len(um))])
    adata = ad.AnnData(obs=obs)
    adata.uns["patches"] = {
        name: {"size": 56, "side_px": 56, "size_um": side, "library_key": column} for name, side in um.items()
    }
    return adata


def test_fields_of_view_may_differ_by_a_twentieth():
    require_one_field(patch_recipe(cut({"a": 100.0, "b": 104.9, "c": np.nan}), "patches"), "The patches")
    mixed = patch_recipe(cut({"a": 100.0, "b": 48.0, "c": 106.0}), "patches")
    with pytest.raises(ValueError, match=r"show 48 µm on slide 'b' and 106 µm on slide 'c': .*size_um=106"):
        require_one_field(mixed, "The patches")
    trained = patch_recipe(cut({"a": (100 + 48 + 106) / 3}), "patches")
    assert mixed["size_um"] == pytest.approx(trained["size_um"])
    with pytest.raises(ValueError, match="show 48 µm on slide 'b'"):  # although their mean is the same
        check_same_patches(mixed, trained)


@pytest.mark.parametrize("merge", ["first", "unique", "same"])
def test_features_of_slides_that_were_cut_one_by_one_are_compared(merge):
    """One recipe of features is left of a concatenation, and the patches of every slide."""
    parts = []
    for name, um in {"a": 100.0, "b": 50.0}.items():
        part = cut({name: um})
        how = {"encoder": "stain_stats", "fingerprint": "f", "symmetries": False}
        part.uns["X_stain_stats"] = {**how, **patch_recipe(part, "patches")}
        parts.append(part)
    both = ad.concat(parts, uns_merge=merge, index_unique="-")
    if merge == "same":  # nothing is known of the patches
        assert np.isnan(feature_recipe(both, "X_stain_stats")["size_um"])
        return
    with pytest.raises(ValueError, match=r"behind obsm\['X_stain_stats'\] show 50 µm on slide 'b' and 100 µm"):
        features_recipe(both, ["X_stain_stats"])


def test_features_that_were_not_made_alike_are_refused():
    adata = cut({"a": 100.0})
    adata.uns["X_stain_stats"] = {"fingerprint": "f", "patches_key": "patches"}
    with pytest.raises(ValueError, match=r"uns\['X_stain_stats'\] has lost 'symmetries', 'size', as where slides"):
        feature_recipe(adata, "X_stain_stats")
