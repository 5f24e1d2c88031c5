import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.models.embed import embed_expression, embed_images


def test_the_model_is_the_one_that_was_trained(fitted):
    model = bs.tl.load_model(fitted)
    images = embed_images(model.module, fitted.obsm["X_stain_stats"], fitted.obs["library_id"].to_numpy(dtype=str))
    expression = fitted[:, model.description.genes].X.toarray()
    np.testing.assert_allclose(images, fitted.obsm["X_bleep_image"], atol=1e-5)
    np.testing.assert_allclose(embed_expression(model.module, expression), fitted.obsm["X_bleep_expression"], atol=1e-5)


def test_it_survives_a_folder(fitted, tmp_path):
    model = bs.tl.load_model(fitted)
    bs.tl.save_model(fitted, tmp_path / "liver")
    loaded = bs.tl.load_model(tmp_path / "liver")
    assert loaded.description == model.description
    assert loaded.description.recipe["use_rep"] == ["X_stain_stats"]
    images = embed_images(loaded.module, fitted.obsm["X_stain_stats"], fitted.obs["library_id"].to_numpy(dtype=str))
    np.testing.assert_allclose(images, fitted.obsm["X_bleep_image"], atol=1e-5)


def test_no_model_is_said(query):
    with pytest.raises(KeyError, match=r"Run bleep_sc.tl.fit\(adata_ref\) first"):
        bs.tl.load_model(query)
