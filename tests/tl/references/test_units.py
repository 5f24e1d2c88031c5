"""References in other units than the first: converted where that is exact, else refused."""

import json

import numpy as np
import pytest
import scanpy as sc

import bleep_sc as bs

CONFIG = bs.tl.FitConfig(max_epochs=3, n_dims=32, views=("scaled",))


def in_units(adata, total, base):
    adata = adata.copy()
    adata.X = adata.layers["counts"].copy()
    adata.uns.pop("log1p", None)
    sc.pp.normalize_total(adata, target_sum=total)
    sc.pp.log1p(adata, base=base)
    return adata


@pytest.fixture(scope="module")
def _slides(_toy):
    """A fitted slide, another one, and a query."""
    first, other, query = (_toy[_toy.obs["library_id"] == f"slice{i}"].copy() for i in (1, 2, 3))
    bs.pp.select_genes(first, batch_key="library_id", n_top_genes=40)
    bs.tl.fit(first, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    return first, other, query


@pytest.fixture
def slides(_slides):
    return [each.copy() for each in _slides]


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize(("total", "base"), [(1e6, None), (1e4, 2), (1e6, 10)])
def test_other_logarithms_predict_what_the_same_ones_do(slides, total, base, noted):
    first, other, query = slides
    alike = bs.tl.embed(other, first, expression=True, copy=True)
    converted = in_units(other, total, base)
    if not noted:
        del converted.uns["log1p"]
    bs.tl.embed(converted, first, expression=True)
    np.testing.assert_allclose(converted.obsm["X_bleep_expression"], alike.obsm["X_bleep_expression"], atol=1e-3)
    before = converted.X.copy()
    expected = bs.tl.impute(query, ref=[first, alike], copy=True)
    bs.tl.impute(query, ref=[first, converted])
    np.testing.assert_allclose(query.layers["bleep"], expected.layers["bleep"], atol=2e-3)
    assert query.uns["bleep_imputed"]["transform"] == "log1p"
    assert query.uns["bleep_imputed"]["target_sum"] == pytest.approx(1e4, rel=1e-3)
    assert (before != converted.X).nnz == 0
    draws = {"sample_key": "library_id", "min_predictability": None, "n_draws": 1}
    one = bs.tl.pseudobulk(expected, ref=[first, alike], **draws)
    two = bs.tl.pseudobulk(query, ref=[first, converted], **draws)
    np.testing.assert_allclose(two.layers["draw_0"], one.layers["draw_0"], atol=5e-3)


def test_a_reference_in_log2_says_so_wherever_it_goes(slides, tmp_path):
    first, other, query = slides
    first = in_units(first, 1e4, 2)
    bs.tl.fit(first, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    assert json.loads(first.uns["bleep"]["params"])["units"]["transform"] == "log2(1+x)"
    assert "log2(1+x) of counts per 10,000" in repr(bs.tl.load_model(first))
    bs.tl.share_reference(first, tmp_path / "shared")
    for ref in (first, bs.tl.load_reference(tmp_path / "shared")):
        bs.tl.impute(query, ref=ref)
        assert query.uns["bleep_imputed"]["transform"] == "log2(1+x)"
    assert bs.tl.to_anndata(query).uns["log1p"] == {"base": 2.0}
    with pytest.raises(ValueError, match=r"X holds logarithms of .*, but layers\['bleep'\] logarithms log2\(1\+x\) of"):
        bs.tl.score(query, "bleep")
    bs.tl.score(in_units_with(query, 2), "bleep")
    bs.tl.embed(other, first, expression=True)  # natural logarithms, converted
    own = bs.tl.embed(in_units(other, 1e4, 2), first, expression=True, copy=True)
    np.testing.assert_allclose(other.obsm["X_bleep_expression"], own.obsm["X_bleep_expression"], atol=1e-3)


@pytest.mark.parametrize("base", [2, 10])
def test_a_reference_in_log2_may_lose_genes_though_nothing_notes_its_base(slides, base):
    """Without a common total what the model recorded counts, and not the base e."""
    first, other, query = slides
    first, other = in_units(first, 1e4, base), in_units(other, 1e4, base)
    del first.uns["log1p"], other.uns["log1p"]
    bs.tl.fit(first, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    bs.tl.embed(other, first, expression=True)
    whole = bs.tl.impute(query, ref=[first, other], copy=True)
    fewer = [each[:, first.var["highly_variable"]].copy() for each in (first, other)]
    found, held = bs.tl.impute(query, ref=fewer, copy=True), fewer[0].var_names
    np.testing.assert_allclose(found[:, held].layers["bleep"], whole[:, held].layers["bleep"], atol=1e-5)
    assert found.uns["bleep_imputed"]["transform"] == f"log{base}(1+x)"
    wrong = fewer[0].copy()
    wrong.X = wrong.X / 2
    with pytest.raises(ValueError, match="is not what"):
        bs.tl.impute(query, ref=wrong)


def in_units_with(query, base):
    other = in_units(query, 1e4, base)
    other.uns["bleep_imputed"] = query.uns["bleep_imputed"]
    return other


def test_a_log2_reference_of_0_1_is_read_as_what_it_is(slides):
    """It was recorded as natural logarithms."""
    first, other, query = slides
    first = in_units(first, 1e4, 2)
    bs.tl.fit(first, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    expected = bs.tl.impute(query, ref=first, copy=True).layers["bleep"]
    record = first.uns["bleep"]
    params = {name: value for name, value in json.loads(record["params"]).items() if "measured" not in name}
    params["units"]["transform"] = "log1p"
    record["params"] = json.dumps(params)
    del record["checksum"], first.obs["bleep_checksum"]
    bs.tl.impute(query, ref=first)
    np.testing.assert_array_equal(query.layers["bleep"], expected)
    assert query.uns["bleep_imputed"]["transform"] == "log2(1+x)"
    natural = bs.tl.embed(other, first, expression=True, copy=True)
    same = bs.tl.embed(in_units(other, 1e4, 2), first, expression=True, copy=True)
    np.testing.assert_allclose(natural.obsm["X_bleep_expression"], same.obsm["X_bleep_expression"], atol=1e-3)


@pytest.mark.filterwarnings("ignore:Did not read zarr as consolidated")
def test_what_cannot_be_converted_is_refused(slides, tmp_path):
    import anndata as ad

    first, other, query = slides
    counts = other.copy()
    counts.X = counts.layers["counts"].copy()
    with pytest.raises(ValueError, match="looks like counts"):
        bs.tl.embed(counts, first, expression=True)
    converted = in_units(other, 1e6, None)
    bs.tl.embed(converted, first, expression=True)
    del converted.obsm["patches"], converted.uns["spatial"]
    converted.write_zarr(tmp_path / "other.zarr")
    lazy = ad.experimental.read_lazy(tmp_path / "other.zarr")
    with pytest.raises(
        ValueError, match=r"X of reference 2 .*, which is on disk, holds .*1,000,000.*10,000.*to_memory"
    ):
        bs.tl.impute(query, ref=[first, lazy])
    assert "bleep" not in query.layers


def test_one_fit_takes_one_unit(slides):
    import anndata as ad

    first, other, _ = slides
    keys = {"use_rep": "X_stain_stats", "show_progress_bar": False}
    for second in (in_units(other, 1e4, 2), in_units(other, 1e4, 10)):
        both = ad.concat([first, second], uns_merge="first")
        with pytest.raises(ValueError, match=r"adata.X means different things: slide 'slice1' holds .*'slice2'"):
            bs.tl.fit(both, config=CONFIG, **keys)
        with pytest.raises(ValueError, match=r"adata\.X means different things"):
            bs.tl.fit_ridge(both, use_rep="X_stain_stats")


def test_x_may_hold_anything_where_it_is_not_learnt_on(slides):
    import anndata as ad

    first, other, _ = slides
    both = ad.concat([first, in_units(other, 1e4, 2)], uns_merge="first", index_unique="-")
    both.obsm["X_corrected"] = np.random.default_rng(0).normal(size=(both.n_obs, 5)).astype(np.float32)
    bs.tl.fit(both, use_rep="X_stain_stats", target_rep="X_corrected", config=CONFIG, show_progress_bar=False)
    assert both.obsm["X_bleep_expression"].shape == (both.n_obs, 32)
