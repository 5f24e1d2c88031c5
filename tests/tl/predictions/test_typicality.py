import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs


@pytest.fixture
def purple(query):
    """The query in another stain."""
    patches = query.obsm["patches"].astype(np.float32)
    query.obsm["patches"] = np.clip(255 * (patches / 255) ** np.float32([2.0, 1.0, 0.5]), 0, 255).astype(np.uint8)
    bs.pp.image_features(query, "stain_stats", show_progress_bar=False)
    return query


def test_tissue_like_the_reference_is_typical_and_other_stain_is_foreign(fitted, query):
    bs.tl.impute(query, ref=fitted)
    typicality = query.obs["bleep_typicality"]
    assert typicality.dtype == np.float32
    assert typicality.between(0, 1).all()
    assert (typicality < 0.05).mean() < 0.2


def test_another_stain_is_foreign_and_warned_of(fitted, purple):
    with pytest.warns(
        UserWarning, match=r"100% of slide 'slice3' looks unlike the reference \(obs\['bleep_typicality'"
    ):
        bs.tl.impute(purple, ref=fitted)
    assert (purple.obs["bleep_typicality"] < 0.05).all()


def test_it_is_the_same_from_a_file(fitted, query, tmp_path):
    bs.tl.impute(query, ref=fitted)
    before = query.obs["bleep_typicality"].copy()
    fitted.write_h5ad(tmp_path / "ref.h5ad")
    bs.tl.impute(query, ref=ad.read_h5ad(tmp_path / "ref.h5ad"))
    np.testing.assert_array_equal(query.obs["bleep_typicality"], before)


def test_without_places_it_is_left_open(fitted, query):
    bs.tl.impute(query, ref=fitted)
    del query.obsm["spatial"]
    bs.tl.impute(query, ref=fitted)
    assert "bleep_typicality" not in query.obs
    assert "bleep_confidence" in query.obs


def test_one_slide_teaches_nothing_of_it(fitted, query):
    alone = fitted[fitted.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(alone, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=2), show_progress_bar=False)
    bs.tl.impute(query, ref=alone)
    assert "bleep_typicality" not in query.obs
