"""What is promised of a query, by whose the reference and the query are."""

import json
import logging
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs

QUICK = bs.tl.FitConfig(max_epochs=5, n_dims=16, views=("scaled",), n_neighbors=20)


@pytest.fixture(scope="module")
def tissue():
    """Five slices of toy tissue: two donors of two slices, and a query of a third donor."""
    import scanpy as sc

    adata = bs.datasets.toy(n_slices=5)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=24, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.select_genes(adata, batch_key="library_id", n_top_genes=30)
    donors = dict(zip([f"slice{i}" for i in range(1, 6)], ["Ada", "Bea", "Ada", "Bea", "Cleo"], strict=True))
    adata.obs["patient"] = adata.obs["library_id"].map(donors).astype("category")
    return adata


def parts(tissue, *names):
    """The slices of these names, and the last one."""
    is_query = (tissue.obs["library_id"] == "slice5").to_numpy()
    ref, query = tissue[tissue.obs["library_id"].isin(names)].copy(), tissue[is_query].copy()
    return ref, query


@pytest.fixture(scope="module")
def of_two(tissue):
    ref, _ = parts(tissue, "slice1", "slice2", "slice3", "slice4")
    bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    return ref


@pytest.fixture(scope="module")
def of_one(tissue):
    ref, _ = parts(tissue, "slice1", "slice3")
    bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    return ref


def params_of(ref):
    return json.loads(ref.uns["bleep"]["params"])


def test_a_model_knows_whose_its_slides_are_and_what_was_held_out(of_two, of_one):
    params = params_of(of_two)
    assert params["donor_key"] == "patient"
    assert params["donors"] == {"slice1": "Ada", "slice2": "Bea", "slice3": "Ada", "slice4": "Bea"}
    two, one = bs.tl.load_model(of_two), bs.tl.load_model(of_one)
    assert (two.basis, one.basis) == ("donors", "slides of one donor")
    assert "donors: 2: Ada (slides: 2), Bea (slides: 2)" in repr(two)
    assert "held out: other donors: median Pearson r" in repr(two)
    assert "held out: another section of the same donor: median Pearson r" in one._repr_html_().replace(
        "</th><td>", ": "
    )


def test_a_given_column_wins_and_a_slide_of_two_donors_is_refused(tissue):
    ref, _ = parts(tissue, "slice1", "slice2")
    ref.obs["mouse"] = "M1"
    bs.tl.fit(ref, use_rep="X_stain_stats", donor_key="mouse", config=QUICK, show_progress_bar=False)
    assert bs.tl.load_model(ref).basis == "slides of one donor"
    ref, _ = parts(tissue, "slice1", "slice2")
    ref.obs["patient"] = ["Bea"] * 9 + ["Ada"] * (ref.n_obs - 9)
    before = ref.copy()
    with pytest.raises(ValueError, match="Slide 'slice1' is of 2 donors"):
        bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    assert (set(ref.uns), set(ref.obsm), set(ref.var)) == (set(before.uns), set(before.obsm), set(before.var))


def test_what_held_out_donors_reached_is_promised_of_any_query_like_them(tissue, of_two):
    _, query = parts(tissue)
    del query.obs["patient"]
    bs.tl.impute(query, ref=of_two)
    np.testing.assert_array_equal(query.var["bleep_predictability"], of_two.var["bleep_predictability"])
    assert query.uns["bleep_imputed"]["predictability_of"] == "donors"
    assert json.loads(query.uns["bleep_imputed"]["params"])["donor_key"] is None


def test_one_donor_promises_nothing_of_another(tissue, of_one, caplog):
    _, query = parts(tissue)
    for donor, why in (
        ("Cleo", "the query is of 'Cleo'"),
        (None, "whose the query is was not told"),
        (["Ada", "Cleo"], "the query is of 'Ada', 'Cleo'"),
    ):
        caplog.clear()
        query.obs["patient"] = np.resize(donor, query.n_obs) if isinstance(donor, list) else donor
        bs.tl.impute(query, ref=of_one)
        assert query.var["bleep_predictability"].isna().all()
        assert query.var["bleep_predictability"].dtype == np.float32
        said = query.uns["bleep_imputed"]["predictability_of"]
        assert said.startswith(f"the reference is of one donor, 'Ada', and {why}: what another can expect")
        (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert said in record.getMessage()
        assert "Fit on two donors or more; or, " in record.getMessage()
    assert of_one.var["bleep_predictability"].notna().any()  # of what it was learnt on
    assert {"bleep_confidence", "bleep_typicality"} <= set(query.obs)


def test_one_donor_promises_of_its_own_sections_what_others_of_it_reached(tissue, of_one, tmp_path):
    _, query = parts(tissue)
    del query.obs["patient"]
    query.obs["whose"] = "Ada"
    bs.tl.impute(query, ref=of_one, donor_key="whose")
    np.testing.assert_array_equal(query.var["bleep_predictability"], of_one.var["bleep_predictability"])
    assert query.uns["bleep_imputed"]["predictability_of"] == "slides of one donor"
    assert json.loads(query.uns["bleep_imputed"]["params"])["donor_key"] == "whose"
    query.obs["Donor"] = query.obs.pop("whose")  # under a name that is found
    of_one.write_h5ad(tmp_path / "ref.h5ad")
    bs.tl.impute(query, ref=ad.read_h5ad(tmp_path / "ref.h5ad"), key_added="again")
    np.testing.assert_array_equal(query.var["again_predictability"], query.var["bleep_predictability"])
    with pytest.raises(KeyError, match=r"obs\['nobody'\] not found"):
        bs.tl.impute(query, ref=of_one, donor_key="nobody")


def test_where_nobody_was_told_nothing_changes(tissue):
    """The bits are those of a reference without donors; and an earlier version noted none."""
    ref, query = parts(tissue, "slice1", "slice3")
    del ref.obs["patient"]
    bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    params = params_of(ref)
    assert params["donor_key"] is params["donors"] is None
    bs.tl.impute(query, ref=ref)
    assert query.uns["bleep_imputed"]["predictability_of"] == "slides"
    np.testing.assert_array_equal(query.var["bleep_predictability"], ref.var["bleep_predictability"])
    expected = query.layers["bleep"].copy()
    for name in ("donor_key", "donors"):
        del params[name]
    ref.uns["bleep"]["params"] = json.dumps(params)
    ref.uns["bleep"]["checksum"] = ""  # of 0.1.0
    assert "other slides; whose they are was not told" in repr(bs.tl.load_model(ref))
    bs.tl.impute(query, ref=ref)
    np.testing.assert_array_equal(query.layers["bleep"], expected)
    assert query.var["bleep_predictability"].notna().any()


def test_one_donor_and_none_told_teach_the_same(tissue, of_one):
    ref, _ = parts(tissue, "slice1", "slice3")
    del ref.obs["patient"]
    bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    np.testing.assert_array_equal(ref.uns["bleep"]["model"], of_one.uns["bleep"]["model"])


def test_a_foreign_slide_is_promised_nothing(tissue, of_two, of_one):
    _, query = parts(tissue)
    query.obs["patient"] = "Ada"
    patches = query.obsm["patches"].astype(np.float32)
    query.obsm["patches"] = np.clip(255 * (patches / 255) ** np.float32([2.0, 1.0, 0.5]), 0, 255).astype(np.uint8)
    bs.pp.image_features(query, "stain_stats", show_progress_bar=False)
    for ref, like in ((of_two, "further donors"), (of_one, "slides")):
        with pytest.warns(UserWarning, match=f"so does 5% of {like} like the reference's own"):
            bs.tl.impute(query, ref=ref)
        assert query.var["bleep_predictability"].isna().all()
        said = query.uns["bleep_imputed"]["predictability_of"]
        assert said == "most of 'slice5' looks unlike the reference"


def test_without_a_slide_to_hold_out_the_record_says_so(tissue):
    ref, query = parts(tissue, "slice1")
    bs.tl.fit(ref, use_rep="X_stain_stats", config=replace(QUICK, cross_fit=False), show_progress_bar=False)
    bs.tl.impute(query, ref=ref)
    assert "bleep_predictability" not in query.var
    assert query.uns["bleep_imputed"]["predictability_of"] == "nothing was held out when the reference was fitted"
    assert bs.tl.load_model(ref).basis == ""


def test_shallow_slides_of_a_donor_make_it_none(tissue):
    """The model is fitted without them, so that one donor is left, and slides of it are held out."""
    ref, _ = parts(tissue, "slice1", "slice2", "slice3")
    shallow = (ref.obs["patient"] == "Bea").to_numpy()
    counts = np.expm1(ref.X.toarray())
    counts[shallow] = np.where(counts[shallow] >= np.quantile(counts[shallow], 0.97), 1, 0)
    counts[shallow, 0] = 1
    ref.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    with pytest.warns(UserWarning, match="The model is fitted without them"):
        bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    assert params_of(ref)["donors"] == {"slice1": "Ada", "slice3": "Ada"}
    assert bs.tl.load_model(ref).basis == "slides of one donor"
    assert ref.var["bleep_predictability"].notna().any()


def test_what_reads_it_says_that_nothing_is_promised(tissue, of_one):
    _, query = parts(tissue)
    bs.tl.impute(query, ref=of_one, interval=0.8)
    panel = bs.pl.calibration(query)[2]
    assert not panel.collections
    assert " ".join(panel.texts[0].get_text().split()).startswith("not promised: the reference is of one donor, 'Ada'")
    with pytest.raises(ValueError, match=r"is NaN, so min_predictability=0\.2 .*: the reference is of one.*Pass min_"):
        bs.tl.pseudobulk(query, sample_key="library_id")
    assert bs.tl.pseudobulk(query, sample_key="library_id", min_predictability=None).n_obs == 1
    assert bs.tl.to_anndata(query).var["bleep_predictability"].isna().all()


def test_who_gets_a_reference_is_not_told_who_the_donors_are(tissue, of_two, of_one, tmp_path):
    for ref, said in (
        (of_two, "Whole donors were held out: expect this of another donor."),
        (of_one, "They are another section of the same donor, and all there is"),
    ):
        bs.tl.share_reference(ref, tmp_path / "shared", overwrite=True)
        card = (tmp_path / "shared" / "README.md").read_text()
        assert said in card
        text = "".join((tmp_path / "shared" / name).read_text() for name in ("README.md", "model.json"))
        assert "Bea" not in text
        assert "Ada" not in text
    donors = bs.tl.load_model(bs.tl.load_reference(tmp_path / "shared")).description.params["donors"]
    assert donors == dict.fromkeys(["reference_1", "reference_2"], "reference_donor_1")
    _, query = parts(tissue)
    query.obs["patient"] = "Ada"
    bs.tl.impute(query, ref=bs.tl.load_reference(tmp_path / "shared"))
    assert query.var["bleep_predictability"].isna().all()  # nothing says that it is the same
