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
