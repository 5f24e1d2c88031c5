import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import anndata as ad
import numpy as np
import pytest
import torch
from torch import nn

import bleep_sc as bs
from bleep_sc._adata.spots import Spots
from bleep_sc.models import embed
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.models.smoothing import smoothed
from bleep_sc.tl import FitConfig, _impute
from bleep_sc.tl._models import inputs

QUICK = FitConfig(max_epochs=3)


def snapshot(adata):
    return set(adata.obsm), set(adata.uns), set(adata.layers), set(adata.var)


def test_predictions_are_means_of_the_spots_that_the_weights_name(fitted, query):
    bs.tl.impute(query, ref=fitted)
    weights = query.obsm["bleep_weights"]
    assert weights.shape == (query.n_obs, fitted.n_obs)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (weights.getnnz(axis=1) == 50).all()
    np.testing.assert_allclose(query.layers["bleep_retrieved"], weights @ fitted.X.toarray(), rtol=1e-4, atol=1e-5)
    assert query.layers["bleep"].dtype == np.float32
    assert query.var["bleep_predicted"].all()


def looked_for(fitted, query):
    """Embeddings of the query, averaged over tissue as the model was told to."""
    model = bs.tl.load_model(fitted)
    spots = Spots.of(query, model.description.params)
    return smoothed(query.obsm["X_bleep_image"], spots.slides, spots.centers_um, model.smoothing_um)


def test_neighbors_are_the_nearest_expression_embeddings(fitted, query):
    bs.tl.impute(query, ref=fitted, n_neighbors=3)
    image, expression = looked_for(fitted, query), fitted.obsm["X_bleep_expression"]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (image, expression)]
    nearest = np.argsort(-unit[0] @ unit[1].T, axis=1)[:, :3]
    found = query.obsm["bleep_weights"].indices.reshape(query.n_obs, 3)
    np.testing.assert_array_equal(np.sort(found), np.sort(nearest))


def test_the_query_is_never_asked_for_its_expression(fitted, query):
    bs.tl.impute(query, ref=fitted)
    blank = query.copy()
    del blank.layers["bleep"], blank.layers["counts"]
    blank.X = None
    bs.tl.impute(blank, ref=fitted)
    np.testing.assert_array_equal(blank.layers["bleep"], query.layers["bleep"])


def test_zonation_is_recovered_on_the_held_out_slide(fitted, query):
    bs.tl.impute(query, ref=fitted)
    predicted = query[:, "CYP3A4"].layers["bleep"].ravel()
    assert np.corrcoef(predicted, query.obs["zonation"])[0, 1] > 0.7


def test_the_record_says_what_the_numbers_are(fitted, query):
    bs.tl.impute(query, ref=fitted, key_added="guess")
    record = query.uns["guess_imputed"]
    assert (record["transform"], record["target_sum"], record["corrected"]) == ("log1p", 10000.0, False)
    assert record["n_reference"] == fitted.n_obs
    bs.tl.impute(query, ref=fitted, layer="counts", key_added="guess_counts")
    assert query.uns["guess_counts_imputed"]["transform"] == "counts"
    shuffled = fitted[::-1].copy()
    bs.tl.impute(query, ref=shuffled)
    assert query.uns["bleep_imputed"]["reference_hash"] != record["reference_hash"]
    assert query.uns["bleep_imputed"]["model_hash"] == record["model_hash"]
    np.testing.assert_allclose(query.layers["bleep"], query.layers["guess"], atol=1e-5)


def test_genes_can_be_chosen(fitted, query):
    bs.tl.impute(query, ref=fitted, genes=["CYP3A4", "GENE001"])
    assert set(query.var_names[query.var["bleep_predicted"]]) == {"CYP3A4", "GENE001"}
    others = query.layers["bleep"][:, ~query.var["bleep_predicted"]]
    assert np.isnan(others).all()
    with pytest.raises(KeyError, match=r"genes= asks for 'INS', which query.var_names does not have"):
        bs.tl.impute(query, ref=fitted, genes=["CYP3A4", "INS"])


def test_genes_of_query_and_reference_may_differ_in_order_and_number(fitted, query):
    bs.tl.impute(query, ref=fitted)
    extra = ad.concat([query[:, ::-1], query[:, :3].copy()[:, []]], axis="var", merge="same", uns_merge="same")
    part = fitted[:, 20:].copy()
    bs.tl.impute(extra, ref=part)
    measured = extra.var_names.isin(part.var_names)
    np.testing.assert_array_equal(extra.var["bleep_predicted"], measured)
    expected = query[:, extra.var_names[measured]].layers["bleep"]
    np.testing.assert_allclose(extra[:, measured].layers["bleep"], expected, atol=1e-5)


def test_ensembl_ids_are_matched_through_var(fitted, query):
    ids = [f"ENSG{i:011d}" for i in range(query.n_vars)]
    fitted.var["gene_ids"] = ids
    query.var_names = [f"{name}.{i % 7}" for i, name in enumerate(ids)]
    with pytest.raises(ValueError, match=r"share only 0 genes, .* The query has Ensembl ids, the reference symbols"):
        bs.tl.impute(query, ref=fitted)
    bs.tl.impute(query, ref=fitted, gene_key="gene_ids")
    assert query.var["bleep_predicted"].all()
    assert query.uns["bleep_imputed"]["gene_key"] == "gene_ids"


def test_other_species_and_other_panels_are_refused(fitted, query):
    mouse = query.copy()
    mouse.var_names = mouse.var_names.str.capitalize()
    with pytest.raises(ValueError, match="differ in upper and lower case"):
        bs.tl.impute(mouse, ref=fitted)
    query.var_names = [name if i < 100 else f"OTHER{i}" for i, name in enumerate(query.var_names)]
    with pytest.raises(ValueError, match="share only 100 genes, of 250 and 250"):
        bs.tl.impute(query, ref=fitted)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_saved_reference_is_complete(fitted, query, tmp_path, suffix):
    """Read in a new process, the reference gives the same numbers."""
    bs.tl.impute(query, ref=fitted)
    expected = query.layers["bleep"].copy()
    write = "write_h5ad" if suffix == "h5ad" else "write_zarr"
    blank = query.copy()
    for key in ("bleep_predicted",):
        del blank.var[key]
    del blank.layers["bleep"], blank.obsm["X_bleep_image"], blank.obsm["bleep_weights"], blank.uns["bleep_imputed"]
    getattr(fitted, write)(tmp_path / f"ref.{suffix}")
    getattr(blank, write)(tmp_path / f"query.{suffix}")
    script = f"""
import anndata as ad, numpy as np, torch, bleep_sc as bs
torch.set_num_threads(1)
read = getattr(ad, "read_{suffix}")
query = read(r"{tmp_path / f"query.{suffix}"}")
bs.tl.impute(query, ref=read(r"{tmp_path / f"ref.{suffix}"}"))
np.save(r"{tmp_path / "result.npy"}", query.layers["bleep"])
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), expected)


def test_several_references_are_searched_as_one(toy):
    slides = [toy[toy.obs["library_id"] == f"slice{i}"].copy() for i in (1, 2, 3)]
    first, second, query = slides
    bs.tl.fit(first, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    with pytest.raises(
        KeyError, match=r"There is no model in reference 2 \(slides: 'slice2'\).*tl.embed\(other, first"
    ):
        bs.tl.impute(query, ref=[first, second])
    bs.tl.embed(second, first, expression=True)
    bs.tl.impute(query, ref=[first, second], n_neighbors=20)
    both = ad.concat([first, second], uns_merge="first")
    single = query.copy()
    bs.tl.impute(single, ref=both, n_neighbors=20)
    np.testing.assert_allclose(query.layers["bleep"], single.layers["bleep"], atol=1e-5)
    assert query.obsm["bleep_weights"].shape[1] == first.n_obs + second.n_obs
    assert query.uns["bleep_imputed"]["reference_hash"] == single.uns["bleep_imputed"]["reference_hash"]
    bs.tl.fit(second, use_rep="X_stain_stats", config=QUICK, random_state=1, show_progress_bar=False)
    with pytest.raises(ValueError, match=r"by 2 different models.*reference 2 \(slides: 'slice2'\) by another"):
        bs.tl.impute(query, ref=[first, second])


def test_a_slide_in_query_and_reference_is_leakage(fitted):
    leaked = fitted[fitted.obs["library_id"] == "slice1"].copy()
    with pytest.warns(UserWarning, match="Slide 'slice1' is in the query and in the reference"):
        bs.tl.impute(leaked, ref=fitted)


def test_patches_are_encoded_as_the_recipe_says(fitted, query):
    bs.tl.impute(query, ref=fitted)
    expected = query.layers["bleep"].copy()
    del query.obsm["X_stain_stats"], query.uns["X_stain_stats"]
    bs.tl.impute(query, ref=fitted)
    np.testing.assert_allclose(query.layers["bleep"], expected, atol=1e-4)


def test_another_encoder_or_another_field_of_view_is_refused(fitted, query):
    before = snapshot(query)
    other = query.copy()
    other.uns["X_stain_stats"] = {**other.uns["X_stain_stats"], "fingerprint": "0" * 16}
    with pytest.raises(ValueError, match="computed by another encoder"):
        bs.tl.impute(other, ref=fitted)
    del query.obsm["X_stain_stats"]
    bs.pp.extract_patches(query, size=56, size_um=224)
    with pytest.raises(ValueError, match="show 224 µm of tissue, but the model was trained on 112 µm"):
        bs.tl.impute(query, ref=fitted)
    bs.pp.extract_patches(query, size=32, size_um=112)
    with pytest.raises(ValueError, match=r"32 px wide, but the model was trained on 56 px"):
        bs.tl.impute(query, ref=fitted)
    del query.obsm["patches"]
    how = r"extract_patches\(adata, size=56, size_um=112\), then bleep_sc.pp.image_features\(adata, 'stain_stats'\)"
    with pytest.raises(KeyError, match=rf"obsm\['X_stain_stats'\] not found .*{how}"):
        bs.tl.impute(query, ref=fitted)
    assert set(query.layers) == before[2]


def test_a_module_is_given_again_and_compared(reference, query):
    class Mean(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = nn.Parameter(nn.functional.softplus(nn.Parameter(__import__("torch").tensor(float(factor)))))

        def forward(self, images):
            return self.factor * images.mean(dim=(2, 3))

    encoder = bs.models.load_encoder(Mean(1), transform=nn.Identity())
    bs.tl.fit(reference, encoder=encoder, config=QUICK, show_progress_bar=False)
    with pytest.raises(ValueError, match="pass the same module as encoder="):
        bs.tl.impute(query, ref=reference)
    with pytest.raises(ValueError, match="has other weights"):
        bs.tl.impute(query, ref=reference, encoder=bs.models.load_encoder(Mean(2), transform=nn.Identity()))
    bs.tl.impute(query, ref=reference, encoder=encoder)
    assert np.isfinite(query.layers["bleep"]).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n_neighbors": 10_000}, ValueError, "n_neighbors=10000 must lie between 1 and the number of reference spots"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors=0 must be at least 1"),
        ({"key": "mine"}, KeyError, r"holds no model 'mine', and has 'bleep'\. Pass key='bleep'"),
        ({"layer": "logs"}, KeyError, r"layers\['logs'\] not found"),
        ({"layer": "counts", "target_rep": "X_harmony"}, ValueError, "pass one of them"),
    ],
)
def test_bad_input_leaves_the_query_as_it_was(fitted, query, kwargs, error, message):
    before = snapshot(query)
    with pytest.raises(error, match=message):
        bs.tl.impute(query, ref=fitted, **kwargs)
    assert snapshot(query) == before


@pytest.mark.filterwarnings("ignore:.*looks unlike the reference")
def test_a_small_reference_is_read_whole(reference, query):
    small = reference[::10].copy()
    assert small.n_obs < 50
    bs.tl.fit(small, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    with pytest.warns(UserWarning, match=f"has {small.n_obs} spots, fewer than n_neighbors=50: .* Pass a smaller"):
        bs.tl.impute(query, ref=small)
    told = bs.tl.impute(query, ref=small, n_neighbors=small.n_obs, copy=True)
    np.testing.assert_array_equal(query.layers["bleep"], told.layers["bleep"])
    with pytest.raises(ValueError, match="n_neighbors=50 must lie between 1"):
        bs.tl.impute(query, ref=small, n_neighbors=50, copy=True)


def test_a_reference_without_a_model_says_why(fitted, query):
    halves = [fitted[::2].copy(), fitted[1::2].copy()]
    with pytest.raises(
        KeyError, match=r"anndata.concat drops uns\): concatenate, then fit; or pass the parts as a list"
    ):
        bs.tl.impute(query, ref=ad.concat(halves))
    bs.tl.impute(query, ref=ad.concat(halves, uns_merge="first"))


def test_a_failing_call_keeps_the_old_prediction(fitted, query):
    bs.tl.impute(query, ref=fitted)
    before = query.layers["bleep"].copy()
    with pytest.raises(ValueError, match="n_neighbors"):
        bs.tl.impute(query, ref=fitted, n_neighbors=10_000)
    np.testing.assert_array_equal(query.layers["bleep"], before)


def test_copy(fitted, query):
    before = snapshot(query)
    result = bs.tl.impute(query, ref=fitted, copy=True)
    assert "bleep" in result.layers
    assert snapshot(query) == before


def test_the_layer_of_the_fit_is_what_is_averaged(reference, query):
    reference.layers["logs"] = reference.X.copy()
    reference.X = reference.layers["counts"].copy()
    config = bs.tl.FitConfig(max_epochs=3)
    bs.tl.fit(reference, use_rep="X_stain_stats", layer="logs", config=config, show_progress_bar=False)
    bs.tl.impute(query, ref=reference)
    expected = query.obsm["bleep_weights"] @ reference.layers["logs"].toarray()
    np.testing.assert_allclose(query.layers["bleep_retrieved"], expected, rtol=1e-4)
    assert query.uns["bleep_imputed"]["transform"] == "log1p"


def test_a_reference_whose_units_changed_after_the_fit_is_refused(fitted, query):
    fitted.X = fitted.layers["counts"].copy()
    with pytest.raises(ValueError, match="X of the reference holds counts, but the model was fitted on logarithms"):
        bs.tl.impute(query, ref=fitted)
    assert "bleep" not in query.layers


def test_a_query_without_genes_says_how_to_make_one(fitted, query):
    bare = ad.AnnData(obs=query.obs, obsm={"X_stain_stats": query.obsm["X_stain_stats"]})
    with pytest.raises(ValueError, match=r"no genes in var.*var=adata_ref.var\[\[\]\]"):
        bs.tl.impute(bare, ref=fitted)
    bare = ad.AnnData(obs=query.obs, var=fitted.var[[]], obsm={"X_stain_stats": query.obsm["X_stain_stats"]})
    bs.tl.impute(bare, ref=fitted)
    assert bare.var["bleep_predicted"].all()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"gene_key": "gene_idz"}, KeyError, "gene_key='gene_idz' is a column of var neither in the query"),
        ({"n_neighbors": 2.5}, TypeError, "n_neighbors=2.5 must be a whole number"),
        ({"ref": "reference.h5ad"}, TypeError, "ref='reference.h5ad' must be an AnnData or a list of them"),
        ({"ref": "shared"}, TypeError, r"Read it first: bleep_sc\.tl\.load_reference\(folder\) .*anndata\.read_h5ad"),
    ],
)
def test_slips_are_named(fitted, query, kwargs, error, message):
    with pytest.raises(error, match=message):
        bs.tl.impute(query, **{"ref": fitted, **kwargs})
    bs.tl.impute(query, ref=fitted, genes="CYP3A4")
    assert query.var_names[query.var["bleep_predicted"]].tolist() == ["CYP3A4"]


def test_a_stored_layer_holds_what_one_in_memory_holds(fitted, query, tmp_path, monkeypatch):
    monkeypatch.setattr("bleep_sc.tl._predictions.record.GENES", 64)
    monkeypatch.setattr("bleep_sc.tl._predictions.layers.SPOTS", 100)
    monkeypatch.setattr("bleep_sc.tl._predictions.record.SPOTS", 100)
    chosen = [*fitted.var_names[3:40], *fitted.var_names[200:203]]
    for i, genes in enumerate((None, chosen)):
        bs.tl.impute(query, ref=fitted, genes=genes)
        expected = query.layers["bleep"].copy()
        path = tmp_path / f"{i}.zarr"
        bs.tl.impute(query, ref=fitted, genes=genes, store=path, key_added="kept")
        np.testing.assert_allclose(np.asarray(query.layers["kept"]), expected, rtol=1e-6)
        assert query.layers["kept"].numblocks == (3, 4)
        assert sorted(tmp_path.iterdir())[-1] == path  # no drafts
        bs.tl.score(query, ["bleep", "kept"])
        scores = [query.uns[key]["pearson"] for key in ("kept_score", "bleep_score")]
        np.testing.assert_allclose(*scores, rtol=1e-4)
    monkeypatch.setattr(inputs, "images_for", None)  # what takes long is not begun
    with pytest.raises(FileExistsError, match=r"store=.*0\.zarr' exists already"):
        bs.tl.impute(query, ref=fitted, store=tmp_path / "0.zarr", key_added="kept")


def test_a_store_that_another_process_has_written_meanwhile_is_kept(fitted, query, tmp_path, monkeypatch):
    """It was not there when it was first looked for, and its writer has let go of the lock since."""
    from bleep_sc.tl._predictions import record

    @contextmanager
    def late(path):
        path.mkdir()
        with held(path):
            yield

    held = record.held
    monkeypatch.setattr(record, "held", late)
    monkeypatch.setattr("zarr.create_array", None)  # what takes long is not begun
    with pytest.raises(FileExistsError, match=r"store=.*a\.zarr' exists already"):
        bs.tl.impute(query, ref=fitted, store=tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zarr"]
    assert "bleep" not in query.layers


def test_a_call_that_fails_leaves_no_store(fitted, query, tmp_path, monkeypatch):
    def warn(*args):
        raise UserWarning("as an error")

    monkeypatch.setattr(_impute, "warn_of_foreign_slides", warn)
    with pytest.raises(UserWarning, match="as an error"):
        bs.tl.impute(query, ref=fitted, store=tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_store_is_not_taken_for_a_whole_one(fitted, query, tmp_path, monkeypatch):
    from bleep_sc.models import retrieval

    def interrupted(*args, **kwargs):
        yield from list(averages(*args, **kwargs))[:1]
        raise KeyboardInterrupt

    averages = retrieval.averages
    monkeypatch.setattr(retrieval, "averages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bs.tl.impute(query, ref=fitted, store=tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []
    assert "bleep" not in query.layers


def test_the_prediction_is_a_step_from_what_was_retrieved_towards_a_regression(fitted, query):
    bs.tl.impute(query, ref=fitted)
    model = bs.tl.load_model(fitted)
    regression = EmbeddingRegression.fit(fitted.obsm["X_bleep_image"], model.description.config["regression_penalty"])
    values = fitted.X.toarray()
    regressed = regression.predict(looked_for(fitted, query), values)
    shrinkage = np.full(fitted.n_vars, model.calibration.typical_shrinkage)
    panel = fitted.var_names.get_indexer(model.description.genes)
    shrinkage[panel] = model.calibration.shrinkage
    assert len(set(shrinkage[panel])) > 10
    retrieved = query.layers["bleep_retrieved"]
    expected = np.clip(retrieved + shrinkage * (regressed - retrieved), values.min(axis=0), values.max(axis=0))
    np.testing.assert_allclose(query.layers["bleep"], expected, rtol=1e-3, atol=1e-3)


def test_intervals_hold_about_their_share_of_a_slide_that_was_never_seen(fitted, query):
    bs.tl.impute(query, ref=fitted, interval=0.9)
    genes = fitted.var["highly_variable"].to_numpy()
    lower, upper, middle = (query.layers[key] for key in ("bleep_lower", "bleep_upper", "bleep"))
    assert np.isnan(lower[:, ~genes]).all()
    assert (lower[:, genes] <= upper[:, genes]).all()
    assert lower[:, genes].min() >= 0
    inside = (query.X.toarray() >= lower - 1e-5) & (query.X.toarray() <= upper + 1e-5)
    assert 0.85 < inside[:, genes].mean() < 0.97
    assert ((middle >= lower - 1e-5) & (middle <= upper + 1e-5))[:, genes].mean() > 0.95
    narrow = bs.tl.impute(query, ref=fitted, interval=0.5, copy=True)
    assert (narrow.layers["bleep_upper"] - narrow.layers["bleep_lower"])[:, genes].mean() < (upper - lower)[
        :, genes
    ].mean()
    assert query.uns["bleep_imputed"]["interval"] == 0.9
    bs.tl.impute(query, ref=fitted)
    assert "bleep_lower" not in query.layers  # they belonged to the prediction that was replaced


def test_confidence_lies_between_zero_and_one_and_is_lower_for_noise(fitted, query):
    bs.tl.impute(query, ref=fitted)
    confidence = query.obs["bleep_confidence"]
    assert confidence.between(0, 1).all()
    assert confidence.std() > 0.01
    strange = query.copy()
    strange.obsm["X_stain_stats"] = np.random.default_rng(0).permuted(query.obsm["X_stain_stats"], axis=0)
    bs.tl.impute(strange, ref=fitted)
    assert strange.obs["bleep_confidence"].mean() < confidence.mean()


def test_intervals_that_cannot_be_had_are_refused_before_anything_is_written(fitted, query, tmp_path):
    before = snapshot(query)
    for share in (0, 1.0, -0.1):
        with pytest.raises(ValueError, match=r"must lie between 0 and .*: the share of measured values"):
            bs.tl.impute(query, ref=fitted, interval=share)
    with pytest.raises(ValueError, match="writes layers in memory"):
        bs.tl.impute(query, ref=fitted, interval=0.9, store=tmp_path / "x.zarr")
    with pytest.raises(ValueError, match="is calibrated for what the model was fitted on"):
        bs.tl.impute(query, ref=fitted, interval=0.9, layer="counts")
    one = fitted[fitted.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(one, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    with pytest.raises(ValueError, match="Fit on two slides or more"):
        bs.tl.impute(query, ref=one, interval=0.9)
    assert snapshot(query) == before
    bs.tl.impute(query, ref=one)  # parts of the slide rank its spots, and promise nothing
    assert query.obs["bleep_confidence"].between(0, 1).all()
    assert query.var["bleep_predictability"].isna().all()


def test_every_fact_is_found_once(fitted, query):
    """Counted by the profiler: what a call has found out it hands on."""
    calls = Counter()

    def note(frame, event, _):
        if event == "call":
            calls[frame.f_code.co_name] += 1

    sys.setprofile(note)
    try:
        bs.tl.impute(query, ref=fitted, interval=0.9)
    finally:
        sys.setprofile(None)
    assert calls["from_bytes"] == calls["require_model"] == calls["read_references"] == 1
    assert calls["libraries"] == 2  # of the query and of the reference
    assert calls["position"] == 1  # of the genes in the panel
    assert calls["fit_lattice"] <= 1


def test_a_reference_of_version_0_1_is_read(fitted, query):
    """It says less of where things are, and more of how neighbours are weighed."""
    expected = bs.tl.impute(query, ref=fitted, copy=True)
    old = fitted.copy()
    params, config = (json.loads(fitted.uns["bleep"][name]) for name in ("params", "config"))
    del params["spatial_key"], params["pitch_um"], params["n_measured"], params["measured"]
    del old.uns["bleep"]["checksum"], old.obs["bleep_checksum"]
    weights = {"weights": "uniform", "softmax_temperature": 0.1}
    old.uns["bleep"] |= {"params": json.dumps(params), "config": json.dumps({**config, **weights}), "version": "0.1.0"}
    bs.tl.impute(query, ref=old)
    np.testing.assert_array_equal(query.layers["bleep"], expected.layers["bleep"])
    np.testing.assert_array_equal(query.obs["bleep_typicality"], expected.obs["bleep_typicality"])
    assert bs.tl.load_model(old).description.preset == bs.tl.load_model(fitted).description.preset
    old.uns["bleep"]["config"] = json.dumps({**config, **weights, "weights": "softmax"})
    with pytest.raises(ValueError, match=r"by bleep_sc 0.1.0 with FitConfig\(weights='softmax'\).*Fit it again"):
        bs.tl.impute(query, ref=old)


def test_spots_are_looked_for_where_the_tissue_around_them_is(reference, query):
    """As a model that was told says, and one by hand; embeddings are written as they are."""
    config = replace(QUICK, cross_fit=False, views=("raw",), smoothing_um=80.0)
    bs.tl.fit(reference, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.impute(query, ref=reference, n_neighbors=7)
    alone = bs.tl.embed(query, reference, copy=True)
    np.testing.assert_allclose(query.obsm["X_bleep_image"], alone.obsm["X_bleep_image"], atol=1e-5)
    averaged = smoothed(
        query.obsm["X_bleep_image"], np.full(query.n_obs, "slice3"), query.obsm["spatial"].astype(float), 80.0
    )
    keys = reference.obsm["X_bleep_expression"]
    similarity = averaged @ (keys / np.linalg.norm(keys, axis=1, keepdims=True)).T
    expected = np.sort(np.argsort(-similarity, axis=1)[:, :7], axis=1)
    found = np.sort(query.obsm["bleep_weights"].indices.reshape(-1, 7), axis=1)
    assert (found == expected).mean() > 0.99
    unsmoothed = reference.copy()
    del unsmoothed.uns["bleep"]["checksum"]
    said = {**json.loads(reference.uns["bleep"]["config"]), "smoothing_um": 0.0}
    unsmoothed.uns["bleep"]["config"] = json.dumps(said)
    other = bs.tl.impute(query, ref=unsmoothed, n_neighbors=7, copy=True)
    assert (other.obsm["bleep_weights"] != query.obsm["bleep_weights"]).nnz > 100


@pytest.mark.parametrize("trained", [False, True])
def test_no_hub_is_asked_unless_the_user_names_the_encoder(reference, query, monkeypatch, trained):
    """A reference that names an encoder on a hub, its own or as the maker of its features."""
    timm, asked = pytest.importorskip("timm"), []
    name = "hf-hub:stranger/model"

    def create(model, **_):
        asked.append(model)
        raise OSError("not found")

    config = bs.tl.FitConfig(max_epochs=1, n_dims=8, views=("scaled",), train_encoder=trained, cross_fit=False)
    bs.tl.fit(reference, encoder="stain_stats", config=config, show_progress_bar=False)
    record = reference.uns["bleep"]
    del record["checksum"]
    for part in ("architecture", "recipe"):
        fields = json.loads(record[part])
        record[part] = json.dumps({**fields, **({"encoder": name} if "encoder" in fields else {})})
    monkeypatch.setattr(timm, "create_model", create)
    for call in (bs.tl.impute, bs.tl.embed, partial(bs.tl.predict, key="bleep")):
        with pytest.raises(ValueError, match=rf"fetched from a hub \(encoder=None\). If you trust .* encoder='{name}'"):
            call(query, reference)
        assert asked == []
        with pytest.raises(OSError, match=rf"The weights of encoder '{name}' could not be loaded"):
            call(query, reference, encoder=name)
        assert set(asked) == {name}
        asked.clear()
    if trained:
        with pytest.raises(ValueError, match="fetched from a hub"):
            bs.tl.load_model(reference)


def test_a_name_is_of_the_features_that_it_made_alone(reference, query, monkeypatch):
    """And several hubs may be named, each for its own."""
    from bleep_sc.models import encoders

    load, hubs = encoders.load_encoder, {}
    for i in (1, 2):
        name = f"hf-hub:someone/model{i}"
        hubs[name] = encoders.Encoder(nn.Sequential(nn.AdaptiveAvgPool2d(i), nn.Flatten()), nn.Identity(), name=name)
        bs.pp.image_features(reference, hubs[name], key_added=f"X_{i}", show_progress_bar=False)
    monkeypatch.setattr(encoders, "load_encoder", lambda name, **how: hubs[name] if name in hubs else load(name, **how))
    del query.obsm["X_stain_stats"]
    first, second = hubs
    for reps, named in ((["X_stain_stats", "X_1"], first), (["X_stain_stats", "X_1", "X_2"], [first, second])):
        bs.tl.fit(reference, use_rep=reps, config=QUICK, show_progress_bar=False)
        with pytest.raises(ValueError, match="would be fetched from a hub"):
            bs.tl.impute(query, ref=reference)
        with pytest.raises(
            ValueError, match=r"encoder='resnet18' is none of the encoders of the model \('stain_stats', 'hf-hub"
        ):
            bs.tl.impute(query, ref=reference, encoder="resnet18")
        bs.tl.impute(query, ref=reference, encoder=named)
    with pytest.raises(ValueError, match=f"names the encoder '{second}'"):
        bs.tl.impute(query, ref=reference, encoder=first)


def test_all_that_computes_is_handed_the_device(fitted, query, monkeypatch):
    """There is no other device here: what is handed over is seen, and what would run there is not run."""
    at = torch.device("meta")
    expected = bs.tl.impute(query, ref=fitted, device="cpu", copy=True)
    seen = []
    monkeypatch.setattr("bleep_sc.training.device.resolve_device", lambda device: seen.append(device) or at)

    embed_images = embed.embed_images

    def embedded(model, images, slides, *, device, **how):
        if len(images) != query.n_obs:  # spots of the reference, whose embeddings are checked
            return embed_images(model, images, slides, device=device, **how)
        seen.append(device)
        return expected.obsm["X_bleep_image"]

    def search(looked_for, *args, **kwargs):
        seen.append(looked_for.device)
        raise InterruptedError

    monkeypatch.setattr(embed, "embed_images", embedded)
    monkeypatch.setattr("bleep_sc.models.weighing.search", search)
    for call in (bs.tl.impute, bs.tl.predict):
        with pytest.raises(InterruptedError):
            call(query, ref=fitted, key="bleep", device="cuda:1")
    assert seen == ["cuda:1", at, at] * 2
    assert "bleep" not in query.layers


@pytest.mark.parametrize("call", [bs.tl.impute, bs.tl.predict, bs.tl.embed])
def test_a_device_that_is_not_there_is_named_with_those_that_are(fitted, query, call):
    with pytest.raises(ValueError, match=r"Device 'cuda:7' was asked for, and torch sees .*'cpu'\. Pass .*'auto'"):
        call(query, fitted, key="bleep", device="cuda:7")
    default, on_cpu = (bs.tl.impute(query, ref=fitted, device=device, copy=True) for device in ("auto", "cpu"))
    if not torch.cuda.is_available():
        np.testing.assert_array_equal(default.layers["bleep"], on_cpu.layers["bleep"])


@pytest.mark.filterwarnings("ignore:.*looks unlike the reference")
def test_an_encoder_of_pathology_is_fetched_only_where_one_of_its_names_is_given(reference, query, monkeypatch):
    """The name is in the record; the weights of a model that others made are not fetched because they say so."""
    from bleep_sc.models import pathology_networks

    built, network = [], nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten())
    monkeypatch.setattr(pathology_networks, "build", lambda row, **how: built.append(row.name) or network)
    reference, query = reference[::4].copy(), query[::20].copy()  # patches are enlarged to 224 px
    bs.pp.image_features(reference, "uni2", show_progress_bar=False)
    bs.tl.fit(reference, use_rep="X_uni2-h", config=QUICK, show_progress_bar=False)
    assert "uni2-h, frozen, on patches of 56 px" in repr(bs.tl.load_model(reference))
    built.clear()
    for encoder in (None, "uni"):
        with pytest.raises(ValueError, match=r"encoder='uni2-h'|none of the encoders of the model \('uni2-h'\)"):
            bs.tl.impute(query, ref=reference, encoder=encoder)
    assert built == []
    for encoder in ("UNI2-h", "hf-hub:MahmoodLab/UNI2-h", bs.models.load_encoder("uni_v2")):
        bs.tl.impute(query, ref=reference, encoder=encoder)
    assert set(built) == {"uni2-h"}
    network.append(nn.Linear(27, 27))
    with pytest.raises(ValueError, match="'uni2-h' has other weights, or another normalisation"):
        bs.tl.impute(query, ref=reference, encoder="uni2")
