import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy.spatial import cKDTree

import bleep_sc as bs
from bleep_sc.datasets import _toy
from bleep_sc.datasets._toy import MITOCHONDRIAL, PITCH_UM


def slides(adata):
    return [adata[adata.obs["library_id"] == name] for name in adata.obs["library_id"].cat.categories]


def gene(adata, name):
    return adata[:, name].X.toarray().ravel()


def test_a_seed_decides_everything(monkeypatch):
    monkeypatch.setattr(_toy, "_slice", _toy._slice.__wrapped__)  # each drawn, none remembered
    first, again, other = (bs.datasets.toy(n_slices=1, random_state=seed) for seed in (0, 0, 1))
    assert (first.X != again.X).nnz == 0
    np.testing.assert_array_equal(*(a.uns["spatial"]["slice1"]["images"]["hires"] for a in (first, again)))
    assert first.n_obs != other.n_obs or (first.X != other.X).nnz > 0
    with pytest.raises(ValueError, match="n_slices=0 must be at least 1"):
        bs.datasets.toy(n_slices=0)


def test_further_slices_change_none_before_them(monkeypatch):
    """So that the slices that these tests draw once are those that they would draw."""
    remembered = bs.datasets.toy(n_slices=2)
    monkeypatch.setattr(_toy, "_slice", _toy._slice.__wrapped__)
    drawn = bs.datasets.toy(n_slices=1)
    part = remembered[remembered.obs["library_id"] == "slice1"]
    assert (part.X != drawn.X).nnz == 0
    assert part.obs.astype(str).equals(drawn.obs.astype(str))
    np.testing.assert_array_equal(*(a.uns["spatial"]["slice1"]["images"]["hires"] for a in (part, drawn)))


def test_spots_stand_on_the_lattice_of_visium_and_on_tissue(toy):
    for slide in slides(toy):
        assert ((slide.obs["array_row"] + slide.obs["array_col"]) % 2 == 0).all()
        distance = cKDTree(slide.obsm["spatial"]).query(slide.obsm["spatial"], k=2)[0][:, 1]
        np.testing.assert_allclose(distance, PITCH_UM, rtol=1e-6)
        glass = (slide.obsm["patches"][:, 16:40, 16:40] > 225).all(axis=-1).mean(axis=(1, 2))
        assert np.median(glass) < 0.2
        assert (glass > 0.98).mean() < 0.03  # but for a few inside a vein


def test_counts_are_counts(toy):
    counts = toy.layers["counts"]
    assert counts.dtype == np.float32
    assert counts.min() >= 0
    assert (counts.data == np.round(counts.data)).all()
    good = ~toy.obs["low_quality"].to_numpy()
    assert 3000 < np.median(np.asarray(counts.sum(axis=1))[good]) < 20000
    none = toy[good][:, toy.var["program"] == "none"]
    mean, variance = (np.asarray(f(none.layers["counts"].toarray(), axis=0)) for f in (np.mean, np.var))
    assert (variance > mean).mean() > 0.95  # more spread than Poisson


def test_genes_follow_what_the_image_shows_on_every_slide(toy):
    for slide in slides(toy):
        zonation = slide.obs["zonation"]
        for name in ("CYP3A4", "CYP1A2", "CYP2E1"):
            assert np.corrcoef(gene(slide, name), zonation)[0, 1] > 0.6
        for name in ("FABP1", "HAL"):
            assert np.corrcoef(gene(slide, name), zonation)[0, 1] < -0.4
        assert np.corrcoef(gene(slide, "GLUL"), zonation)[0, 1] > 0.3
        none = [abs(np.corrcoef(gene(slide, f"GENE{i:03d}"), zonation)[0, 1]) for i in range(1, 100)]
        assert np.mean(none) < 0.12


def test_the_image_shows_the_zonation(toy):
    """A line through a few statistics of patches, fitted on two slides, finds it on the third."""
    train, test = toy[toy.obs["library_id"] != "slice3"], toy[toy.obs["library_id"] == "slice3"]
    design = [np.column_stack([np.ones(a.n_obs), a.obsm["X_stain_stats"]]) for a in (train, test)]
    weight = np.linalg.lstsq(
        design[0].T @ design[0] + 10 * np.eye(37), design[0].T @ train.obs["zonation"], rcond=None
    )[0]
    assert np.corrcoef(design[1] @ weight, test.obs["zonation"])[0, 1] > 0.6


def test_low_quality_is_in_the_counts_and_not_in_the_image(toy):
    for slide in slides(toy):
        low = slide.obs["low_quality"].to_numpy()
        assert 0.05 < low.mean() < 0.15
        counts = slide.layers["counts"]
        total = np.asarray(counts.sum(axis=1)).ravel()
        mito = np.asarray(counts[:, slide.var_names.isin(MITOCHONDRIAL)].sum(axis=1)).ravel() / total
        assert np.median(total[low]) < 0.3 * np.median(total[~low])
        assert np.median(mito[low]) > 1.5 * np.median(mito[~low])
    low = toy.obs["low_quality"].to_numpy()
    brightness = toy.obsm["patches"].mean(axis=(1, 2, 3))
    assert abs(brightness[low].mean() - brightness[~low].mean()) < 0.5 * brightness.std()


def test_every_slide_has_a_batch_effect(toy):
    none = toy[:, toy.var["program"] == "none"]
    means = np.stack([np.log(np.expm1(slide.X.toarray()).mean(axis=0)) for slide in slides(none)])
    between = (means - means.mean(axis=0)).std()
    assert 0.15 < between < 0.4


def test_lobules_differ_between_slides_and_files_round_trip(toy, tmp_path):
    images = [toy.uns["spatial"][f"slice{i}"]["images"]["hires"] for i in (1, 2)]
    assert np.abs(images[0].astype(int) - images[1]).mean() > 10
    toy.write_h5ad(tmp_path / "toy.h5ad")
    again = ad.read_h5ad(tmp_path / "toy.h5ad")
    np.testing.assert_array_equal(again.uns["spatial"]["slice1"]["images"]["hires"], images[0])
    assert again.obs["library_id"].tolist() == toy.obs["library_id"].tolist()
    sc.pp.pca(again, n_comps=3)
