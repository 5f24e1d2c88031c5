import json

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
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    with pytest.raises(ValueError, match="ridge model, which has no joint embedding"):
        bs.tl.embed(query, fitted, key="ridge")
    other = fitted.copy()
    other.uns["bleep"] = {**fitted.uns["bleep"], "model": fitted.uns["bleep"]["model"][::-1].copy()}
    with pytest.raises(ValueError, match="adata holds another model in uns"):
        bs.tl.embed(other, fitted, expression=True)


def params(adata):
    return json.loads(adata.uns["bleep"]["params"])


def test_a_predicted_layer_is_embedded_like_measured_expression(fitted, query):
    bs.tl.impute(query, ref=fitted)
    measured = query.copy()
    measured.X = query.layers["bleep"].copy()
    del measured.layers["bleep"], measured.uns["bleep_imputed"]
    bs.tl.embed(measured, fitted, expression=True)
    bs.tl.embed(query, fitted, expression=True, layer="bleep")
    np.testing.assert_array_equal(query.obsm["X_bleep_expression"], measured.obsm["X_bleep_expression"])
    assert params(query)["reference_layer"] == "bleep"
    assert params(measured)["reference_layer"] is None
    alone = bs.tl.to_anndata(query)
    bs.tl.embed(alone, fitted, expression=True)
    np.testing.assert_array_equal(alone.obsm["X_bleep_expression"], measured.obsm["X_bleep_expression"])


def test_the_default_layer_is_that_of_the_fit_whoever_passes_the_model_on(fitted, query):
    bs.tl.impute(query, ref=fitted)
    bs.tl.embed(query, fitted, expression=True, layer="bleep")
    again = bs.tl.embed(fitted, query, expression=True, copy=True)
    assert params(again)["reference_layer"] is None
    np.testing.assert_allclose(again.obsm["X_bleep_expression"], fitted.obsm["X_bleep_expression"], atol=1e-5)


def test_a_prediction_needs_the_panel_and_nothing_else(fitted, query, tmp_path):
    genes = fitted.uns["bleep"]["genes"]
    bs.tl.impute(query, ref=fitted, genes=[*genes, "CYP3A4"], store=tmp_path / "bleep.zarr")
    bs.tl.embed(query, fitted, expression=True, layer="bleep")
    assert np.isfinite(query.obsm["X_bleep_expression"]).all()
    bs.tl.impute(query, ref=fitted, genes=genes[2:], key_added="part")
    before = set(query.obsm), query.obsm["X_bleep_expression"].copy(), query.uns["bleep"]
    message = rf"layers\['part'\] is a prediction without 2 of the model's .* genes, such as '{genes[0]}', '{genes[1]}'"
    with pytest.raises(KeyError, match=f"{message}.*Impute all genes of the panel first"):
        bs.tl.embed(query, fitted, expression=True, layer="part")
    assert set(query.obsm) == before[0]
    np.testing.assert_array_equal(query.obsm["X_bleep_expression"], before[1])
    assert query.uns["bleep"] is before[2]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"layer": "counts"}, ValueError, "layer='counts' is expression, which is embedded with expression=True"),
        ({"layer": "counts", "expression": True}, ValueError, r"layers\['counts'\] looks like counts"),
        ({"layer": "guess", "expression": True}, KeyError, r"layers\['guess'\] not found"),
        (
            {"layer": "in_counts", "expression": True},
            ValueError,
            r"in layers\['in_counts'\] holds counts, and not what",
        ),
    ],
)
def test_layers_that_cannot_be_embedded_are_named(fitted, query, kwargs, error, message):
    bs.tl.impute(query, ref=fitted, layer="counts", key_added="in_counts")
    with pytest.raises(error, match=message):
        bs.tl.embed(query, fitted, **kwargs)
    assert "X_bleep_expression" not in query.obsm
    assert "bleep" not in query.uns


def test_a_model_of_corrected_expression_embeds_no_layer(reference, query):
    bs.pp.batch_correct(reference, batch_key="library_id")
    config = bs.tl.FitConfig(max_epochs=2)
    bs.tl.fit(reference, use_rep="X_stain_stats", target_rep="X_harmony", config=config, show_progress_bar=False)
    with pytest.raises(
        ValueError, match=r"layer='bleep' cannot be embedded: the model was fitted on obsm\['X_harmony'\]"
    ):
        bs.tl.embed(query, reference, expression=True, layer="bleep")
