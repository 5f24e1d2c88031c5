import numpy as np
import pytest
from PIL import Image

from bleep_sc.slides import cut_patches, open_slide
from bleep_sc.slides._centers import check_centers
from bleep_sc.slides._patches import coarsest_level, off_slide


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_a_patch_is_what_lies_around_its_centre(image):
    centers = np.array([[40.0, 30.0], [20.4, 15.6]])
    patches = cut_patches(open_slide(image), centers, side=8, size=8)
    np.testing.assert_array_equal(patches[0], image[26:34, 36:44])
    np.testing.assert_array_equal(patches[1], image[12:20, 16:24])  # rounded to (20, 16)
    assert cut_patches(open_slide(image), centers, side=7, size=7)[0][3, 3].tolist() == image[30, 40].tolist()


@pytest.mark.parametrize("side", [8, 50, 300])
def test_beyond_the_border_the_image_is_mirrored(image, side):
    centers = np.array([[1.0, 2.0], [79.0, 59.0], [40.0, 30.0]])
    patches = cut_patches(open_slide(image), centers, side=side, size=side)
    margin = 320
    mirrored = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    for patch, (x, y) in zip(patches, centers.astype(int), strict=True):
        left, top = x - side // 2 + margin, y - side // 2 + margin
        np.testing.assert_array_equal(patch, mirrored[top : top + side, left : left + side])


def test_or_white(image):
    (patch,) = cut_patches(open_slide(image), np.array([[0.0, 0.0]]), side=8, size=8, pad="constant")
    assert (patch[:4] == 255).all()
    assert (patch[:, :4] == 255).all()
    np.testing.assert_array_equal(patch[4:, 4:], image[:4, :4])


def test_which_patches_leave_the_image():
    centers = np.array([[4.0, 4.0], [3.0, 4.0], [76.0, 56.0], [76.0, 57.0]])
    np.testing.assert_array_equal(off_slide((60, 80, 3), centers, 8), [False, True, False, True])


def test_resampling_shows_the_same_tissue_without_aliasing(image):
    centers = np.array([[40.0, 30.0]])
    (small,) = cut_patches(open_slide(image), centers, side=32, size=8)
    expected = Image.fromarray(image[14:46, 24:56]).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(expected))
    stripes = np.zeros((60, 80, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    (grey,) = cut_patches(open_slide(stripes), centers, side=32, size=8)
    assert abs(grey.astype(float).mean() - 127.5) < 2
    assert grey.std() < 30


def test_the_order_of_the_spots_does_not_matter(image):
    centers = np.random.default_rng(0).uniform(0, 60, (20, 2))
    patches = cut_patches(open_slide(image), centers, side=10, size=5)
    np.testing.assert_array_equal(cut_patches(open_slide(image), centers[::-1], side=10, size=5), patches[::-1])


def test_centres_outside_the_image_are_diagnosed():
    shape = (60, 100, 3)
    inside = np.array([[99.0, 59.0], [0.0, 0.0]])
    check_centers(shape, inside)
    with pytest.raises(ValueError, match=r"1 of 2 spots lie outside the image: it is 100 px wide and 60 px high"):
        check_centers(shape, np.array([[10.0, 10.0], [100.0, 10.0]]))
    with pytest.raises(ValueError, match="With x and y swapped all of them lie inside"):
        check_centers(shape, inside[:, ::-1])
    with pytest.raises(
        ValueError, match=r"Multiplied by tissue_hires_scalef \(0.05\) all of them lie inside.*full-resolution one"
    ):
        check_centers(shape, inside * 20, {"tissue_hires_scalef": 0.05})
    with pytest.raises(ValueError, match="belong to different resolutions or slides"):
        check_centers(shape, inside * 20, {"tissue_hires_scalef": 0.0001})
    with pytest.raises(ValueError, match="of 1 spots are NaN"):
        check_centers(shape, np.array([[np.nan, 1.0], [1.0, 1.0]]))


def test_the_coarsest_level_has_two_px_for_each_of_a_patch():
    import xarray as xr

    base = np.zeros((400, 400, 3), dtype=np.uint8)
    scales = {f"scale{i}": xr.Dataset({"image": (("y", "x", "c"), base[:: 2**i, :: 2**i])}) for i in range(3)}
    slide = open_slide(xr.DataTree.from_dict(scales))
    levels = [coarsest_level(slide, side, 10) for side in (5, 10, 39, 40, 79, 80, 300)]
    assert levels == [0, 0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"level=3 is not among the 3 of 'array'"):
        cut_patches(slide, np.array([[40.0, 30.0]]), side=32, size=8, level=3)
