import numpy as np
import pytest
from anndata import AnnData

import bleep_sc as bs
from bleep_sc.pp import _batch_correct


def two_batches(n_spots=120, n_genes=40, seed=0):
    """Two kinds of spots in two batches, of which the second is shifted."""
    rng = np.random.default_rng(seed)
    kind, batch = rng.integers(0, 2, n_spots), np.repeat([0, 1], [n_spots // 2, n_spots - n_spots // 2])
    centers, shift = rng.uniform(1, 4, (2, n_genes)), rng.uniform(0, 1.0, n_genes)
    values = centers[kind] + batch[:, None] * shift + 0.2 * rng.normal(size=(n_spots, n_genes))
    adata = AnnData(np.clip(values, 0, None).astype(np.float32))
    adata.obs["library_id"] = np.array(["a", "b"])[batch]
    adata.obs["kind"] = kind
    return adata


def share_of_batch(values, adata):
    """Share of the variance inside the kinds that the batch explains."""
    within = np.concatenate(
        [values[adata.obs["kind"] == k] - values[adata.obs["kind"] == k].mean(axis=0) for k in (0, 1)]
    )
    labels = np.concatenate([adata.obs["library_id"][adata.obs["kind"] == k] for k in (0, 1)])
    between = sum((labels == b).mean() * within[labels == b].mean(axis=0) ** 2 for b in "ab")
    return float(between.sum() / within.var(axis=0).sum())


@pytest.mark.parametrize("basis", ["genes", "pca"])
def test_the_shift_goes_and_the_kinds_stay(basis):
    adata = two_batches()
    before = adata.X.copy()
    bs.pp.batch_correct(adata, batch_key="library_id", basis=basis)
    corrected = adata.obsm["X_harmony"]
    assert corrected.dtype == np.float32
    assert share_of_batch(corrected, adata) < 0.2 * share_of_batch(adata.X, adata)
    kinds = adata.obs["kind"].to_numpy()
    difference = before[kinds == 0].mean(axis=0) - before[kinds == 1].mean(axis=0)
    kept = corrected[kinds == 0].mean(axis=0) - corrected[kinds == 1].mean(axis=0)
    assert np.corrcoef(difference, kept)[0, 1] > 0.95
    np.testing.assert_array_equal(adata.X, before)


@pytest.mark.parametrize("shape", [(60, 30), (60, 60), (60, 90)])
def test_output_is_spots_by_genes_whatever_the_shape(shape):
    adata = two_batches(*shape)
    bs.pp.batch_correct(adata, batch_key="library_id")
    corrected = adata.obsm["X_harmony"]
    assert corrected.shape == shape
    assert adata.uns["X_harmony"]["var_names"].tolist() == adata.var_names.tolist()
    centred, expected = corrected - corrected.mean(axis=0), adata.X - adata.X.mean(axis=0)
    assert np.corrcoef(centred.ravel(), expected.ravel())[0, 1] > 0.7
    if shape[0] == shape[1]:
        assert abs(np.corrcoef(centred.ravel(), expected.T.ravel())[0, 1]) < 0.3


def test_a_single_batch_is_left_alone(caplog):
    adata = two_batches()
    adata.obs["library_id"] = "a"
    bs.pp.batch_correct(adata, batch_key="library_id")
    np.testing.assert_array_equal(adata.obsm["X_harmony"], adata.X)
    assert "a single slide: there is nothing to correct" in caplog.text


def test_only_the_chosen_genes_are_corrected():
    adata = two_batches()
    adata.var["highly_variable"] = np.arange(adata.n_vars) % 2 == 0
    bs.pp.batch_correct(adata, batch_key="library_id", key_added="X_fixed")
    assert adata.obsm["X_fixed"].shape == (120, 20)
    assert adata.uns["X_fixed"]["var_names"].tolist() == adata.var_names[::2].tolist()


def test_genes_and_components_agree():
    by_genes, by_components = two_batches(), two_batches()
    bs.pp.batch_correct(by_genes, batch_key="library_id")
    bs.pp.batch_correct(by_components, batch_key="library_id", basis="pca")
    assert np.corrcoef(by_genes.obsm["X_harmony"].ravel(), by_components.obsm["X_harmony"].ravel())[0, 1] > 0.98


def test_bad_input(monkeypatch):
    adata = two_batches()
    with pytest.raises(ValueError, match="basis='umap' is not known"):
        bs.pp.batch_correct(adata, batch_key="library_id", basis="umap")
    with pytest.raises(KeyError, match=r"obs\['slide'\] not found"):
        bs.pp.batch_correct(adata, batch_key="slide")
    adata.X[0, 0] = -1
    with pytest.raises(ValueError, match="negative values"):
        bs.pp.batch_correct(adata, batch_key="library_id")
    monkeypatch.setattr(_batch_correct, "COPIES_IN_HARMONY", 10**12)
    adata.X[0, 0] = 1
    with pytest.raises(MemoryError, match="Use basis='pca'"):
        bs.pp.batch_correct(adata, batch_key="library_id")
    assert "X_harmony" not in adata.obsm
