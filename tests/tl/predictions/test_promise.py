"""What the record, the log and the warning say of intervals and confidence, by whose the reference and the query are."""

import logging

import numpy as np
import pytest

import bleep_sc as bs

QUICK = bs.tl.FitConfig(max_epochs=5, n_dims=16, views=("scaled",), n_neighbors=20)
SHARE = 0.8
OF_CLEO = "the reference is of one donor, 'Ada', and the query is of 'Cleo': what another can expect is not known"


@pytest.fixture(scope="module")
def tissue():
    """Three slices of toy tissue, the last of which is the query."""
    import scanpy as sc

    adata = bs.datasets.toy(n_slices=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=24, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.select_genes(adata, batch_key="library_id", n_top_genes=30)
    return adata


def fitted_on(tissue, donors):
    """The first two slices, of these donors; None does not tell."""
    ref = tissue[tissue.obs["library_id"] != "slice3"].copy()
    if donors is not None:
        ref.obs["patient"] = ref.obs["library_id"].map(dict(zip(["slice1", "slice2"], donors, strict=True))).to_numpy()
    bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    return ref


@pytest.fixture(scope="module")
def of_two(tissue):
    return fitted_on(tissue, ["Ada", "Bea"])


@pytest.fixture(scope="module")
def of_one(tissue):
    return fitted_on(tissue, ["Ada", "Ada"])


@pytest.fixture(scope="module")
def of_nobody(tissue):
    return fitted_on(tissue, None)


@pytest.fixture
def query(tissue):
    return tissue[tissue.obs["library_id"] == "slice3"].copy()


def said(query, caplog):
    """What the record says of intervals and confidence, and what the log says of intervals."""
    record = query.uns["bleep_imputed"]
    logged = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    return record["interval_of"], record["confidence_of"], [each for each in logged if each.startswith("Intervals")]


@pytest.mark.parametrize(
    ("reference", "donor", "basis"),
    [
        ("of_two", "Cleo", "donors"),
        ("of_two", None, "donors"),
        ("of_one", "Ada", "slides of one donor"),
        ("of_nobody", "Cleo", "slides"),
        ("of_nobody", None, "slides"),
    ],
)
def test_of_tissue_like_what_was_held_out_the_basis_is_named(request, query, caplog, reference, donor, basis):
    if donor is not None:
        query.obs["patient"] = donor
    bs.tl.impute(query, ref=request.getfixturevalue(reference), interval=SHARE)
    interval_of, confidence_of, logged = said(query, caplog)
    assert interval_of == basis == query.uns["bleep_imputed"]["predictability_of"]
    assert confidence_of == f"{basis}; a rank among spots that were held out"
    assert not logged
    assert query.var["bleep_predictability"].notna().any()


def test_of_another_donor_than_the_only_one_intervals_are_written_and_said_to_be_of_its_slides(
    query, of_one, of_nobody, caplog
):
    query.obs["patient"] = "Cleo"
    bs.tl.impute(query, ref=of_nobody, interval=SHARE)
    ends = [query.layers[f"bleep_{end}"].copy() for end in ("lower", "upper")]
    confidence = query.obs["bleep_confidence"].copy()
    bs.tl.impute(query, ref=of_one, interval=SHARE)
    interval_of, confidence_of, logged = said(query, caplog)
    assert interval_of == f"slides of one donor; not calibrated for this query: {OF_CLEO}"
    assert confidence_of == (
        "slides of one donor; a rank among spots that were held out, and not an error that can be expected of this "
        f"query: {OF_CLEO}"
    )
    assert logged == [
        "Intervals hold 0.8 of the measured values of slides like the reference's own; how many they hold here is not "
        "known."
    ]
    for end, before in zip(("lower", "upper"), ends, strict=True):  # they are those of the same slides
        np.testing.assert_array_equal(query.layers[f"bleep_{end}"], before)
    np.testing.assert_array_equal(query.obs["bleep_confidence"], confidence)
    assert query.var["bleep_predictability"].isna().all()


def test_nothing_is_said_of_intervals_that_were_not_asked_for(query, of_one, caplog):
    query.obs["patient"] = "Cleo"
    bs.tl.impute(query, ref=of_one, interval=SHARE)
    caplog.clear()
    bs.tl.impute(query, ref=of_one)
    assert {"interval", "interval_of"}.isdisjoint(query.uns["bleep_imputed"])
    assert query.uns["bleep_imputed"]["confidence_of"].startswith("slides of one donor; a rank")
    assert not any(each.getMessage().startswith("Intervals") for each in caplog.records)


def test_of_a_foreign_slide_the_warning_says_what_is_withheld(query, of_two, of_one, caplog):
    query.obs["patient"] = "Ada"
    patches = query.obsm["patches"].astype(np.float32)
    query.obsm["patches"] = np.clip(255 * (patches / 255) ** np.float32([2.0, 1.0, 0.5]), 0, 255).astype(np.uint8)
    bs.pp.image_features(query, "stain_stats", show_progress_bar=False)
    for ref, basis, like in ((of_two, "donors", "further donors"), (of_one, "slides of one donor", "slides")):
        caplog.clear()
        with pytest.warns(
            UserWarning,
            match=r"predictability is withheld \(var\['mine_predictability'\] is NaN, for all slides of this call\), and "
            f"intervals and confidence are calibrated on {like} like the reference's own, and not for such",
        ):
            bs.tl.impute(query, ref=ref, interval=SHARE, key_added="mine")
        why = "most of 'slice3' looks unlike the reference"
        record = query.uns["mine_imputed"]
        assert record["interval_of"] == f"{basis}; not calibrated for this query: {why}"
        assert record["confidence_of"].startswith(f"{basis}; a rank")
        assert record["confidence_of"].endswith(f"not an error that can be expected of this query: {why}")
        assert f"measured values of {like} like the reference's own; how many they hold here" in caplog.text
        assert query.var["mine_predictability"].isna().all()
        assert np.isfinite(query.layers["mine_upper"][:, query.var["mine_predicted"]]).any()


def test_without_anything_held_out_a_foreign_slide_lacks_nothing_that_was_promised(tissue, query):
    from dataclasses import replace

    ref = tissue[tissue.obs["library_id"] != "slice3"].copy()
    config = replace(QUICK, cross_fit=False)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    query.obsm["patches"] = (255 * (query.obsm["patches"] / 255) ** 2).astype(np.uint8)
    bs.pp.image_features(query, "stain_stats", show_progress_bar=False)
    with pytest.warns(UserWarning, match=r"Predictions there are a guess\. Look at"):
        bs.tl.impute(query, ref=ref)
    record = query.uns["bleep_imputed"]
    assert record["predictability_of"] == "nothing was held out when the reference was fitted"
    assert {"interval_of", "confidence_of"}.isdisjoint(record)
    assert {"bleep_confidence", "bleep_predictability"}.isdisjoint([*query.obs, *query.var])


@pytest.fixture(scope="module")
def alone(tissue):
    """The first slice."""
    ref = tissue[tissue.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    return ref


def test_parts_of_one_slide_rank_spots_and_change_no_prediction(tissue, alone, query, caplog):
    from dataclasses import replace

    model = bs.tl.load_model(alone)
    assert model.basis == "parts of one slide"
    assert "held out: other parts of the same slide, by which spots are ranked and no more is known" in repr(model)
    assert np.isnan(alone.var["bleep_predictability"]).all()
    assert "bleep_held_out" not in alone.obsm
    query.obs["patient"] = "Ada"
    bs.tl.impute(query, ref=alone)
    record = query.uns["bleep_imputed"]
    why = "only parts of the one slide of the reference were held out: what another can expect is not known"
    assert record["predictability_of"] == why
    assert record["confidence_of"].startswith("parts of one slide; a rank among spots that were held out, and not an")
    assert why in caplog.text
    assert query.var["bleep_predictability"].isna().all()
    assert "bleep_typicality" not in query.obs
    confidence = query.obs["bleep_confidence"]
    assert confidence.between(0, 1).all()
    assert confidence.nunique() > 100
    plain, config = tissue[tissue.obs["library_id"] == "slice1"].copy(), replace(QUICK, cross_fit=False)
    bs.tl.fit(plain, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.impute(query, ref=plain, key_added="plain")
    np.testing.assert_array_equal(query.layers["plain"], query.layers["bleep"])
    assert "plain_confidence" not in query.obs


def test_parts_of_one_slide_calibrate_no_intervals(alone, query):
    before = set(query.layers)
    with pytest.raises(ValueError, match=r"interval=0\.9 needs slides of the reference that were held out"):
        bs.tl.impute(query, ref=alone, interval=0.9)
    assert set(query.layers) == before


def test_one_slide_without_places_or_of_few_spots_is_not_cut(tissue, query):
    ref = tissue[tissue.obs["library_id"] == "slice1"].copy()
    few, lost = ref[:99].copy(), ref.copy()
    del lost.obsm["spatial"]
    for part in (few, lost):
        bs.tl.fit(part, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
        assert bs.tl.load_model(part).basis == ""
        assert "bleep_predictability" not in part.var
