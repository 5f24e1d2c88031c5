import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from bleep_sc.slides import grid, sharpness
from bleep_sc.slides._grid import covered
from bleep_sc.slides._lattice import fit_lattice


@pytest.mark.parametrize(("layout", "n_neighbors"), [("hexagonal", 6), ("square", 4)])
def test_neighbours_stand_at_the_spacing(layout, n_neighbors):
    centers, rows, columns = grid(1000, 800, 50, layout)
    tree = cKDTree(centers)
    inner = np.flatnonzero(((centers > 100) & (centers < [900, 700])).all(axis=1))
    distance, _ = tree.query(centers[inner], k=n_neighbors + 2)
    np.testing.assert_allclose(distance[:, 1 : n_neighbors + 1], 50)
    assert (distance[:, -1] > 60).all()
    lattice = fit_lattice(columns, rows, centers)
    assert lattice.kind == ("visium" if layout == "hexagonal" else "square")
    assert not lattice.is_mirrored
    np.testing.assert_allclose(lattice.pitch_px, 50)


def test_a_slide_holds_as_many_tiles_as_it_can_in_its_middle():
    centers, rows, columns = grid(110, 106, 50, "square")
    np.testing.assert_allclose(centers, [[30, 28], [80, 28], [30, 78], [80, 78]])
    np.testing.assert_array_equal([rows, columns], [[0, 0, 1, 1], [0, 1, 0, 1]])
    centers, rows, columns = grid(104, 90, 50, "hexagonal")
    down = 50 * np.sqrt(3) / 2
    np.testing.assert_allclose(centers[:, 0], [14.5, 64.5, 39.5, 89.5])
    np.testing.assert_allclose(centers[:, 1], 45 + down / 2 * np.array([-1, -1, 1, 1]))
    np.testing.assert_array_equal([rows, columns], [[0, 0, 1, 1], [0, 2, 1, 3]])


def test_tiles_lie_on_the_slide_and_cover_it():
    for width, height in ((1000, 800), (37, 90), (10, 10)):
        for layout in ("hexagonal", "square"):
            centers, *_ = grid(width, height, 50, layout)
            assert ((centers >= 0) & (centers < [width, height])).all()
            everywhere = np.indices((width, height)).reshape(2, -1).T
            assert cKDTree(centers).query(everywhere)[0].max() < 80
            assert (np.diff(centers[:, 1]) > -1e-9).all()
    with pytest.raises(ValueError, match="spacing=0 must be positive"):
        grid(10, 10, 0)


def test_shares_are_those_of_the_mask():
    mask = np.random.default_rng(0).random((40, 60)) < 0.3
    centers = np.random.default_rng(1).uniform([0, 0], [60, 40], (50, 2))
    for (x, y), share in zip(centers, covered(mask, centers, 9), strict=True):
        left, top = int(np.floor(x - 4.5 + 0.5)), int(np.floor(y - 4.5 + 0.5))
        square = mask[max(0, top) : top + 9, max(0, left) : left + 9]
        assert share == pytest.approx(square.mean())
    assert covered(mask, centers, 0.1).shape == (50,)


def test_blur_is_seen_whatever_the_contrast():
    random = np.random.default_rng(0)
    sharp = ndimage.gaussian_filter(random.normal(size=(4, 100, 100)), (0, 1, 1))
    blurred = ndimage.gaussian_filter(sharp, (0, 3, 3))
    patches = [128 + each / each.std() * contrast for contrast in (10, 30) for each in (sharp, blurred)]
    scores = [sharpness(np.repeat(patch[..., None], 3, axis=3).clip(0, 255).astype(np.uint8)) for patch in patches]
    assert min(scores[0].min(), scores[2].min()) > 3 * max(scores[1].max(), scores[3].max())
    np.testing.assert_allclose(scores[0], scores[2], rtol=0.15)
    assert (sharpness(np.full((2, 8, 8, 3), 200, dtype=np.uint8)) == 0).all()


def grey_patches(*planes):
    """Patches (n, S, S, 3) of planes (S, S), as whole numbers."""
    return np.rint(np.stack(planes))[..., None].clip(0, 255).astype(np.uint8).repeat(3, axis=3)


@pytest.mark.parametrize("step", [1, 60])
def test_sharpness_of_a_chessboard_by_hand(step):
    # A box of 3 × 3 holds 5 fields of one colour and 4 of the other: 8/9 of the step are finer. On an edge, which is
    # mirrored, it is 10/9, and in the four corners 8/9: (8 (8/9)² + 8 (10/9)²) / 16 = 82/81 of the variance.
    board = 128 + step * np.where(np.indices((4, 4)).sum(axis=0) % 2, -1, 1)
    expected = np.sqrt(82 / 81 * step**2 - 1 / 12) / (step + 1)
    np.testing.assert_allclose(sharpness(grey_patches(board, 255 - board)), expected, rtol=1e-5)


def test_sharpness_of_a_slope_is_that_of_its_ends():
    slope = np.tile(6.0 * np.arange(10), (10, 1))  # at both ends the box is off by a third of a step
    expected = np.sqrt(2 / 10 * (6 / 3) ** 2 - 1 / 12) / (6 * np.sqrt((10**2 - 1) / 12) + 1)
    np.testing.assert_allclose(sharpness(grey_patches(slope, slope.T)), expected, rtol=1e-5)


def test_what_rounding_makes_of_a_faint_patch_is_not_sharp():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(100, 100)), 3)
    smooth /= smooth.std()
    faint, strong = sharpness(grey_patches(128 + 5 * smooth, 128 + 40 * smooth))
    assert faint == pytest.approx(strong * (5 / 6) / (40 / 41), rel=0.1)  # 1.6 times as much, were it not taken away
    one_step = np.full((1, 8, 8, 3), 128, dtype=np.uint8)
    one_step[:, ::2, ::2, 0] += 1  # less than rounding makes
    assert sharpness(one_step) == 0


def test_brightness_is_the_mean_of_the_colours():
    patches = np.random.default_rng(0).integers(60, 180, (3, 12, 12, 3), dtype=np.uint8)
    np.testing.assert_allclose(sharpness(patches), sharpness(patches[..., [2, 0, 1]]), rtol=1e-5)
    tinted = (patches + np.array([-40, 0, 40])).astype(np.uint8)
    np.testing.assert_allclose(sharpness(tinted), sharpness(patches), rtol=1e-5)
    turned = [patches[:, ::-1], patches[:, :, ::-1], patches.transpose(0, 2, 1, 3)]
    for other in turned:
        np.testing.assert_allclose(sharpness(other), sharpness(patches), rtol=1e-5)
