"""References that grow: predictions as references, weights and shares."""

import json
import logging
import warnings
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.models.regression import EmbeddingRegression, unit

QUICK = bs.tl.FitConfig(max_epochs=3)


@pytest.fixture
def trio(toy):
    """A fitted slice, a slice that was imputed from it and made a reference, and a query."""
    first, imputed, query = (toy[toy.obs["library_id"] == f"slice{i}"].copy() for i in (1, 2, 3))
    bs.pp.select_genes(first, batch_key="library_id", n_top_genes=40)
    config = replace(QUICK, cross_fit=False)
    bs.tl.fit(first, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.impute(imputed, ref=first)
    bs.tl.embed(imputed, first, expression=True, layer="bleep")
    return first, imputed, query


def state(adata):
    return {slot: set(getattr(adata, slot)) for slot in ("obs", "var", "obsm", "layers", "uns")}


def test_every_reference_brings_its_own_layer(trio):
    first, imputed, query = trio
    imputed.X = imputed.layers["counts"].copy()  # never asked for
    bs.tl.impute(query, ref=[first, imputed])
    weights = query.obsm["bleep_weights"]
    values = np.vstack([first.X.toarray(), imputed.layers["bleep"]])
    np.testing.assert_allclose(query.layers["bleep_retrieved"], weights @ values, rtol=1e-4, atol=1e-5)
    assert json.loads(query.uns["bleep_imputed"]["params"])["layers"] == [None, "bleep"]
    as_measured = imputed.copy()
    as_measured.X = imputed.layers["bleep"].copy()
    del as_measured.layers["bleep"], as_measured.uns["bleep_imputed"]
    bs.tl.embed(as_measured, first, expression=True)
    other = query.copy()
    bs.tl.impute(other, ref=[first, as_measured])
    np.testing.assert_array_equal(other.layers["bleep"], query.layers["bleep"])
    assert "bleep_imputed_share" not in other.obs  # it was of the earlier prediction


def test_the_share_of_imputed_spots_is_the_weight_on_them(trio):
    first, imputed, query = trio
    bs.tl.impute(query, ref=[first, imputed])
    share = query.obs["bleep_imputed_share"]
    assert share.dtype == np.float32
    expected = query.obsm["bleep_weights"][:, first.n_obs :].sum(axis=1)
    np.testing.assert_allclose(share, np.asarray(expected).ravel(), rtol=1e-5)
    assert 0 < share.mean() < 1
    bs.tl.impute(query, ref=[first, imputed], layer="counts")  # what was measured there
    assert "bleep_imputed_share" not in query.obs
    bs.tl.impute(query, ref=imputed)
    np.testing.assert_allclose(query.obs["bleep_imputed_share"], 1, rtol=1e-5)
    alone = bs.tl.to_anndata(imputed)
    bs.tl.embed(alone, first, expression=True)
    bs.tl.impute(query, ref=[first, alone])
    np.testing.assert_allclose(query.obs["bleep_imputed_share"], share, rtol=1e-5)


def test_genes_are_those_that_every_reference_holds(trio):
    first, imputed, query = trio
    panel = first.uns["bleep"]["genes"].tolist()
    bs.tl.impute(imputed, ref=first, genes=panel)
    bs.tl.embed(imputed, first, expression=True, layer="bleep")
    bs.tl.impute(query, ref=[first, imputed])
    assert set(query.var_names[query.var["bleep_predicted"]]) == set(panel)
    assert np.isfinite(query[:, panel].layers["bleep"]).all()
    other = query.copy()
    outside = first.var_names.difference(panel)[0]
    message = rf"'{outside}', which were not predicted in layers\['bleep'\] of reference 2 \(slides: 'slice2'\)"
    with pytest.raises(KeyError, match=message):
        bs.tl.impute(other, ref=[first, imputed], genes=[panel[0], outside])
    np.testing.assert_array_equal(other.layers["bleep"], query.layers["bleep"])


def test_weights_multiply_those_of_the_neighbors(trio):
    first, imputed, query = trio
    bs.tl.impute(query, ref=[first, imputed])
    plain = query.copy()
    bs.tl.impute(query, ref=[first, imputed], ref_weights=[5, 0.5])
    counts = np.repeat([5, 0.5], [first.n_obs, imputed.n_obs]).astype(np.float32)
    expected = plain.obsm["bleep_weights"].toarray() * counts
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(query.obsm["bleep_weights"].toarray(), expected, rtol=1e-5)
    values = np.vstack([first.X.toarray(), imputed.layers["bleep"]])
    images = np.vstack([each.obsm["X_bleep_image"] for each in (first, imputed)])
    retrieved = query.layers["bleep_retrieved"]
    np.testing.assert_allclose(retrieved, expected @ values, rtol=1e-4, atol=1e-5)
    regressed = EmbeddingRegression.fit(images, 10.0, counts).predict(unit(query.obsm["X_bleep_image"]), values)
    step = np.clip(retrieved + 0.5 * (regressed - retrieved), values.min(axis=0), values.max(axis=0))
    np.testing.assert_allclose(query.layers["bleep"], step, rtol=1e-3, atol=1e-3)
    assert json.loads(query.uns["bleep_imputed"]["params"])["ref_weights"] == [5, 0.5]
    assert (query.obs["bleep_imputed_share"] <= plain.obs["bleep_imputed_share"]).all()
    bs.tl.impute(query, ref=[first, imputed], ref_weights=np.ones(2))
    np.testing.assert_allclose(query.layers["bleep"], plain.layers["bleep"], atol=1e-4)


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], 2.0, [1, 0], [1, -1], [1, np.nan], [np.inf, 1]])
def test_weights_that_mean_nothing_are_refused(trio, weights):
    first, imputed, query = trio
    before = state(query)
    with pytest.raises((ValueError, TypeError), match=r"ref_weights=.* must be (a list of|finite and above zero)"):
        bs.tl.impute(query, ref=[first, imputed], ref_weights=weights)
    with pytest.raises(ValueError, match="pass ref= as a list"):
        bs.tl.impute(query, ref=first, ref_weights=[1])
    assert state(query) == before


def test_shares_say_which_slide_was_read_off(trio, fitted, caplog):
    first, imputed, query = trio
    with caplog.at_level(logging.INFO, logger="bleep_sc"):
        bs.tl.impute(query, ref=[first, imputed])
    shares = json.loads(query.uns["bleep_imputed"]["shares"])
    weights = query.obsm["bleep_weights"]
    expected = {"slice1": weights[:, : first.n_obs].sum(), "slice2": weights[:, first.n_obs :].sum()}
    assert shares == pytest.approx({name: each / query.n_obs for name, each in expected.items()}, abs=1e-5)
    (line,) = [record.message for record in caplog.records if record.message.startswith("Weights are on")]
    assert all(f"{name} ({share:.1%})" in line for name, share in shares.items())
    imputed.obs["library_id"] = "slice1"
    bs.tl.impute(query, ref=[first, imputed])
    numbered = json.loads(query.uns["bleep_imputed"]["shares"])
    assert numbered == {"slice1 (1)": shares["slice1"], "slice1 (2)": shares["slice2"]}
    bs.tl.impute(query, ref=fitted)
    several = json.loads(query.uns["bleep_imputed"]["shares"])
    assert set(several) == {"slice1", "slice2"}
    assert sum(several.values()) == pytest.approx(1, abs=1e-5)


def test_what_an_earlier_prediction_knew_does_not_survive_the_next(fitted, trio, query):
    bs.tl.impute(query, ref=fitted, interval=0.9)
    assert {"bleep_confidence"} <= set(query.obs)
    first, imputed, _ = trio  # nothing was held out
    bs.tl.impute(query, ref=[first, imputed])
    assert not {"bleep_confidence", "bleep_predictability"} & (set(query.obs) | set(query.var))
    bs.tl.impute(query, ref=fitted)
    assert "bleep_imputed_share" not in query.obs
    assert {"bleep_confidence", "bleep_predictability"} <= set(query.obs) | set(query.var)


def test_references_that_disagree_are_named(trio):
    first, imputed, query = trio
    bs.tl.impute(query, ref=first)
    before, values = state(query), query.layers["bleep"].copy()
    part = imputed[:, imputed.var_names != "CYP3A4"].copy()
    with pytest.raises(
        ValueError, match=r"'CYP3A4' are in only one of reference 1 \(slides: 'slice1'\) and reference 2"
    ):
        bs.tl.impute(query, ref=[first, part])
    first.layers["raw"], imputed.layers["raw"] = first.X.copy(), imputed.layers["counts"].copy()
    with pytest.raises(ValueError, match=r"different things: reference 1 .* logarithms of .*, reference 2 .* counts"):
        bs.tl.impute(query, ref=[first, imputed], layer="raw")
    bare = imputed.copy()
    del bare.obsm["X_bleep_expression"]
    with pytest.raises(KeyError, match=r"obsm\['X_bleep_expression'\] not found"):
        bs.tl.impute(query, ref=[first, bare])
    spoilt = imputed.copy()
    spoilt.layers["bleep"][3, 5] = np.nan
    with pytest.raises(ValueError, match=r"The expression of reference 2 .* holds NaN"):
        bs.tl.impute(query, ref=[first, spoilt])
    changed = imputed.copy()
    changed.uns["bleep_imputed"] = {**imputed.uns["bleep_imputed"], "transform": "counts"}
    with pytest.raises(
        ValueError, match=r"different things: reference 1 .* logarithms of counts per 10,000, reference 2 .* counts"
    ):
        bs.tl.impute(query, ref=[first, changed])
    assert state(query) == before
    np.testing.assert_array_equal(query.layers["bleep"], values)


def test_confidence_and_intervals_are_had_with_a_reference_that_grew(fitted, query):
    one, rest = query[: query.n_obs // 2].copy(), query[query.n_obs // 2 :].copy()
    one.obs["library_id"] = "other"
    bs.tl.impute(one, ref=fitted)
    bs.tl.embed(one, fitted, expression=True, layer="bleep")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bs.tl.impute(rest, ref=[fitted, one], interval=0.9)
    assert rest.obs["bleep_confidence"].between(0, 1).all()
    assert rest.layers["bleep_lower"].shape == rest.shape


def test_a_grown_reference_survives_a_file(trio, tmp_path):
    first, imputed, query = trio
    bs.tl.impute(query, ref=[first, imputed], ref_weights=[1, 0.5])
    expected = query.layers["bleep"].copy()
    again = []
    for i, each in enumerate((first, imputed)):
        each.write_h5ad(tmp_path / f"{i}.h5ad")
        again.append(ad.read_h5ad(tmp_path / f"{i}.h5ad"))
    bs.tl.impute(query, ref=again, ref_weights=[1, 0.5])
    np.testing.assert_array_equal(query.layers["bleep"], expected)
    assert "bleep_imputed_share" in query.obs
