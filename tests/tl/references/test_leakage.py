import warnings

import numpy as np
import pytest

import bleep_sc as bs


def test_a_renamed_slide_is_recognised_by_its_spots(fitted):
    query = fitted.copy()
    query.obs["library_id"] = "another " + query.obs["library_id"].astype(str)
    with pytest.warns(UserWarning, match="457 spots of the query are in the reference, with the same names and coord"):
        bs.tl.impute(query, ref=fitted)


def test_regressions_warn_too(reference):
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    query = reference.copy()
    with pytest.warns(UserWarning, match="'slice1', 'slice2' is in the query and in the reference"):
        bs.tl.predict(query, ref=reference, key="ridge")


def test_spots_that_only_share_names_are_no_leak(fitted, query):
    query.obs_names = fitted.obs_names[: query.n_obs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bs.tl.impute(query, ref=fitted)


def test_slides_without_names_do_not_stop_a_prediction(fitted, query):
    del query.obs["library_id"]
    bs.tl.impute(query, ref=fitted)
    assert "bleep" in query.layers


def test_a_layer_that_is_no_prediction_is_not_overwritten(fitted, query):
    before = query.layers["counts"].copy()
    with pytest.raises(ValueError, match=r"layers\['counts'\] exists and is no prediction"):
        bs.tl.impute(query, ref=fitted, key_added="counts")
    assert (query.layers["counts"] != before).nnz == 0
    assert "counts_weights" not in query.obsm


def test_numbers_of_numpy_are_plain_numbers(reference, query):
    config = bs.tl.FitConfig(max_epochs=np.int64(2), n_neighbors=np.int64(20))
    bs.tl.fit(reference, use_rep="X_stain_stats", config=config, random_state=np.int64(1), show_progress_bar=False)
    bs.tl.impute(query, ref=reference, n_neighbors=np.int64(7))
    assert np.diff(query.obsm["bleep_weights"].indptr).tolist() == [7] * query.n_obs


def test_the_field_of_view_is_that_of_the_slides_that_are_there(toy):
    for name, mpp in (("slice1", 1.0), ("slice2", 1.0), ("slice3", 2.0)):
        toy.uns["patches"][name]["size_um"] = 64 * mpp
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    del ref.obsm["X_stain_stats"], query.obsm["X_stain_stats"]
    config = bs.tl.FitConfig(max_epochs=2)
    bs.tl.fit(ref, encoder="stain_stats", config=config, show_progress_bar=False)
    with pytest.raises(ValueError, match="show 128 µm of tissue, but the model was trained on 64 µm"):
        bs.tl.impute(query, ref=ref)


def test_squidpys_graph_goes_along(fitted, query):
    import squidpy as sq

    bs.tl.impute(query, ref=fitted, genes=["CYP3A4", "HAL"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of squidpy
        sq.gr.spatial_neighbors_knn(query)
        predicted = bs.tl.to_anndata(query)
        sq.gr.spatial_autocorr(predicted, show_progress_bar=False)
    assert set(predicted.uns["moranI"].index) == {"CYP3A4", "HAL"}
