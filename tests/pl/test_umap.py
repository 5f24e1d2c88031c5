"""Predictions among measured profiles: where the legend stands, and what a colour is."""

import numpy as np
import pytest

import bleep_sc as bs


@pytest.fixture
def drawn(query):
    places = np.random.default_rng(0).normal(size=(query.n_obs, 2))
    query.obsm["X_bleep_umap"] = places
    library = np.resize(["slice1", "slice2"], query.n_obs)
    query.uns["bleep_umap"] = {"reference": places + 9, "reference_library": library, "lisi": 0.5, "silhouette": 0.5}
    return query


def test_legends_stand_where_scanpy_puts_them(drawn):
    names = ["slice1, measured", "slice2, measured", "bleep, predicted"]
    ax = bs.pl.umap(drawn, legend_loc="right margin")
    assert [text.get_text() for text in ax.get_legend().texts] == names
    ax.figure.canvas.draw()
    assert ax.get_window_extent().x1 < ax.get_legend().get_window_extent().x0 + 5
    on_data = bs.pl.umap(drawn, legend_loc="on data")
    assert on_data.get_legend() is None
    assert [text.get_text() for text in on_data.texts] == names
    middle = np.median(drawn.obsm["X_bleep_umap"], axis=0)
    np.testing.assert_allclose(on_data.texts[2].get_position(), middle)


def test_a_gene_is_no_colour(drawn):
    with pytest.raises(ValueError, match=r"color='HAL' is no colour.*sc\.pl\.embedding\(adata, 'X_bleep_umap'"):
        bs.pl.umap(drawn, color="HAL")
