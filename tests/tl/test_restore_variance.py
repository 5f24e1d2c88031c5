import numpy as np
import pytest

import bleep_sc as bs


def test_genes_vary_as_within_the_slides_of_the_reference(fitted, query):
    bs.tl.impute(query, ref=fitted, genes=fitted.var_names[:60].tolist())
    before = query.layers["bleep"].copy()
    bs.tl.restore_variance(query, fitted)
    restored = query.layers["bleep_restored"]
    np.testing.assert_array_equal(query.layers["bleep"], before)
    assert np.isnan(restored[:, 60:]).all()
    slides = fitted.obs["library_id"].to_numpy()
    wanted = np.mean([fitted.X[slides == s].toarray()[:, :60].var(axis=0) for s in ("slice1", "slice2")], axis=0)
    reached, unclipped = restored[:, :60].var(axis=0), restored[:, :60].min(axis=0) > 0
    factor = np.sqrt(wanted / before[:, :60].var(axis=0))
    exact = unclipped & (factor < 5)
    assert exact.sum() > 20
    np.testing.assert_allclose(reached[exact], wanted[exact], rtol=1e-3)
    assert (reached <= wanted * 1.001).all()
    r = bs.metrics.pearson(restored[:, :60], before[:, :60])
    np.testing.assert_allclose(r[unclipped], 1, atol=1e-4)
    assert r.min() > 0.9
    assert restored[:, :60].min() >= 0


def test_it_is_a_prediction_to_every_other_function(fitted, query):
    bs.tl.impute(query, ref=fitted)
    changed = bs.tl.restore_variance(query, fitted, key_added="wide", copy=True)
    assert "wide" not in query.layers
    record = {**query.uns["bleep_imputed"], "restored_from": "bleep"}
    assert changed.uns["wide_imputed"] == record
    assert bs.tl.to_anndata(changed, "wide").n_vars == query.n_vars
    bs.tl.score(changed, ["bleep", "wide"])
    scores = [changed.var[f"{layer}_pearson"].mean() for layer in ("bleep", "wide")]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    bulk = [
        bs.tl.pseudobulk(changed, layer, sample_key="library_id", min_predictability=None)
        for layer in ("bleep", "wide")
    ]
    np.testing.assert_allclose(bulk[0].X, bulk[1].X, atol=0.2)  # but for values below zero


def test_every_slide_of_the_query_by_itself_and_after_a_baseline(fitted, toy):
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    query.obs["library_id"] = np.where(query.obs["zonation"] > 0.4, "one", "two")
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    bs.tl.predict(query, ref=fitted, key="ridge")
    bs.tl.restore_variance(query, fitted, "ridge")
    for name in ("one", "two"):
        part = query[query.obs["library_id"] == name].copy()
        bs.tl.restore_variance(part, fitted, "ridge", key_added="alone")
        np.testing.assert_allclose(part.layers["alone"], part.layers["ridge_restored"], rtol=1e-5)


def test_what_cannot_be_restored(fitted, query):
    with pytest.raises(KeyError, match="Run bleep_sc"):
        bs.tl.restore_variance(query, fitted)
    bs.tl.impute(query, ref=fitted)
    with pytest.raises(ValueError, match="Pass another key_added="):
        bs.tl.restore_variance(query, fitted, key_added="counts")
    with pytest.raises(KeyError, match="holds no model"):
        bs.tl.restore_variance(query, query)
