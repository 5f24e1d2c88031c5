import numpy as np
import pytest
from PIL import Image
from skimage.transform import warp

import bleep_sc as bs
from bleep_sc.slides import transform_points


def scanned_again(image, matrix, shape):
    """Another scan: the image moved by a map of px whose first one spans 0 to 1, and stained otherwise."""
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    inverse = np.linalg.inv(to_corner) @ np.linalg.inv(matrix) @ to_corner  # of px by their centres
    moved = warp(image / 255.0, inverse, output_shape=shape, cval=0.93)
    stained = np.clip(moved**1.3 @ np.array([[0.92, 0.04, 0.04], [0, 0.95, 0.05], [0.08, 0, 0.9]]).T, 0, 1)
    return (255 * stained).astype(np.uint8)


def similarity(degrees, scale, shift, mirrored):
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = scale * np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])


@pytest.fixture(scope="module")
def bulb(data_folder):
    adata = bs.datasets.mob()
    return adata[adata.obs["library_id"] == "MOB1"].copy()


@pytest.mark.parametrize(
    ("degrees", "scale", "shift", "mirrored"), [(25, 0.8, [700, 40], False), (-140, 1.2, [-50, 1700], True)]
)
def test_another_scan_of_real_tissue_is_found(bulb, degrees, scale, shift, mirrored):
    with bs.slides.open_slide(bulb.uns["spatial"]["MOB1"]["metadata"]["source_image_path"]) as slide:
        image = slide.read_region(0, 0, slide.width, slide.height)
    matrix = similarity(degrees, scale, [0, 0], mirrored)
    corners = transform_points([[0, 0], [1905, 0], [1905, 1905], [0, 1905]], matrix)
    matrix[:2, 2] = -corners.min(axis=0)
    shape = np.ceil(np.ptp(corners, axis=0)).astype(int)[::-1]
    before = bulb.copy()
    bs.pp.register_scan(bulb, scanned_again(image, matrix, shape))
    true = transform_points(before.obsm["spatial"], matrix)
    assert np.linalg.norm(bulb.obsm["spatial"] - true, axis=1).max() < 2.0  # px, of 4.6 µm
    entry = bulb.uns["registration"]["MOB1"]
    assert entry["reflection"] is mirrored
    assert entry["n_landmarks"] <= 300
    assert entry["rms_px"] < 5
    bulb.obsm["spatial"] = before.obsm["spatial"]
    del bulb.uns["registration"]
    bulb.uns["spatial"] = before.uns["spatial"]


def small(toy):
    """A slice with a picture of a third of its size, where SIFT is fast."""
    del toy.uns["patches"], toy.uns["X_stain_stats"]
    one = toy[toy.obs["library_id"] == "slice1"].copy()
    image = np.asarray(Image.fromarray(one.uns["spatial"]["slice1"]["images"]["hires"]).reduce(3))
    factors = {"tissue_hires_scalef": 1 / 3, "spot_diameter_fullres": 55.0}
    one.uns["spatial"] = {"slice1": {"images": {"hires": image}, "scalefactors": factors}}
    return one


def test_another_section_is_not_taken_for_another_scan(toy):
    one = small(toy)
    other = toy.uns["spatial"]["slice2"]["images"]["hires"][::3, ::3]
    before = one.obsm["spatial"].copy()
    with pytest.raises(
        ValueError, match=r"Fewer than 15 places look the same .*register_section\(adata, image\); else"
    ):
        bs.pp.register_scan(one, other)
    np.testing.assert_array_equal(one.obsm["spatial"], before)
    assert "registration" not in one.uns


def test_a_blank_image_has_no_places(toy):
    one = small(toy)
    with pytest.raises(ValueError, match="Fewer than 15 places look the same"):
        bs.pp.register_scan(one, np.full((600, 600, 3), 240, dtype=np.uint8))


def test_a_picture_of_shares_and_one_of_bytes_are_one(toy):
    """Squidpy and scanpy read PNG as numbers between 0 and 1."""
    one = small(toy)
    image = one.uns["spatial"]["slice1"]["images"]["hires"]
    of_bytes = bs.pp.register_scan(one, image[::-1], copy=True)
    one.uns["spatial"] = {
        "slice1": {**one.uns["spatial"]["slice1"], "images": {"hires": (image / 255).astype(np.float32)}}
    }
    of_shares = bs.pp.register_scan(one, image[::-1], copy=True)
    np.testing.assert_array_equal(of_bytes.obsm["spatial"], of_shares.obsm["spatial"])
    turned = [[1 / 3, 0, 0], [0, -1 / 3, image.shape[0]], [0, 0, 1]]
    np.testing.assert_allclose(of_bytes.obsm["spatial"], transform_points(one.obsm["spatial"], turned), atol=0.5)
