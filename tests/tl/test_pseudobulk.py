import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs


@pytest.fixture
def imputed(fitted, query):
    """A query in three pieces that stand for samples, of two conditions."""
    bs.tl.impute(query, ref=fitted)
    query.obs["sample"] = np.array(["s1", "s2", "s3"])[np.arange(query.n_obs) % 3]
    query.obs["condition"] = query.obs["sample"].map({"s1": "well", "s2": "ill", "s3": "ill"})
    query.obs["half"] = np.where(query.obs["zonation"] > 0.5, "central", "portal")
    return query


def test_every_row_is_the_mean_of_its_spots(imputed):
    bulk = bs.tl.pseudobulk(imputed, sample_key="sample", region_key="half", min_predictability=None)
    assert list(bulk.obs_names) == [f"{s}_{half}" for s in ("s1", "s2", "s3") for half in ("central", "portal")]
    for name, row in bulk.obs.iterrows():
        spots = imputed[(imputed.obs["sample"] == row["sample"]) & (imputed.obs["half"] == row["half"])]
        assert row["n_spots"] == spots.n_obs
        assert row["condition"] == spots.obs["condition"].iloc[0]
        np.testing.assert_allclose(bulk[name].X[0], spots.layers["bleep"].mean(axis=0), rtol=1e-5)
    assert bulk.X.dtype == np.float32
    assert "zonation" not in bulk.obs  # it is not the same within a sample
    assert bulk.var["imputed"].all()
    assert bulk.uns["bleep_imputed"] == imputed.uns["bleep_imputed"]


def test_genes_are_those_that_can_be_predicted(imputed):
    known = imputed.var["bleep_predictability"]
    bulk = bs.tl.pseudobulk(imputed, sample_key="sample", min_predictability=0.3)
    assert list(bulk.var_names) == list(imputed.var_names[known >= 0.3])
    assert 0 < bulk.n_vars < imputed.n_vars
    assert bs.tl.pseudobulk(imputed, sample_key="sample", min_predictability=-1).n_vars == known.notna().sum()
    assert bs.tl.pseudobulk(imputed, sample_key="sample", min_predictability=None).n_vars == imputed.n_vars
    with pytest.raises(ValueError, match=r"No predicted gene has a predictability of 1.*Pass a smaller"):
        bs.tl.pseudobulk(imputed, sample_key="sample", min_predictability=1)
    del imputed.var["bleep_predictability"]
    with pytest.raises(KeyError, match=r"min_predictability=None to keep"):
        bs.tl.pseudobulk(imputed, sample_key="sample")


def draws_of(bulk):
    return np.stack([bulk.layers[name] for name in bulk.layers if name is not None])


def test_draws_of_single_spots_scatter_around_the_mean_as_neighbours_do(imputed, fitted):
    """The variance between draws of a mean is known: that among the neighbours of a spot, over the number of spots."""
    bulk = bs.tl.pseudobulk(
        imputed, sample_key="sample", n_draws=400, ref=fitted, donor_key=None, min_predictability=None
    )
    draws = draws_of(bulk)
    weights, values = imputed.obsm["bleep_weights"], fitted[:, imputed.var_names].X.toarray().astype(float)
    of_spots = weights @ values**2 - (weights @ values) ** 2
    for i, sample in enumerate(("s1", "s2", "s3")):
        rows = (imputed.obs["sample"] == sample).to_numpy()
        expected = of_spots[rows].sum(axis=0) / rows.sum() ** 2
        ratio = draws[:, i].var(axis=0, ddof=1).sum() / expected.sum()
        assert ratio == pytest.approx(1, abs=0.1)
        of_neighbours = imputed.layers["bleep_retrieved"][rows].mean(axis=0)
        here, there = (
            np.abs((draws[:, i].mean(axis=0) - mean) / np.sqrt(expected / 400)).mean()
            for mean in (bulk.X[i], of_neighbours)
        )
        assert here < 1.3  # 0.8 were genes independent
        assert there > 2 * here  # what the regression added is in the draws


def test_a_spot_with_one_neighbour_takes_its_expression_and_keeps_the_regression(imputed, fitted):
    weights = imputed.obsm["bleep_weights"].tolil()
    chosen = np.random.default_rng(0).integers(fitted.n_obs, size=imputed.n_obs)
    weights[:] = 0
    weights[np.arange(imputed.n_obs), chosen] = 1
    imputed.obsm["bleep_weights"] = weights.tocsr()
    bulk = bs.tl.pseudobulk(imputed, sample_key="sample", n_draws=2, ref=fitted)
    np.testing.assert_allclose(draws_of(bulk), np.stack([bulk.X, bulk.X]), rtol=1e-4)


def test_donors_move_the_spots_of_a_sample_together(imputed, fitted):
    apart, together = (
        draws_of(bs.tl.pseudobulk(imputed, sample_key="sample", n_draws=60, ref=fitted, donor_key=key))
        for key in (None, "library_id")
    )
    assert together.var(axis=0).mean() > 3 * apart.var(axis=0).mean()
    for key, least, most in ((None, -0.1, 0.1), ("library_id", 0.3, 1)):  # regions of a sample too
        bulk = bs.tl.pseudobulk(imputed, sample_key="sample", region_key="half", n_draws=60, ref=fitted, donor_key=key)
        sides = [draws_of(bulk)[:, bulk.obs["half"] == half].reshape(60, -1) for half in ("central", "portal")]
        assert least < bs.metrics.pearson(*sides).mean() < most


def test_several_references_are_as_good_as_one(imputed, fitted):
    halves = [fitted[fitted.obs["library_id"] == name].copy() for name in ("slice1", "slice2")]
    assert list(fitted.obs_names) == [*halves[0].obs_names, *halves[1].obs_names]
    arguments = {"sample_key": "sample", "n_draws": 3, "random_state": 5}
    whole = draws_of(bs.tl.pseudobulk(imputed, ref=fitted, **arguments))
    np.testing.assert_array_equal(whole, draws_of(bs.tl.pseudobulk(imputed, ref=fitted, **arguments)))
    with pytest.raises(ValueError, match="Pass the same, in the same order"):
        bs.tl.pseudobulk(imputed, ref=halves, **arguments)
    bs.tl.impute(imputed, ref=halves)
    np.testing.assert_allclose(
        draws_of(bs.tl.pseudobulk(imputed, ref=halves, **arguments)), whole, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(ValueError, match="Pass the same, in the same order"):
        bs.tl.pseudobulk(imputed, ref=halves[::-1], **arguments)


def test_it_takes_a_layer_that_is_not_in_memory(imputed, fitted, tmp_path):
    stored = bs.tl.impute(imputed, ref=fitted, store=tmp_path / "bleep.zarr", copy=True)
    expected = bs.tl.pseudobulk(imputed, sample_key="sample")
    np.testing.assert_allclose(bs.tl.pseudobulk(stored, sample_key="sample").X, expected.X, rtol=1e-5)


def test_spots_without_a_region_are_left_out_and_without_a_sample_refused(imputed):
    imputed.obs.loc[imputed.obs["half"] == "portal", "half"] = np.nan
    bulk = bs.tl.pseudobulk(imputed, sample_key="sample", region_key="half")
    assert bulk.n_obs == 3
    assert bulk.obs["n_spots"].sum() == (imputed.obs["zonation"] > 0.5).sum()
    imputed.obs.loc[imputed.obs_names[0], "sample"] = np.nan
    with pytest.raises(ValueError, match="is missing for 1 spots"):
        bs.tl.pseudobulk(imputed, sample_key="sample")


def test_what_is_asked_for_must_be_there(imputed, fitted):
    with pytest.raises(KeyError, match="no prediction of bleep_sc"):
        bs.tl.pseudobulk(imputed, "counts", sample_key="sample")
    with pytest.raises(KeyError, match="Pass sample_key="):
        bs.tl.pseudobulk(imputed, sample_key="patient")
    with pytest.raises(ValueError, match="pass ref="):
        bs.tl.pseudobulk(imputed, sample_key="sample", n_draws=2)
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    bs.tl.predict(imputed, ref=fitted, key="ridge")
    assert bs.tl.pseudobulk(imputed, "ridge", sample_key="sample", min_predictability=None).n_obs == 3
    with pytest.raises(KeyError, match=r"pass n_draws=0"):
        bs.tl.pseudobulk(imputed, "ridge", sample_key="sample", min_predictability=None, n_draws=2, ref=fitted)
    imputed.obsm["bleep_weights"] = imputed.obsm["bleep_weights"][:, :-1]
    with pytest.raises(ValueError, match="a concatenation cut it"):
        bs.tl.pseudobulk(imputed, sample_key="sample", n_draws=2, ref=fitted)


def test_it_survives_a_file(imputed, fitted, tmp_path):
    bulk = bs.tl.pseudobulk(imputed, sample_key="sample", n_draws=1, ref=fitted)
    bulk.write_h5ad(tmp_path / "bulk.h5ad")
    again = ad.read_h5ad(tmp_path / "bulk.h5ad")
    np.testing.assert_array_equal(again.layers["draw_0"], bulk.layers["draw_0"])
    assert again.uns["pseudobulk"] == bulk.uns["pseudobulk"]


def test_a_slide_that_lost_a_tissue_differs_by_it_unless_features_are_in_units_of_their_slide(reference, query):
    """Slope of the predicted on the measured change of the zonated genes, as portal tissue is lost."""
    lost = (query.obs["zonation"] < 0.4) & (np.random.default_rng(0).random(query.n_obs) < 0.75)
    zonated = query.var["program"].isin(["pericentral", "periportal"]).to_numpy()
    less = query[~lost].copy()
    measured = (less.X.mean(axis=0) - query.X.mean(axis=0)).A1[zonated]
    slopes = {}
    for view in ("aligned", "scaled"):
        config = bs.tl.FitConfig(views=(view,), max_epochs=30, n_dims=64)
        bs.tl.fit(reference, use_rep="X_stain_stats", config=config, show_progress_bar=False)
        means = [bs.tl.impute(each, ref=reference, copy=True).layers["bleep"].mean(axis=0) for each in (less, query)]
        predicted = (means[0] - means[1])[zonated]
        slopes[view] = (predicted * measured).sum() / np.square(measured).sum()
    assert slopes["aligned"] > slopes["scaled"] + 0.15, slopes
    assert slopes["aligned"] > 0.6, slopes
