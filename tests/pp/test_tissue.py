import logging

import numpy as np
import pytest
import squidpy as sq

import bleep_sc as bs
from bleep_sc.pp._tissue import MANY, SHARE, _darker, tissue_mask


def stained(height, width, share_dark, seed=0):
    """Pink tissue with dark purple nuclei, and noise."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), (205, 150, 195), dtype=float)
    picture[rng.random((height, width)) < share_dark] = (95, 60, 140)
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)


def on_glass(tissue, glass, margin=60):
    rng = np.random.default_rng(1)
    height, width = (length + 2 * margin for length in tissue.shape[:2])
    picture = (np.array(glass) + rng.normal(0, 2, (height, width, 3))).clip(0, 255).astype(np.uint8)
    picture[margin:-margin, margin:-margin] = tissue
    expected = np.zeros((height, width), dtype=bool)
    expected[margin:-margin, margin:-margin] = True
    return picture, expected


@pytest.mark.parametrize("share_dark", [0.1, 0.4, 0.7])
def test_a_picture_full_of_tissue_is_all_tissue_and_the_log_says_so(share_dark, caplog):
    with caplog.at_level(logging.WARNING, logger="bleep_sc"):
        assert tissue_mask(stained(300, 400, share_dark)).all()
    assert "No glass was found around the tissue" in caplog.text


@pytest.mark.parametrize("glass", [(245, 243, 246), (228, 212, 227), (170, 165, 168), (245, 238, 210)])
def test_glass_is_found_whether_bright_dim_or_tinted(glass, caplog):
    tissue = stained(200, 240, 0.1) * (np.mean(glass) / 255)
    picture, expected = on_glass(tissue.astype(np.uint8), glass)
    assert (tissue_mask(picture) == expected).mean() > 0.99
    assert "No glass" not in caplog.text


def test_tissue_that_reaches_the_corners_is_not_taken_for_glass():
    picture = stained(300, 400, 0.3)
    picture[100:200, 150:250] = 244
    expected = np.ones((300, 400), dtype=bool)
    expected[100:200, 150:250] = False
    assert (tissue_mask(picture) == expected).mean() > 0.98


def test_holes_in_a_picture_full_of_tissue_stay_glass():
    picture = stained(300, 400, 0.3)
    picture[140:150, 190:200] = 244
    mask = tissue_mask(picture)
    assert not mask[140:150, 190:200].any()
    assert mask.mean() == pytest.approx(1 - 100 / mask.size)


@pytest.mark.parametrize("width", [100, 140])
def test_every_piece_of_tissue_is_kept(width):
    picture, expected = on_glass(stained(200, 300, 0.2), (245, 243, 246))
    picture[:, 160 : 160 + width] = 244
    expected[:, 160 : 160 + width] = False
    assert (tissue_mask(picture) == expected).mean() > 0.99


def test_glass_alone_has_no_tissue():
    assert not tissue_mask(np.full((50, 60, 3), 240, dtype=np.uint8)).any()


def padded(picture, expected, color, margin):
    """Put a picture between unscanned parts, as in the rectangle around a stitched scan."""
    height, width = expected.shape
    whole = np.full((height + margin, width + 2 * margin, 3), color, dtype=np.uint8)
    tissue = np.zeros(whole.shape[:2], dtype=bool)
    whole[:height, margin:-margin] = picture
    tissue[:height, margin:-margin] = expected
    return whole, tissue


@pytest.mark.parametrize("color", [0, 255])
@pytest.mark.parametrize("margin", [40, 500])
@pytest.mark.parametrize("glass", [(245, 243, 246), (230, 228, 231), (170, 165, 168)])
def test_what_was_not_scanned_is_no_tissue_and_moves_no_threshold(glass, margin, color):
    tissue = stained(200, 240, 0.1) * (np.mean(glass) / 255)
    picture, expected = padded(*on_glass(tissue.astype(np.uint8), glass), color, margin)
    assert (tissue_mask(picture) == expected).mean() > 0.995


@pytest.mark.parametrize("color", [0, 255])
def test_a_padded_picture_full_of_tissue_is_tissue_but_for_the_padding(color):
    picture, expected = padded(stained(300, 400, 0.3), np.ones((300, 400), dtype=bool), color, 150)
    assert (tissue_mask(picture) == expected).mean() > 0.98


def test_nothing_that_was_scanned_is_no_tissue():
    assert not tissue_mask(np.zeros((50, 60, 3), dtype=np.uint8)).any()


def test_dark_nuclei_and_ink_are_no_padding():
    picture, expected = on_glass(stained(200, 240, 0.1), (245, 243, 246))
    picture[100:104, 100:104] = 0
    assert (tissue_mask(picture) == expected).mean() > 0.99


@pytest.mark.parametrize("name", ["C2", "C4"])
def test_a_part_of_a_real_slide_has_the_same_tissue_as_the_whole(data_folder, name):
    adata = bs.datasets.her2st(name)
    with bs.slides.open_slide(adata.uns["spatial"][name]["metadata"]["source_image_path"]) as slide:
        picture = slide.thumbnail(2000)
        shrink = picture.shape[1] / slide.width
    whole = tissue_mask(picture)
    x, y = (np.median(adata.obsm["spatial"], axis=0) * shrink).astype(int)
    for half in (60, 125, 250, 500):
        part = (slice(max(0, y - half), y + half), slice(max(0, x - half), x + half))
        agree = (tissue_mask(np.ascontiguousarray(picture[part])) == whole[part]).mean()
        assert agree > 0.75, half


@pytest.mark.filterwarnings("ignore:Parameter `area_threshold`:FutureWarning")  # squidpy's, of scikit-image
def test_squidpy_is_given_the_brightness_that_it_would_have_found():
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel

    picture, _ = on_glass(stained(200, 240, 0.1), (228, 212, 227))
    slide = SpatialData(images={"slide": Image2DModel.parse(picture, dims=("y", "x", "c"))})
    how = {"corners_are_background": False, "min_specimen_area_frac": SHARE, "n_samples": MANY, "inplace": False}
    expected = sq.experimental.im.detect_tissue(slide, "slide", **how) > 0
    assert expected.any()
    np.testing.assert_array_equal(_darker(picture, SHARE), expected)
