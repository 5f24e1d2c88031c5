import warnings

import numpy as np
import pytest
import scanpy as sc

import bleep_sc as bs


def test_scanpy_and_squidpy_run_with_no_extra_argument(fitted, query):
    bs.tl.impute(query, ref=fitted, genes=fitted.var_names[:60].tolist())
    predicted = bs.tl.to_anndata(query)
    assert predicted.shape == (query.n_obs, 60)
    assert np.isfinite(predicted.X).all()
    assert predicted.var["imputed"].all()
    assert predicted.uns["bleep_imputed"]["transform"] == "log1p"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages that are called here
        import squidpy as sq

        sc.pp.pca(predicted)
        sc.pp.neighbors(predicted)
        sc.tl.leiden(predicted)
        sq.gr.spatial_neighbors_knn(predicted)
        sq.gr.spatial_autocorr(predicted)
        sq.pl.spatial_scatter(predicted, color="CYP3A4")
    assert set(query.uns["spatial"]) > set(predicted.uns["spatial"]) == {"slice3"}
    assert predicted.obs["leiden"].nunique() > 1
    assert predicted.uns["moranI"].loc["CYP3A4", "I"] > 0.3


def test_a_tool_that_looks_for_the_layer_says_where_it_is(fitted, query):
    bs.tl.impute(query, ref=fitted)
    with pytest.raises(KeyError, match=r"to_anndata made, whose X is the prediction: pass the query itself"):
        bs.tl.leiden(bs.tl.to_anndata(query))


def test_it_shares_nothing_with_the_query(fitted, query):
    bs.tl.impute(query, ref=fitted)
    predicted = bs.tl.to_anndata(query)
    predicted.X[:] = 0
    predicted.obs["zonation"] = 0
    predicted.uns["spatial"]["slice3"]["scalefactors"]["spot_diameter_fullres"] = 1.0
    assert query.layers["bleep"].max() > 0
    assert query.obs["zonation"].max() > 0
    assert query.uns["spatial"]["slice3"]["scalefactors"]["spot_diameter_fullres"] == 55.0


def test_only_predictions_are_taken(query):
    with pytest.raises(KeyError, match=r"layers\['bleep'\] not found"):
        bs.tl.to_anndata(query)
    with pytest.raises(KeyError, match=r"layers\['counts'\] is no prediction of bleep_sc"):
        bs.tl.to_anndata(query, "counts")
