"""Slides of a reference that were sequenced far less deeply than the others."""

import json

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import bleep_sc as bs
from bleep_sc.tl import FitConfig

CONFIG = FitConfig(max_epochs=5, views=("scaled",))
FEW = "far fewer genes are detected in a spot"


def at_depth(adata, slide, share):
    """Thin the counts of a slide, and normalise all."""
    adata = adata.copy()
    counts = sparse.csr_matrix(adata.layers["counts"]).astype(np.int64)
    rows = np.repeat((adata.obs["library_id"] == slide).to_numpy(), np.diff(counts.indptr))
    counts.data[rows] = np.random.default_rng(0).binomial(counts.data[rows], share)
    counts.eliminate_zeros()
    adata.X = counts.astype(np.float32)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def parts(toy):
    """The deep slide, the shallow one, and the query."""
    whole = at_depth(toy, "slice2", 0.02)
    return [whole[whole.obs["library_id"] == f"slice{number}"].copy() for number in (1, 2, 3)]


def test_nothing_is_read_off_a_shallow_slide_that_was_embedded(parts):
    deep, shallow, query = parts
    bs.tl.fit(deep, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    bs.tl.embed(shallow, deep, expression=True)
    with pytest.warns(UserWarning, match=rf"'slice2' of the reference: {FEW}, \d+ \(\d+ counts\), than on the other"):
        bs.tl.impute(query, [deep, shallow])
    assert json.loads(query.uns["bleep_imputed"]["shares"])["slice2"] == 0
    alone = bs.tl.impute(query, deep, copy=True)
    np.testing.assert_allclose(query.layers["bleep"], alone.layers["bleep"], atol=1e-4)
    weights = query.obsm["bleep_weights"]
    np.testing.assert_array_equal(weights[:, : deep.n_obs].toarray(), alone.obsm["bleep_weights"].toarray())
    bs.tl.impute(query, shallow)  # alone it is what was asked for


def test_a_model_is_fitted_without_a_shallow_slide(parts, toy):
    deep, _, query = parts
    whole = at_depth(toy, "slice2", 0.02)
    both = whole[whole.obs["library_id"] != "slice3"].copy()
    with pytest.warns(UserWarning, match="The model is fitted without them"):
        bs.tl.fit(both, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    bs.tl.fit(deep, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    assert json.loads(both.uns["bleep"]["slides"]) == {"slice1": deep.n_obs}
    np.testing.assert_allclose(both.obsm["X_bleep_image"][: deep.n_obs], deep.obsm["X_bleep_image"], atol=1e-5)
    with pytest.warns(UserWarning, match=FEW):
        bs.tl.impute(query, both)
    np.testing.assert_allclose(query.layers["bleep"], bs.tl.impute(query, deep, copy=True).layers["bleep"], atol=1e-4)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_shallow_slide_on_disk_is_known_as_well(parts, tmp_path, kind):
    import anndata as ad

    deep, shallow, query = parts
    bs.tl.fit(deep, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    bs.tl.embed(shallow, deep, expression=True)
    assert sparse.issparse(shallow.X)
    if kind == "h5ad":
        shallow.write_h5ad(tmp_path / "shallow.h5ad")
        stored = ad.read_h5ad(tmp_path / "shallow.h5ad", backed="r")
    else:
        shallow.write_zarr(tmp_path / "shallow.zarr")
        stored = ad.experimental.read_lazy(tmp_path / "shallow.zarr")
    with pytest.warns(UserWarning, match=FEW):
        bs.tl.impute(query, [deep, stored])
    if kind == "h5ad":
        stored.file.close()
    assert json.loads(query.uns["bleep_imputed"]["shares"])["slice2"] == 0


def test_expression_may_be_of_half_precision(parts):
    deep, _, query = parts
    whole, half = deep.copy(), deep.copy()
    half.X = half.X.toarray().astype(np.float16)
    whole.X = half.X.astype(np.float32)
    for ref in (whole, half):
        bs.tl.fit(ref, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
        bs.tl.impute(query, ref, key_added=f"of_{ref.X.dtype}")
    np.testing.assert_allclose(query.layers["of_float16"], query.layers["of_float32"], atol=1e-4)


def test_a_slide_of_a_third_of_the_depth_is_read_off(toy):
    whole = at_depth(toy, "slice2", 0.6)
    ref, query = whole[whole.obs["library_id"] != "slice3"].copy(), whole[whole.obs["library_id"] == "slice3"].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    bs.tl.impute(query, ref)
    assert json.loads(query.uns["bleep_imputed"]["shares"])["slice2"] > 0
