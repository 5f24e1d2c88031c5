"""HE2RNA and hist2RNA on AnnData: spots alone, and a table of bulk beside tiles."""

import anndata as ad
import dask.array as da
import numpy as np
import pytest
import scanpy as sc

import bleep_sc as bs

REP = "X_stain_stats"
QUICK = {
    "he2rna": {"config": bs.tl.HE2RNAConfig(n_hidden=8, max_epochs=2), "use_rep": REP, "show_progress_bar": False},
    "hist2rna": {"config": bs.tl.Hist2RNAConfig(n_hidden=8, max_epochs=2), "use_rep": REP, "show_progress_bar": False},
}
FIT = {"he2rna": bs.tl.fit_he2rna, "hist2rna": bs.tl.fit_hist2rna}


@pytest.fixture
def tiles(toy):
    """Tiles of the first two slides, with features and nothing that was measured."""
    part = toy[toy.obs["library_id"] != "slice3"]
    return ad.AnnData(
        obs=part.obs[["library_id"]].copy(),
        obsm={key: part.obsm[key].copy() for key in (REP, "spatial")},
        uns={REP: part.uns[REP]},
    )


@pytest.fixture
def bulk(toy):
    """The sum of the first two slides, forty genes, in the other order."""
    sums = sc.get.aggregate(toy[:, :40], by="library_id", func="sum", layer="counts")
    bulk = ad.AnnData(sums.layers["sum"], obs=sums.obs[[]], var=toy.var[[]].iloc[:40].copy())[
        ["slice2", "slice1"]
    ].copy()
    sc.pp.normalize_total(bulk, target_sum=1e6)
    sc.pp.log1p(bulk)
    return bulk


def tiles_of(tiles, samples):
    """The tiles of the first slide under the names of several samples."""
    first = tiles[tiles.obs["library_id"] == "slice1"]
    return ad.concat([first] * len(samples), keys=list(samples), label="library_id", index_unique="-", uns_merge="same")


@pytest.mark.parametrize("method", FIT)
def test_bulk_beside_tiles_is_read_out_per_spot(method, bulk, tiles, query, tmp_path):
    FIT[method](bulk, tiles, **QUICK[method])
    bs.tl.predict(query, ref=bulk, key=method)
    layer, record = np.asarray(query.layers[method]), query.uns[f"{method}_imputed"]
    assert query.var[f"{method}_predicted"].to_numpy().nonzero()[0].tolist() == list(range(40))
    assert np.isfinite(layer[:, :40]).all()
    assert np.isnan(layer[:, 40:]).all()
    assert layer[:, 0].std() > 0
    assert (record["transform"], record["target_sum"], record["n_reference"]) == ("log1p", 1e6, 2)
    model = bs.tl.load_model(bulk, method)
    assert model.description.slides == tiles.obs["library_id"].value_counts()[["slice1", "slice2"]].to_dict()
    bulk.write_h5ad(tmp_path / "bulk.h5ad")
    again = ad.read_h5ad(tmp_path / "bulk.h5ad")
    bs.tl.predict(query, ref=again, key=method, key_added="again")
    np.testing.assert_array_equal(query.layers["again"], layer)
    bs.tl.save_model(again, tmp_path / "model", method)
    assert repr(bs.tl.load_model(tmp_path / "model")) == repr(model)


@pytest.mark.parametrize("method", FIT)
def test_one_anndata_several_of_them_and_dask_are_the_same(method, bulk, tiles):
    parts = [tiles[tiles.obs["library_id"] == name].copy() for name in ("slice1", "slice2")]
    lazy = tiles.copy()
    lazy.obsm[REP] = da.from_array(tiles.obsm[REP], chunks=(100, 36))
    for key, given in (("one", tiles), ("several", parts), ("lazy", lazy)):
        FIT[method](bulk, given, **QUICK[method], key_added=key)
    for key in ("several", "lazy"):
        np.testing.assert_array_equal(bulk.uns[key]["model"], bulk.uns["one"]["model"])


def test_only_the_sum_of_a_slide_is_learnt_from(reference):
    """Expression that is shuffled among the spots of every slide gives the same model."""
    random, shuffled = np.random.default_rng(0), reference.copy()
    slides = reference.obs["library_id"].to_numpy()
    order = np.arange(reference.n_obs)
    for name in np.unique(slides):
        order[slides == name] = random.permutation(order[slides == name])
    shuffled.X = reference.X[order]
    for adata in (reference, shuffled):
        bs.tl.fit_hist2rna(adata, **QUICK["hist2rna"])
    one, other = (bs.tl.load_model(adata, "hist2rna").module.head.bias.detach() for adata in (reference, shuffled))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_slide_starts_from_the_logarithm_of_the_mean_of_its_spots(reference):
    config = bs.tl.Hist2RNAConfig(n_hidden=8, max_epochs=1, learning_rate=1e-12)
    bs.tl.fit_hist2rna(reference, use_rep=REP, config=config, show_progress_bar=False)
    chosen = reference[:, reference.var["highly_variable"]]
    slides = reference.obs["library_id"].to_numpy()
    linear = np.expm1(chosen.X.toarray().astype(np.float64))
    expected = np.mean([np.log1p(linear[slides == name].mean(axis=0)) for name in np.unique(slides)], axis=0)
    np.testing.assert_allclose(bs.tl.load_model(reference, "hist2rna").module.head.bias.detach(), expected, atol=1e-5)


def test_patients_with_several_slides_are_named_by_a_column(bulk, tiles):
    parts = tiles.obs["library_id"].astype(str) + np.where(np.arange(tiles.n_obs) % 2, "a", "b")
    tiles.obs["patient"], tiles.obs["library_id"] = tiles.obs["library_id"].astype(str), parts
    bs.tl.fit_he2rna(bulk, tiles, sample_key="patient", **QUICK["he2rna"])
    description = bs.tl.load_model(bulk, "he2rna").description
    assert list(description.slides) == ["slice1a", "slice1b", "slice2a", "slice2b"]
    assert (description.params["sample_key"], description.params["is_bulk"]) == ("patient", True)
    tiles.obs.loc[tiles.obs_names[0], "patient"] = "slice2"
    with pytest.raises(ValueError, match=r"Slide 'slice1b' is of 2 samples: obs\['patient'\].*has 'slice1', 'slice2'"):
        bs.tl.fit_he2rna(bulk, tiles, sample_key="patient", **QUICK["he2rna"])


def test_names_that_do_not_match_are_listed_both_ways(bulk, tiles):
    bulk.obs_names = ["P1", "slice1"]
    with pytest.raises(
        ValueError,
        match=r"1 slides of tiles= have no row in adata: 'slice2'; 1 rows of adata have no tiles: 'P1'.*sample_key=",
    ):
        bs.tl.fit_he2rna(bulk, tiles, **QUICK["he2rna"])
    bulk.obs_names = ["slice1", "slice1"]
    with pytest.raises(ValueError, match="not unique"):
        bs.tl.fit_he2rna(bulk, tiles, **QUICK["he2rna"])
    assert "he2rna" not in bulk.uns


def test_bad_tiles(bulk, tiles):
    how = QUICK["he2rna"]
    part = tiles[tiles.obs["library_id"] == "slice1"].copy()
    with pytest.raises(ValueError, match=r"Slide 'slice1' is in tiles\[1\] and in one before it"):
        bs.tl.fit_he2rna(bulk, [tiles, part], **how)
    with pytest.raises(ValueError, match=r"tiles=\[\] is empty"):
        bs.tl.fit_he2rna(bulk, [], **how)
    with pytest.raises(ValueError, match=r"sample_key='patient' .*Pass tiles="):
        bs.tl.fit_he2rna(bulk, sample_key="patient", **how)
    with pytest.raises(KeyError, match=r"obsm\['X_none'\] not found"):
        bs.tl.fit_he2rna(bulk, tiles, **{**how, "use_rep": "X_none"})
    other = tiles[tiles.obs["library_id"] == "slice2"].copy()
    other.uns[REP] = {**other.uns[REP], "fingerprint": "other"}
    with pytest.raises(ValueError, match="another encoder"):
        bs.tl.fit_he2rna(bulk, [part, other], **how)
    other.obsm[REP] = other.obsm[REP][:, :3]
    with pytest.raises(ValueError, match=r"obsm\['X_stain_stats'\] of tiles\[1\] has shape \(229, 3\)"):
        bs.tl.fit_he2rna(bulk, [part, other], **how)
    bulk.X = np.round(np.expm1(bulk.X))
    with pytest.raises(ValueError, match="looks like counts"):
        bs.tl.fit_he2rna(bulk, tiles, **how)


def test_samples_in_different_units_are_named(bulk, tiles):
    """Two cohorts in one table: natural logarithms of counts per million beside binary ones of as many."""
    table = ad.concat([bulk] * 4, keys=list("abcd"), index_unique="-")
    other = table.obs_names.str.endswith(("-c", "-d"))
    table.X[other] = table.X[other] / np.log(2)
    with pytest.raises(
        ValueError, match=r"means different things: log1p of .* in 4 rows.*; log2\(1\+x\) of .* in 4 rows"
    ):
        bs.tl.fit_he2rna(table, tiles_of(tiles, table.obs_names), **QUICK["he2rna"])
    assert "he2rna" not in table.uns


def test_samples_that_were_not_brought_to_one_total_are_warned_of(bulk, tiles):
    bulk.X[0] = np.log1p(np.expm1(bulk.X[0]) * 7)
    with pytest.warns(UserWarning, match="samples are not normalised alike: the total .* is 1e.06 for 'slice1' and 7e"):
        bs.tl.fit_he2rna(bulk, tiles, **QUICK["he2rna"])


def test_slides_of_one_sample_are_refused(bulk, tiles):
    tiles.obs["patient"] = "slice1"
    with pytest.raises(ValueError, match=r"All 2 slides are of one sample, 'slice1'"):
        bs.tl.fit_he2rna(bulk[["slice1"]].copy(), tiles, sample_key="patient", **QUICK["he2rna"])


def test_columns_of_the_table_are_not_taken_for_slides_and_known_slides_are_told(bulk, tiles, toy):
    several = ad.concat([bulk, bulk, bulk, bulk], index_unique="-")
    several.obs["patient"] = np.repeat(["P", "Q"], 4)
    parts = []
    for i in range(4):
        part = tiles.copy()
        part.obs["library_id"] = part.obs["library_id"].astype(str) + f"-{i}"
        parts.append(part)
    bs.tl.fit_hist2rna(several, parts, **QUICK["hist2rna"])
    assert bs.tl.load_model(several, "hist2rna").description.params["donor_key"] == "patient"
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    bs.tl.predict(query, ref=several, key="hist2rna")
    query.obs["library_id"] = "slice1-0"
    with pytest.warns(UserWarning, match=r"Slide 'slice1-0' is in the query .*the model was fitted on it"):
        bs.tl.predict(query, ref=several, key="hist2rna", key_added="again")
