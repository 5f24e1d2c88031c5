"""Cells and transcripts summed into squares, of AnnData and of SpatialData, whose transformations say where they lie."""

import logging
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bleep_sc as bs
from bleep_sc.io._sources import xenium as source
from bleep_sc.pp import _squares

PX = 1.25


@pytest.fixture
def cells(xenium, tissue):
    """The cells of a generated Xenium slide, on the px of its H&E."""
    truth = np.load(xenium / "truth.npz")
    adata = ad.AnnData(sparse.csr_matrix(truth["counts"].astype(np.float32)), var=tissue.var[[]])
    adata.obsm["spatial"] = truth["cells"]
    return adata


def slow(places, weights, squares):
    """Walk over all points and all squares, whose left and upper borders are their own."""
    result = np.zeros((np.prod(squares.shape), weights.shape[1]))
    for (x, y), weight in zip(places, weights, strict=True):
        for r in range(squares.shape[0]):
            for c in range(squares.shape[1]):
                if squares.left[c] <= x < squares.left[c + 1] and squares.top[r] <= y < squares.top[r + 1]:
                    result[r * squares.shape[1] + c] += weight
    return result


@pytest.mark.parametrize("at_a_time", [10, 300, 10**6])
def test_every_point_counts_once_on_borders_too_and_whatever_is_summed_at_a_time(monkeypatch, at_a_time):
    monkeypatch.setattr(_squares, "MOST_SUMS", at_a_time)
    random = np.random.default_rng(0)
    squares = _squares.squares_of(1000, 800, 100)
    places = random.uniform(-50, 1050, (400, 2))
    places[:150] = np.round(places[:150], -2)
    genes = random.integers(0, 7, 400)
    counted = _squares.sum_points(places, pd.Categorical.from_codes(genes, categories=list("abcdefg")), squares)
    np.testing.assert_array_equal(counted.toarray(), slow(places, np.eye(7)[genes], squares))
    counts = random.poisson(0.5, (400, 9))
    summed = _squares.sum_cells(places, sparse.csr_matrix(counts), squares)
    np.testing.assert_array_equal(summed.toarray(), slow(places, counts, squares))


def test_a_slide_without_a_name_is_called_what_is_told(cells, tissue):
    named = bs.pp.gather_cells(cells, tissue.uns["image"], mpp=PX, library_id="core")
    assert named.obs["library_id"].unique().tolist() == ["core"]
    assert list(named.uns["spatial"]) == ["core"]
    cells.obs["library_id"] = "lobe"
    with pytest.raises(KeyError, match=r"library_id='core' is not in adata \(it has: 'lobe'\)"):
        bs.pp.gather_cells(cells, tissue.uns["image"], mpp=PX, library_id="core")


def test_spots_are_what_they_say(cells, tissue, caplog):
    with caplog.at_level(logging.INFO, logger="bleep_sc"):
        spots = bs.pp.gather_cells(cells, tissue.uns["image"], mpp=PX, min_counts=30, min_cells=3)
    assert spots.obs["n_cells"].min() >= 3
    assert spots.X.sum(axis=1).min() >= 30
    assert f"slide: {spots.n_obs} spots of 55 µm hold {spots.obs['n_cells'].sum()} of 2000 cells" in caplog.text
    height, width = tissue.uns["image"].shape[:2]
    half = 55 / PX / 2
    assert (spots.obsm["spatial"] >= half - 1e-9).all()
    assert (spots.obsm["spatial"] <= np.array([width, height]) - half + 1e-9).all()
    bs.pp.extract_patches(spots, tissue.uns["image"], size=16, size_um=112)
    assert spots.uns["patches"]["slide"]["mpp"] == pytest.approx(PX)


def test_order_and_density_change_nothing(cells, tissue):
    image = tissue.uns["image"]
    one = bs.pp.gather_cells(cells, image, mpp=PX)
    turned = cells[np.random.default_rng(1).permutation(cells.n_obs)].copy()
    turned.X = turned.X.toarray()
    two = bs.pp.gather_cells(turned, image, mpp=PX)
    np.testing.assert_array_equal(one.X.toarray(), two.X.toarray())
    assert one.obs.equals(two.obs)


def test_wrong_places_counts_and_scales_are_refused(cells, tissue):
    image = tissue.uns["image"]
    with pytest.raises(ValueError, match=r"µm per px of slide 'slide' are not known .* Pass mpp="):
        bs.pp.gather_cells(cells, image)
    with pytest.raises(ValueError, match="min_counts=100000 are asked for"):
        bs.pp.gather_cells(cells, image, mpp=PX, min_counts=100000)
    with pytest.raises(ValueError, match="larger than the image"):
        bs.pp.gather_cells(cells, image, mpp=PX, spot_um=5000)
    swapped = cells.copy()
    swapped.obsm["spatial"] = swapped.obsm["spatial"] + [0, 700]
    with pytest.raises(ValueError, match="lie outside the image"):
        bs.pp.gather_cells(swapped, image, mpp=PX)
    cells.X = cells.X / 3
    with pytest.raises(ValueError, match="holds no raw counts"):
        bs.pp.gather_cells(cells, image, mpp=PX)


@pytest.fixture
def sdata(xenium):
    """The generated Xenium slide as spatialdata_io reads it: cells as circles, transcripts in µm, an aligned H&E."""
    import spatialdata_io

    without = dict.fromkeys(["cells_boundaries", "nucleus_boundaries", "cells_labels", "nucleus_labels"], False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the readers, about themselves
        return spatialdata_io.xenium(xenium / "outs", cells_as_circles=True, morphology_focus=False, **without)


def test_spatialdata_gives_what_the_folder_gives(sdata, xenium):
    spots, of_folder = bs.pp.gather_cells(sdata, library_id="toy_lobe"), source.read(xenium)
    assert spots.obs.equals(of_folder.obs)
    np.testing.assert_array_equal(spots.X.toarray(), of_folder.X.toarray())
    np.testing.assert_allclose(spots.obsm["spatial"], of_folder.obsm["spatial"])
    scale = spots.uns["spatial"]["toy_lobe"]["scalefactors"]["microns_per_pixel"]
    assert scale == pytest.approx(1.25)


def test_spatialdata_without_transcripts_sums_its_cells_and_asks_for_the_scale(sdata, cells, tissue):
    del sdata.points["transcripts"]
    with pytest.raises(ValueError, match="Pass mpp="):
        bs.pp.gather_cells(sdata)
    with pytest.raises(KeyError, match="points_key='molecules' not found"):
        bs.pp.gather_cells(sdata, points_key="molecules")
    spots = bs.pp.gather_cells(sdata, mpp=PX)
    assert spots.obs["library_id"].unique().tolist() == ["cell_circles"]
    direct = bs.pp.gather_cells(cells, tissue.uns["image"], mpp=PX)
    np.testing.assert_array_equal(spots.X.toarray(), direct.X.toarray())


def test_a_core_of_lung(data_folder):
    folder = data_folder / "xenium_lung_core"
    cells = ad.read_h5ad(folder / "NCBI858.h5ad")
    image = folder / "NCBI858.jpg"
    cells.obsm["spatial"] = cells.obs[["x_pixel", "y_pixel"]].to_numpy()
    with pytest.raises(ValueError, match="With x and y swapped all of them lie inside"):
        bs.pp.gather_cells(cells, image, mpp=2.0)
    cells.obsm["spatial"] = cells.obs[["y_pixel", "x_pixel"]].to_numpy()
    spots = bs.pp.gather_cells(cells, image, spot_um=100, mpp=2.0)
    assert spots.obs["n_cells"].sum() >= 150
    assert spots.n_vars == 338
