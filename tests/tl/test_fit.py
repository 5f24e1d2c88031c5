import json

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import bleep_sc as bs
from bleep_sc.tl import FitConfig

QUICK = FitConfig(max_epochs=3)


def snapshot(adata):
    return set(adata.obsm), set(adata.uns), set(adata.layers), set(adata.var), set(adata.obs)


def test_what_is_written(reference):
    bs.tl.fit(reference, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    for key in ("X_bleep_image", "X_bleep_expression"):
        assert reference.obsm[key].shape == (reference.n_obs, 3 * 256)
        assert reference.obsm[key].dtype == np.float32
    record = reference.uns["bleep"]
    assert record["genes"].tolist() == reference.var_names[reference.var["highly_variable"]].tolist()
    assert len(record["history"]["loss"]) == 3
    assert json.loads(record["config"])["max_epochs"] == 3
    assert record["model"].dtype == np.uint8


def test_a_large_sparse_reference_is_fitted_to_the_same_weights(reference, monkeypatch):
    """Its rows are made dense batch by batch, in whatever order they are stored."""
    from bleep_sc._arrays import sparse_rows

    reference.X = sparse.csr_matrix(reference.X)
    others = [reference.copy(), reference.copy()]
    others[1].X = reference.X.tocsc()
    bs.tl.fit(reference, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    monkeypatch.setattr(sparse_rows, "DENSE_BYTES", 0)
    for other in others:
        bs.tl.fit(other, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
        for key in ("X_bleep_image", "X_bleep_expression"):
            np.testing.assert_array_equal(other.obsm[key], reference.obsm[key])
        np.testing.assert_allclose(other.obsm["bleep_held_out"], reference.obsm["bleep_held_out"], atol=1e-5)
        promised = [each.var["bleep_predictability"].to_numpy() for each in (other, reference)]
        np.testing.assert_allclose(*promised, atol=1e-4)


def test_several_features_are_put_side_by_side(reference):
    reference.obsm["X_more"] = np.random.default_rng(0).normal(size=(reference.n_obs, 4)).astype(np.float32)
    bs.tl.fit(reference, use_rep=["X_stain_stats", "X_more"], config=QUICK, show_progress_bar=False)
    assert bs.tl.load_model(reference).description.architecture["n_features"] == 40


def test_harmony_output_can_be_the_target(reference, query):
    bs.pp.batch_correct(reference, batch_key="library_id")
    bs.tl.fit(reference, use_rep="X_stain_stats", target_rep="X_harmony", config=QUICK, show_progress_bar=False)
    assert reference.uns["bleep"]["genes"].tolist() == reference.uns["X_harmony"]["var_names"].tolist()
    bs.tl.impute(query, ref=reference, target_rep="X_harmony", n_neighbors=5)
    record = query.uns["bleep_imputed"]
    assert record["corrected"]
    assert query.var["bleep_predicted"].sum() == reference.var["highly_variable"].sum()
    weights, genes = query.obsm["bleep_weights"], query.var["bleep_predicted"].to_numpy()
    expected = weights @ reference.obsm["X_harmony"]
    order = reference.uns["X_harmony"]["var_names"]
    columns = [list(order).index(gene) for gene in query.var_names[genes]]
    np.testing.assert_allclose(query.layers["bleep_retrieved"][:, genes], expected[:, columns], rtol=1e-4, atol=1e-5)


def test_patches_train_end_to_end_and_recover_zonation(toy):
    """From patches alone, with an encoder that starts from random weights: CYP3A4 on a slide that it never saw."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        *(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    normalised = bs.models.load_encoder(encoder, transform=lambda images: (images - 0.7) / 0.2)
    ref, query = (toy[mask].copy() for mask in (toy.obs["library_id"] != "slice3", toy.obs["library_id"] == "slice3"))
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    config = FitConfig(max_epochs=60, train_encoder=True, batch_size=128, temperature=1.0, cross_fit=False)
    bs.tl.fit(ref, encoder=normalised, config=config, show_progress_bar=False)
    loss = ref.uns["bleep"]["history"]["loss"]
    assert loss[-1] < 0.7 * loss[0]
    bs.tl.impute(query, ref=ref, encoder=normalised)
    bs.tl.score(query)
    assert query.var.loc["CYP3A4", "bleep_pearson"] > 0.6


def test_frozen_encoders_give_what_their_features_give(reference):
    by_features = bs.tl.fit(reference, use_rep="X_stain_stats", config=QUICK, copy=True, show_progress_bar=False)
    by_patches = bs.tl.fit(reference, encoder="stain_stats", config=QUICK, copy=True, show_progress_bar=False)
    np.testing.assert_allclose(by_features.obsm["X_bleep_image"], by_patches.obsm["X_bleep_image"], atol=1e-5)


def test_frozen_encoders_see_every_patch_once(reference):
    seen = []

    class Count(nn.Module):
        def forward(self, images):
            seen.append(len(images))
            return images.mean(dim=(2, 3))

    encoder = bs.models.load_encoder(Count(), transform=nn.Identity())
    bs.tl.fit(reference, encoder=encoder, config=QUICK, show_progress_bar=False)  # and a model for every slide left out
    assert "bleep_predictability" in reference.var
    assert sum(seen) == reference.n_obs


def test_models_of_a_version_without_a_setting_are_used_as_before(reference, query):
    bs.tl.fit(
        reference, use_rep="X_stain_stats", config=FitConfig(max_epochs=1, cross_fit=False), show_progress_bar=False
    )
    older = reference.copy()
    config = json.loads(older.uns["bleep"]["config"])
    del config["precision"]
    older.uns["bleep"] = {**older.uns["bleep"], "config": json.dumps(config)}
    del older.uns["bleep"]["checksum"]
    for ref, key in ((reference, "now"), (older, "then")):
        bs.tl.impute(query, ref=ref, key_added=key)
    np.testing.assert_array_equal(query.layers["now"], query.layers["then"])


def test_copy_and_key_added(reference):
    before = snapshot(reference)
    fitted = bs.tl.fit(
        reference, use_rep="X_stain_stats", config=QUICK, key_added="mine", copy=True, show_progress_bar=False
    )
    assert snapshot(reference) == before
    assert {"X_mine_image", "X_mine_expression"} <= set(fitted.obsm)
    assert "mine" in fitted.uns


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "message"),
    [
        (lambda a: None, {"use_rep": "X_none"}, KeyError, r"obsm\['X_none'\] not found .*bleep_sc.pp.image_features"),
        (
            lambda a: a.obsm.pop("patches"),
            {"use_rep": None},
            KeyError,
            r"obsm\['patches'\] not found .*extract_patches",
        ),
        (lambda a: None, {"layer": "counts"}, ValueError, r"layers\['counts'\] looks like counts, not logarithms"),
        (lambda a: None, {"layer": "logs"}, KeyError, r"layers\['logs'\] not found \(adata.layers has: 'counts'\)"),
        (lambda a: a.X.data.__setitem__(0, np.nan), {}, ValueError, "holds NaN or infinite values"),
        (lambda a: a.X.data.__setitem__(0, -1.0), {}, ValueError, "holds negative values"),
        (lambda a: a.X.data.__setitem__(slice(0, a.X.indptr[1]), 0), {}, ValueError, "1 empty spots.*filter_cells"),
        (
            lambda a: setattr(a, "var_names", ["GLUL" if gene == "HAL" else gene for gene in a.var_names]),
            {},
            ValueError,
            "not unique: 'GLUL'.*make_unique",
        ),
        (lambda a: a.X.data.__imul__(100), {}, ValueError, r"not logarithms \(largest value"),
        (lambda a: a.obsm["X_stain_stats"].__setitem__((0, 0), np.nan), {}, ValueError, "NaN or infinite"),
        (lambda a: None, {"encoder": "stain_stats"}, ValueError, "pass one of them"),
        (lambda a: None, {"target_rep": "X_harmony"}, KeyError, r"obsm\['X_harmony'\] not found .*batch_correct"),
        (lambda a: None, {"library_key": "slide"}, KeyError, r"obs\['slide'\] not found"),
        (lambda a: setattr(a, "var", a.var.assign(highly_variable=False)), {}, ValueError, "chooses no gene"),
    ],
)
def test_bad_input_leaves_the_adata_as_it_was(reference, change, kwargs, error, message):
    change(reference)
    before = snapshot(reference)
    with pytest.raises(error, match=message):
        bs.tl.fit(reference, **{"use_rep": "X_stain_stats", "config": QUICK, "show_progress_bar": False, **kwargs})
    assert snapshot(reference) == before


def test_a_failing_fit_keeps_the_old_model(fitted):
    before = fitted.uns["bleep"]["model"].copy()
    with pytest.raises(KeyError):
        bs.tl.fit(fitted, use_rep="X_none", config=QUICK)
    np.testing.assert_array_equal(fitted.uns["bleep"]["model"], before)


def test_a_backed_reference_is_refused(reference, tmp_path):
    reference.write_h5ad(tmp_path / "reference.h5ad")
    backed = ad.read_h5ad(tmp_path / "reference.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"adata\.X is on disk .*to_memory\(\)"):
        bs.tl.fit(backed, use_rep="X_stain_stats", config=QUICK)
    backed.file.close()


def test_slides_that_are_not_normalised_alike_are_warned_of(reference):
    values = reference.X.toarray()
    first = (reference.obs["library_id"] == "slice1").to_numpy()
    values[first] = np.log1p(100 * np.expm1(values[first]))
    reference.X = values
    with pytest.warns(UserWarning, match=r"not normalised alike .*slice1 1e\+06, slice2 1e\+04"):
        bs.tl.fit(reference, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)


@pytest.mark.parametrize("fit", [bs.tl.fit, bs.tl.fit_ridge])
@pytest.mark.parametrize("lacking", [[], ["array_row"], ["array_row", "spatial"]])
def test_several_slides_are_not_fitted_as_one(reference, fit, lacking):
    """Confidence and predictability would be dropped, and features taken in units of both slides."""
    reference.obs["sample"] = reference.obs.pop("library_id")
    reference.uns = {}
    for key in lacking:
        del (reference.obs if key in reference.obs else reference.obsm)[key]
    before = snapshot(reference)
    with pytest.raises(ValueError, match=r"obs\['sample'\] tells them apart: pass library_key='sample'"):
        fit(reference, use_rep="X_stain_stats")
    assert snapshot(reference) == before


def test_spots_off_tissue_are_counted(reference):
    reference.obs["in_tissue"] = np.r_[np.zeros(7), np.ones(reference.n_obs - 7)]
    with pytest.warns(UserWarning, match=rf"7 of {reference.n_obs} spots are off tissue"):
        bs.tl.fit_ridge(reference, use_rep="X_stain_stats")


def test_logarithms_of_counts_as_they_are_are_warned_of(reference):
    rng = np.random.default_rng(0)
    reference.X = np.log1p(rng.poisson(2.0, size=reference.shape)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"logarithm of whole counts: spots were not brought to one total"):
        bs.tl.fit(reference, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)


def test_a_checkpoint_gives_the_same_model_without_training_again(reference, tmp_path, monkeypatch):
    small = FitConfig(max_epochs=3, n_dims=8, views=("scaled",))
    how = {"use_rep": "X_stain_stats", "checkpoint_dir": tmp_path / "run", "copy": True, "show_progress_bar": False}
    first = bs.tl.fit(reference, config=small, **how)
    assert sorted(folder.name for folder in (tmp_path / "run").iterdir()) == ["fold1", "fold2", "model"]
    monkeypatch.setattr("bleep_sc.training.loop.batches", None)  # nothing is drawn any more
    again = bs.tl.fit(reference, config=small, **how)
    np.testing.assert_array_equal(first.uns["bleep"]["model"], again.uns["bleep"]["model"])
    assert first.uns["bleep"]["history"]["loss"] == pytest.approx(again.uns["bleep"]["history"]["loss"], abs=0)
    with pytest.raises(ValueError, match=r"config.max_epochs was 3 and is 4"):
        bs.tl.fit(reference, config=FitConfig(max_epochs=4, n_dims=8, views=("scaled",)), **how)


def test_several_devices_train_in_processes_of_their_own(reference, monkeypatch):
    class Started(Exception):
        pass

    def fit_in_processes(pairs, slides, *, devices, **how):
        raise Started(len(pairs), len(slides), *map(str, devices), how["random_state"])

    monkeypatch.setattr("bleep_sc.training.processes.launch.fit_in_processes", fit_in_processes)
    with pytest.raises(Started) as started:
        bs.tl.fit(reference, use_rep="X_stain_stats", devices=["cpu", "cpu"], random_state=3)
    assert started.value.args == (reference.n_obs, reference.n_obs, "cpu", "cpu", 3)
    with pytest.raises(ValueError, match=r"devices=\['cuda:0', 'cpu'\]: .*name one kind"):
        bs.tl.fit(reference, use_rep="X_stain_stats", devices=["cuda:0", "cpu"])
