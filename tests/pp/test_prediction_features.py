"""Predictions from elsewhere as features: declared, compared, and no way round for what comes from expression."""

import numpy as np
import pytest

import bleep_sc as bs


@pytest.fixture
def seen(toy):
    """What a model from elsewhere sees: colours of patches, called after genes, in another unit."""
    colours = toy.obsm["patches"].mean(axis=(1, 2))
    toy.layers["theirs"] = np.full(toy.shape, np.nan, dtype=np.float32)
    toy.layers["theirs"][:, 3:6] = colours / 100 - 1
    bs.pp.prediction_features(toy, "theirs", "palette")
    return toy


def test_predicted_genes_are_features_with_a_record(seen):
    np.testing.assert_array_equal(seen.obsm["X_palette"], seen.layers["theirs"][:, 3:6])
    record = seen.uns["X_palette"]
    assert (record["encoder"], record["fingerprint"], record["patches_key"]) == ("palette", "", "")
    assert len(record["genes"]) == 16


def test_a_query_needs_the_same_model_and_genes(seen):
    ref, query = (seen[seen.obs["library_id"] == name].copy() for name in ("slice1", "slice2"))
    bs.tl.fit_ridge(ref, use_rep=["X_stain_stats", "X_palette"])
    bs.tl.predict(query, ref, key="ridge")
    assert "expression that palette predicts" in str(bs.tl.load_model(ref, "ridge"))
    other = query.copy()
    other.layers["theirs"] = np.roll(other.layers["theirs"], 1, axis=1)
    bs.pp.prediction_features(other, "theirs", "palette")
    with pytest.raises(ValueError, match="predictions of other genes, or in another order"):
        bs.tl.predict(other, ref, key="ridge")
    bs.pp.prediction_features(query, "theirs", "easel", key_added="X_palette")
    with pytest.raises(ValueError, match=r"computed by another encoder .*'easel' against 'palette'"):
        bs.tl.predict(query, ref, key="ridge")
    del query.obsm["X_palette"]
    with pytest.raises(KeyError, match=r"pp\.prediction_features\(adata, layer, 'palette'\)"):
        bs.tl.predict(query, ref, key="ridge")


def test_a_comparison_takes_them_by_any_name_and_measures_what_they_tell(seen):
    seen.X = seen.layers["counts"].copy()
    small = seen[:, :30].copy()
    how = {"group_key": "library_id", "n_top_genes": 5}
    small.obsm["X_genes"] = small.obsm["X_palette"]
    with pytest.raises(ValueError, match="was computed from the expression of all spots"):
        bs.bm.cross_validate(small, "hest_ridge", use_rep="X_genes", **how)
    bs.pp.prediction_features(small, "theirs", "palette", key_added="X_genes")
    table = bs.bm.cross_validate(small, "hest_ridge", use_rep="X_genes", **how)
    assert table["pearson"].notna().any()
    told = small.layers["counts"].toarray()
    small.layers["leaked"] = np.log1p(1e4 * told / told.sum(axis=1, keepdims=True)).astype(np.float32)
    bs.pp.prediction_features(small, "leaked", "cheat", key_added="X_genes")
    with pytest.raises(ValueError, match="more than images tell"):
        bs.bm.cross_validate(small, "hest_ridge", use_rep="X_genes", **how)


def test_what_is_no_prediction_from_images_is_refused(seen):
    with pytest.raises(KeyError, match=r"layers?.*'none'"):
        bs.pp.prediction_features(seen, "none", "palette")
    with pytest.raises(ValueError, match="holds whole counts, as measurements do"):
        bs.pp.prediction_features(seen, "counts", "palette")
    seen.layers["theirs"][0, 3] = np.nan
    with pytest.raises(ValueError, match="predicts 1 genes for some spots alone"):
        bs.pp.prediction_features(seen, "theirs", "palette")
    seen.layers["theirs"][:] = np.nan
    with pytest.raises(ValueError, match="predicts no gene"):
        bs.pp.prediction_features(seen, "theirs", "palette")
    ref, query = (seen[seen.obs["library_id"] == name].copy() for name in ("slice1", "slice2"))
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats")
    bs.tl.predict(query, ref, key="ridge")
    with pytest.raises(ValueError, match="was predicted by bleep_sc"):
        bs.pp.prediction_features(query, "ridge", "ridge")
