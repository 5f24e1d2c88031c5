import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch

import bleep_sc as bs
from bleep_sc._adata.spots import Spots
from bleep_sc.models import retrieval
from bleep_sc.models.anchors import anchor_weights
from bleep_sc.models.smoothing import smoothed
from bleep_sc.training import fold
from bleep_sc.training.pairs import Pairs

QUICK = bs.tl.FitConfig(max_epochs=3, n_dims=32, views=("raw",), smoothing_um=80.0)


@pytest.fixture(scope="module")
def _references(_toy):
    """The first two slices with models that weigh neighbours alike, and by anchors."""
    ref = _toy[_toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    for weights in ("uniform", "anchors"):
        config = replace(QUICK, neighbor_weights=weights)
        bs.tl.fit(ref, use_rep="X_stain_stats", config=config, key_added=weights, show_progress_bar=False)
    return ref


@pytest.fixture
def fitted(_references):
    return _references.copy()


def looked_for(ref, query):
    model = bs.tl.load_model(ref, "uniform")
    spots = Spots.of(query, model.description.params)
    return smoothed(query.obsm["X_uniform_image"], spots.slides, spots.centers_um, model.smoothing_um)


def test_anchors_are_found_in_the_joint_embedding(fitted, query):
    bs.tl.impute(query, ref=fitted, key="uniform", neighbor_weights="anchors", n_neighbors=20)
    found, weights = anchor_weights(
        looked_for(fitted, query),
        fitted.obsm["X_uniform_expression"],
        images=fitted.obsm["X_uniform_image"],
        slides=query.obs["library_id"].to_numpy(dtype=str),
        n_neighbors=20,
    )
    expected = retrieval.weight_matrix(found.index, weights, fitted.n_obs)
    matrix = query.obsm["uniform_weights"]
    np.testing.assert_allclose(matrix.toarray(), expected.toarray(), atol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    assert (matrix.data > 0).all()
    np.testing.assert_allclose(query.layers["uniform_retrieved"], matrix @ fitted.X.toarray(), rtol=1e-4, atol=1e-5)
    assert json.loads(query.uns["uniform_imputed"]["params"])["neighbor_weights"] == "anchors"


def test_weights_by_distance_are_of_embeddings_as_they_are(fitted, query):
    bs.tl.impute(query, ref=fitted, key="uniform", neighbor_weights="distance", n_neighbors=20)
    keys = fitted.obsm["X_uniform_expression"]
    _, index = retrieval.nearest(looked_for(fitted, query), keys, n_neighbors=20)
    weights = retrieval.distance_weights(query.obsm["X_uniform_image"], keys, index)
    expected = retrieval.weight_matrix(index, weights, fitted.n_obs).toarray()
    np.testing.assert_allclose(query.obsm["uniform_weights"].toarray(), expected, atol=1e-6)


def test_with_anchors_other_slides_of_the_query_change_nothing(fitted, query):
    twice = ad.concat([query, query[::2]], uns_merge="first", index_unique="-")
    twice.obs["library_id"] = np.repeat(["slice3", "slice4"], [query.n_obs, len(query[::2])])
    twice.uns["spatial"]["slice4"] = twice.uns["spatial"]["slice3"]
    together = bs.tl.impute(twice, ref=fitted, key="uniform", neighbor_weights="anchors", genes=["CYP3A4"], copy=True)
    alone = bs.tl.impute(query, ref=fitted, key="uniform", neighbor_weights="anchors", genes=["CYP3A4"], copy=True)
    weights = together.obsm["uniform_weights"][: query.n_obs].toarray()
    np.testing.assert_allclose(weights, alone.obsm["uniform_weights"].toarray(), atol=1e-6)
    half = together.obsm["uniform_weights"][query.n_obs :].toarray()
    assert np.abs(half - weights[::2]).max() > 0.01  # with other spots of its slide a spot is another


def test_nothing_is_promised_of_weights_that_held_out_tissue_was_not_predicted_with(fitted, query, caplog):
    bs.tl.impute(query, ref=fitted, key="uniform", neighbor_weights="anchors")
    assert query.var["uniform_predictability"].isna().all()
    said = query.uns["uniform_imputed"]["predictability_of"]
    assert said == "it is made with neighbor_weights='anchors', and tissue was held out with 'uniform'"
    assert "not an error that can be expected" in query.uns["uniform_imputed"]["confidence_of"]
    assert "Fit with FitConfig(neighbor_weights='anchors')." in caplog.text
    bs.tl.impute(query, ref=fitted, key="uniform", neighbor_weights="uniform")
    assert query.uns["uniform_imputed"]["predictability_of"] == "slides"


def test_a_model_remembers_its_weights_and_is_calibrated_with_them(fitted, query, tmp_path):
    bs.tl.impute(query, ref=fitted, key="anchors", interval=0.9)
    assert query.var["anchors_predictability"].notna().any()
    assert query.uns["anchors_imputed"]["interval_of"] == "slides"
    explicit = bs.tl.impute(query, ref=fitted, key="anchors", neighbor_weights="anchors", interval=0.9, copy=True)
    fitted.write_h5ad(tmp_path / "ref.h5ad")
    again = bs.tl.impute(query, ref=ad.read_h5ad(tmp_path / "ref.h5ad"), key="anchors", interval=0.9, copy=True)
    for name in ("anchors", "anchors_retrieved", "anchors_lower", "anchors_upper"):
        np.testing.assert_array_equal(query.layers[name], explicit.layers[name])
        np.testing.assert_array_equal(query.layers[name], again.layers[name])
    bs.tl.save_model(fitted, tmp_path / "model", "anchors")
    assert bs.tl.load_model(tmp_path / "model").description.config["neighbor_weights"] == "anchors"


def test_held_out_tissue_is_predicted_with_the_weights_of_the_configuration(monkeypatch):
    """All spots of a slide take part, and those that are kept are predicted."""
    rng = np.random.default_rng(0)
    query, images, keys = (rng.normal(size=(n, 6)).astype(np.float32) for n in (40, 50, 50))
    expression = rng.normal(size=(90, 3)).astype(np.float32)
    groups, kept, is_held_out = np.repeat(["a", "b", "c"], [20, 20, 50]), np.arange(0, 40, 3), np.arange(90) < 40
    pairs = Pairs(np.concatenate([query, images]), expression)  # as if they were embedded
    monkeypatch.setattr(fold, "embed_images", lambda model, images, *args, **kwargs: images)
    monkeypatch.setattr(fold, "embed_expression", lambda *args, **kwargs: keys)

    def predicted(weights):
        config = bs.tl.FitConfig(n_neighbors=9, regression=False, neighbor_weights=weights)
        found = fold.placed(None, pairs, groups, is_held_out, kept, None, (0.0,), config, torch.device("cpu"))
        return found.predict(0.0, expression)

    found, weights = anchor_weights(query, keys, images=images, slides=groups[:40], n_neighbors=9)
    expected = retrieval.weight_matrix(found.index, weights, 50) @ expression[40:]
    by_anchors = predicted("anchors")
    np.testing.assert_allclose(by_anchors["retrieved"], expected[kept], atol=1e-5)
    np.testing.assert_allclose(by_anchors["similarity"], (found.similarity * weights).sum(dim=1)[kept], atol=1e-5)
    _, index = retrieval.nearest(query, keys, n_neighbors=9)
    weights = retrieval.distance_weights(query, keys, index)
    expected = retrieval.weight_matrix(index, weights, 50) @ expression[40:]
    np.testing.assert_allclose(predicted("distance")["retrieved"], expected[kept], atol=1e-5)


def test_weights_that_are_not_known_are_refused(fitted, query):
    before = set(query.layers)
    with pytest.raises(ValueError, match="neighbor_weights='softmax' is not known; use 'uniform', 'distance' or 'anch"):
        bs.tl.impute(query, ref=fitted, key="uniform", neighbor_weights="softmax")
    assert set(query.layers) == before


def test_what_a_reference_counts_multiplies_the_weights_of_anchors(fitted, query):
    other = fitted[:40].copy()
    other.obs_names += "-2"
    weighted = bs.tl.impute(
        query,
        ref=[fitted, other],
        key="uniform",
        ref_weights=[1, 3],
        neighbor_weights="anchors",
        genes=["CYP3A4"],
        copy=True,
    ).obsm["uniform_weights"]
    plain = bs.tl.impute(
        query, ref=[fitted, other], key="uniform", neighbor_weights="anchors", genes=["CYP3A4"], copy=True
    ).obsm["uniform_weights"]
    expected = plain.toarray() * np.repeat([1, 3], [fitted.n_obs, 40])
    np.testing.assert_allclose(weighted.toarray(), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
