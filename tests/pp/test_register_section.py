import numpy as np
import pytest
import scanpy as sc
from scipy.spatial import cKDTree

import bleep_sc as bs
from bleep_sc.slides import transform_points


@pytest.fixture
def one(toy):
    del toy.uns["patches"], toy.uns["X_stain_stats"]
    return toy[toy.obs["library_id"] == "slice1"].copy()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_section_that_looks_the_same_is_found(one, mirrored):
    image = one.uns["spatial"]["slice1"]["images"]["hires"]
    new = np.rot90(image, 1)[::2, ::2]  # x' = y / 2, y' = (width - x) / 2
    matrix = np.array([[0, 0.5, 0], [-0.5, 0, image.shape[1] / 2], [0, 0, 1]])
    if mirrored:
        new, matrix = new[:, ::-1], np.array([[-1, 0, new.shape[1]], [0, 1, 0], [0, 0, 1]]) @ matrix
    bs.pp.register_section(one, new, mpp=2.0, reflection=None)
    true = transform_points(one.obsm["spatial_unregistered"], matrix)
    assert np.linalg.norm(one.obsm["spatial"] - true, axis=1).mean() * 2 < 30  # µm, of spots 100 apart
    entry = one.uns["registration"]["slice1"]
    assert entry["reflection"] is mirrored
    assert entry["overlap"] > 0.95
    assert np.abs(np.linalg.svd(entry["matrix"][:2, :2], compute_uv=False) - 0.5).max() < 1e-6  # a turn, and the scale


def test_the_next_section_of_real_tissue_expresses_the_same_there(data_folder):
    """No truth is known: spots are compared with the nearest ones of the other section."""
    adata = bs.datasets.mob()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    one, other = (adata[adata.obs["library_id"] == name].copy() for name in ("MOB1", "MOB2"))
    image = other.uns["spatial"]["MOB2"]["metadata"]["source_image_path"]

    def agreement(places):
        distance, nearest = cKDTree(other.obsm["spatial"]).query(places)
        near = distance < 30
        a, b = one.X.toarray()[near], other.X.toarray()[nearest[near]]
        return np.nanmean(bs.metrics.pearson(a, b))

    mpp = one.uns["spatial"]["MOB1"]["scalefactors"].get("microns_per_pixel")
    before = agreement(one.obsm["spatial"])
    bs.pp.register_section(one, image, mpp=mpp)
    assert agreement(one.obsm["spatial"]) > before + 0.05
    assert one.uns["registration"]["MOB1"]["overlap"] > 0.85


def test_what_cannot_be_laid_says_why(one):
    image = one.uns["spatial"]["slice1"]["images"]["hires"]
    with pytest.raises(ValueError, match=r"µm per px of the new image of slide 'slice1' are not known\. Pass mpp="):
        bs.pp.register_section(one, image)
    with pytest.raises(ValueError, match="No tissue was found on the new image"):
        bs.pp.register_section(one, np.full_like(image, 240), mpp=1.0)
    del one.obs["array_row"]
    with pytest.raises(ValueError, match=r"of the measured one .* Set uns\['spatial'\]"):
        bs.pp.register_section(one, image, mpp=1.0)
    assert "registration" not in one.uns


@pytest.mark.filterwarnings("ignore:.*lie outside the new image")
def test_tissue_that_is_not_there_is_missed(one):
    image = one.uns["spatial"]["slice1"]["images"]["hires"]
    half = image.copy()
    half[:, 950:] = image[0, 0]
    with pytest.warns(UserWarning, match=r"Only 0\.\d+ of the tissue of slide 'slice1' comes to lie on tissue"):
        bs.pp.register_section(one, half, mpp=1.0)
