import numpy as np
import pytest

import bleep_sc as bs

REP = "X_stain_stats"


@pytest.fixture(scope="module")
def described(request):
    adata = bs.datasets.toy(n_slices=2)
    bs.pp.extract_patches(adata, size=32, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    return adata


def test_slides_are_apart_and_the_unit_is_micrometres(described):
    both = bs.pp.spatial_context(described, REP, radius_um=250, copy=True)
    assert f"{REP}_context" not in described.obsm
    first = described[described.obs["library_id"] == "slice1"].copy()
    first.obsm["spatial"] = first.obsm["spatial"] / 2
    bs.pp.spatial_context(first, REP, radius_um=250, mpp=2 * first.uns["patches"]["slice1"]["mpp"])
    mine = both[both.obs["library_id"] == "slice1"].obsm[f"{REP}_context"]
    np.testing.assert_allclose(first.obsm[f"{REP}_context"], mine, rtol=1e-5)
    assert mine.std(axis=0).mean() < 0.9 * first.obsm[REP].std(axis=0).mean()


def test_the_recipe_is_that_of_the_features_and_the_radius(described):
    result = bs.pp.spatial_context(described, REP, radius_um=250, key_added="X_wide", copy=True)
    assert result.uns["X_wide"] == {
        **described.uns[REP],
        "context_of": REP,
        "radius_um": 250.0,
        "library_key": "library_id",
        "spatial_key": "spatial",
    }


def test_a_query_without_context_gets_that_of_the_reference(described):
    import scanpy as sc

    adata = described.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ref, query = (adata[adata.obs["library_id"] == name].copy() for name in ("slice1", "slice2"))
    bs.pp.spatial_context(ref, REP, radius_um=250)
    config = bs.tl.FitConfig(max_epochs=3)
    bs.tl.fit(ref, use_rep=[REP, f"{REP}_context"], config=config, show_progress_bar=False)
    given = bs.pp.spatial_context(query, REP, radius_um=250, copy=True)
    bs.tl.impute(given, ref=ref)
    bs.tl.impute(query, ref=ref)
    np.testing.assert_allclose(query.layers["bleep"], given.layers["bleep"], rtol=1e-5)
    del query.obsm[REP]
    bs.tl.impute(query, ref=ref)
    np.testing.assert_allclose(query.layers["bleep"], given.layers["bleep"], rtol=1e-4)
    wrong = bs.pp.spatial_context(given, REP, radius_um=100, copy=True)
    with pytest.raises(ValueError, match="within 100 µm, but the model was trained on the tissue within 250 µm"):
        bs.tl.impute(wrong, ref=ref)


def test_what_cannot_work_is_refused(described):
    adata = described.copy()
    with pytest.raises(KeyError, match=r"obsm\['X_none'\] not found"):
        bs.pp.spatial_context(adata, "X_none", radius_um=100)
    with pytest.raises(ValueError, match="radius_um=0 must be positive"):
        bs.pp.spatial_context(adata, REP, radius_um=0)
    adata.uns.pop("patches")
    del adata.obs["array_row"]
    with pytest.raises(ValueError, match=r"µm per px of slide 'slice1' are not known"):
        bs.pp.spatial_context(adata, REP, radius_um=100)
    adata.obsm[REP] = np.full_like(adata.obsm[REP], np.nan)
    with pytest.raises(ValueError, match="NaN"):
        bs.pp.spatial_context(adata, REP, radius_um=100)
    assert f"{REP}_context" not in adata.obsm
