"""A prediction from elsewhere and one by the reference together: better where the former knows, untouched elsewhere."""

import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.training.stacking import stack, stacked


@pytest.fixture
def sides(fitted, query):
    """A made-up model: every other gene of the panel in units of its own, noise for the rest, and nothing outside."""
    random = np.random.default_rng(0)
    panel = fitted.var_names[fitted.var["highly_variable"]]
    for side in (fitted, query):
        truth = side[:, panel].X.toarray()
        seen = (
            5 - 40 * (np.arange(len(panel)) % 2 == 0) + 3 * truth + random.normal(0, 3 * truth.std(axis=0), truth.shape)
        )
        noise = random.normal(size=truth.shape)
        side.layers["theirs"] = np.full(side.shape, np.nan, dtype=np.float32)
        side.layers["theirs"][:, side.var_names.get_indexer(panel)] = np.where(
            np.arange(len(panel)) % 2 == 0, seen, noise
        )
    bs.tl.impute(query, fitted)
    return fitted, query, panel


def r(query, layer, genes):
    part = query[:, genes]
    return bs.metrics.pearson(np.asarray(part.layers[layer]), part.X.toarray())


def test_genes_that_it_knows_get_better_and_others_stay(sides):
    ref, query, panel = sides
    before = query.layers["bleep"].copy()
    bs.tl.correct_prediction(query, ref, "theirs")
    known, unknown = panel[::2], panel[1::2]
    gain = r(query, "theirs_corrected", known) - r(query, "bleep", known)
    assert np.nanmean(gain) > 0.05
    loss = r(query, "theirs_corrected", unknown) - r(query, "bleep", unknown)
    assert abs(np.nanmean(loss)) < 0.01
    outside = ~query.var_names.isin(panel)
    np.testing.assert_array_equal(query.layers["theirs_corrected"][:, outside], before[:, outside])
    np.testing.assert_array_equal(query.layers["bleep"], before)
    slope = query.var["theirs_corrected_slope"]
    assert slope[outside].isna().all()
    assert (slope[known] > 0).mean() > 0.9
    assert (slope[unknown] == 0).any()
    assert query.uns["theirs_corrected_imputed"]["corrected_from"] == "theirs"


def test_it_is_the_stack_of_the_held_out_spots(sides):
    ref, query, panel = sides
    bs.tl.correct_prediction(query, ref, "theirs")
    rows = np.isfinite(ref.obsm["bleep_held_out"]).all(axis=1)
    slides = ref.obs["library_id"].astype(str).to_numpy()[rows]
    columns = [ref.var_names.get_loc(gene) for gene in panel]
    learnt = stack(
        ref.X.toarray()[rows][:, columns],
        ref.obsm["bleep_held_out"][rows],
        ref.layers["theirs"][rows][:, columns],
        slides,
        slides,
    )
    own = np.asarray(query[:, panel].layers["bleep"])
    expected = stacked(own, np.asarray(query[:, panel].layers["theirs"]), np.full(query.n_obs, "slice3"), *learnt)
    np.testing.assert_allclose(query[:, panel].layers["theirs_corrected"], expected, atol=1e-5)
    np.testing.assert_allclose(query.var.loc[panel, "theirs_corrected_slope"], learnt[0], rtol=1e-6)


def test_nothing_of_the_query_is_learnt_from(sides):
    ref, query, _ = sides
    first = bs.tl.correct_prediction(query, ref, "theirs", copy=True)
    query.X = query.X * 0
    again = bs.tl.correct_prediction(query, ref, "theirs", copy=True)
    np.testing.assert_array_equal(first.layers["theirs_corrected"], again.layers["theirs_corrected"])


def test_a_ridge_regression_is_fitted_again_without_each_slide(sides, tmp_path):
    ref, query, panel = sides
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats")
    bs.tl.predict(query, ref, key="ridge")
    bs.tl.correct_prediction(query, ref, "theirs", by="ridge", key_added="both")
    held = np.empty((ref.n_obs, len(panel)))
    slides = ref.obs["library_id"].astype(str).to_numpy()
    for name in ("slice1", "slice2"):
        out = slides == name
        part, rest = ref[~out].copy(), ref[out].copy()
        bs.tl.fit_ridge(part, use_rep="X_stain_stats", key_added="other")
        bs.tl.predict(rest, part, key="other")
        held[out] = rest[:, panel].layers["other"]
    other = np.asarray(ref[:, panel].layers["theirs"])
    slope, _ = stack(ref[:, panel].X.toarray(), held, other, slides, slides)
    np.testing.assert_allclose(query.var.loc[panel, "both_slope"], slope, rtol=1e-4, atol=1e-6)
    assert np.nanmean(r(query, "both", panel[::2]) - r(query, "ridge", panel[::2])) > 0.05
    query.write_h5ad(tmp_path / "query.h5ad")
    bs.tl.score(query, "both")


def test_nothing_is_said_of_intervals_and_promises_that_it_has_not(sides):
    ref, query, _ = sides
    bs.tl.impute(query, ref, interval=0.9)
    bs.tl.correct_prediction(query, ref, "theirs")
    record = query.uns["theirs_corrected_imputed"]
    assert record["corrected_by"] == "bleep"
    assert not {"interval", "interval_of", "confidence_of", "predictability_of"} & set(record)
    assert {"interval", "interval_of", "predictability_of"} <= set(query.uns["bleep_imputed"])


def test_what_cannot_work_is_refused(sides):
    ref, query, _ = sides
    with pytest.raises(KeyError, match=r"layers?.*'none'"):
        bs.tl.correct_prediction(query, ref, "none")
    with pytest.raises(ValueError, match=r"layers\['bleep'\] of adata was predicted by bleep_sc"):
        bs.tl.correct_prediction(query, ref, "bleep")
    with pytest.raises(KeyError, match=r"layers\['theirs'\] is no prediction"):
        bs.tl.correct_prediction(query, ref, "theirs", by="theirs")
    bs.tl.restore_variance(query, ref)
    with pytest.raises(ValueError, match=r"layers\['bleep_restored'\] was made of layers\['bleep'\]"):
        bs.tl.correct_prediction(query, ref, "theirs", by="bleep_restored")
    with pytest.raises(ValueError, match=r"layers\['bleep'\] was predicted from another reference than ref="):
        bs.tl.correct_prediction(query, ref[::-1].copy(), "theirs")
    held = ref.obsm.pop("bleep_held_out")
    with pytest.raises(ValueError, match=r"obsm\['bleep_held_out'\] not found"):
        bs.tl.correct_prediction(query, ref, "theirs")
    ref.obsm["bleep_held_out"] = held
    ref.layers["theirs"][:] = np.nan
    with pytest.raises(ValueError, match=r"predicts no gene of the .* of the model on both sides"):
        bs.tl.correct_prediction(query, ref, "theirs")
