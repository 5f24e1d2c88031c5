import numpy as np
import pytest

import bleep_sc as bs


def test_the_reference_is_placed_where_fitting_placed_it(fitted):
    again = bs.tl.embed(fitted, fitted, expression=True, copy=True)
    for key in ("X_bleep_image", "X_bleep_expression"):
        np.testing.assert_allclose(again.obsm[key], fitted.obsm[key], atol=1e-5)


def test_images_alone_need_no_expression(fitted, query):
    query.X = None
    bs.tl.embed(query, fitted)
    assert query.obsm["X_bleep_image"].shape == (query.n_obs, 768)
    assert "X_bleep_expression" not in query.obsm
    assert "bleep" not in query.uns


def test_genes_are_taken_by_name(fitted, query):
    straight = bs.tl.embed(query, fitted, expression=True, copy=True)
    turned = bs.tl.embed(query[:, ::-1].copy(), fitted, expression=True, copy=True)
    np.testing.assert_allclose(straight.obsm["X_bleep_expression"], turned.obsm["X_bleep_expression"], atol=1e-5)


def test_bad_input(fitted, query):
    gene = fitted.uns["bleep"]["genes"][0]
    with pytest.raises(KeyError, match=f"1 of the model's .* genes are missing, among them .*{gene}"):
        bs.tl.embed(query[:, query.var_names != gene].copy(), fitted, expression=True)
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats", alphas=[1.0])
    with pytest.raises(ValueError, match="ridge model, which has no joint embedding"):
        bs.tl.embed(query, fitted, key="ridge")
    other = fitted.copy()
    other.uns["bleep"] = {**fitted.uns["bleep"], "model": fitted.uns["bleep"]["model"][::-1].copy()}
    with pytest.raises(ValueError, match="adata holds another model in uns"):
        bs.tl.embed(other, fitted, expression=True)
