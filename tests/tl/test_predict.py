import numpy as np
import pytest

import bleep_sc as bs


def test_bleep_is_served_like_any_method(fitted, query):
    imputed = bs.tl.impute(query, ref=fitted, copy=True)
    predicted = bs.tl.predict(query, ref=fitted, key="bleep", copy=True)
    np.testing.assert_array_equal(imputed.layers["bleep"], predicted.layers["bleep"])


def test_genes_are_written_by_name(fitted, query):
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    bs.tl.predict(query, ref=fitted, key="ridge")
    assert query.var["ridge_predicted"].sum() == fitted.var["highly_variable"].sum()
    assert np.isnan(query.layers["ridge"][:, ~query.var["ridge_predicted"]]).all()
    order = np.random.default_rng(0).permutation(query.n_vars)
    shuffled = query[:, order].copy()
    bs.tl.predict(shuffled, ref=fitted, key="ridge", key_added="again")
    np.testing.assert_array_equal(shuffled.layers["again"], query.layers["ridge"][:, order])
    some = query[:, query.var_names != query.var_names[query.var["ridge_predicted"]][3]].copy()
    bs.tl.predict(some, ref=fitted, key="ridge", key_added="again")
    np.testing.assert_array_equal(some.layers["again"], query[:, some.var_names].layers["ridge"])


def test_the_record_is_that_of_the_contract(fitted, query):
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    bs.tl.predict(query, ref=fitted, key="ridge")
    bs.tl.impute(query, ref=fitted)
    assert set(query.uns["ridge_imputed"]) | {"shares", "predictability_of", "confidence_of"} == set(
        query.uns["bleep_imputed"]
    )
    assert query.uns["ridge_imputed"]["method"] == "ridge"
    assert query.uns["ridge_imputed"]["target_sum"] == 10000.0


def test_bad_input(fitted, query):
    with pytest.raises(
        KeyError, match=r"^.The reference holds no model 'bleeb', and has 'bleep'\. Did you mean 'bleep'\?"
    ):
        bs.tl.predict(query, ref=fitted, key="bleeb")
    with pytest.raises(KeyError, match="The reference holds no model"):
        bs.tl.predict(query, ref=fitted, key="stnet")
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    query.var_names = [f"OTHER{i}" for i in range(query.n_vars)]
    with pytest.raises(ValueError, match="The query has only 0 of the 56 genes of the model"):
        bs.tl.predict(query, ref=fitted, key="ridge")
    assert "ridge" not in query.layers
