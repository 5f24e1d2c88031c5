import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from bleep_sc.slides._align import _mismatch, align


@pytest.fixture
def section():
    """Spots of an irregular piece of tissue, and colours that change over it."""
    x, y = (axis.ravel() * 200.0 for axis in np.meshgrid(np.arange(16), np.arange(14)))
    kept = ((x - 1500) / 1500) ** 2 + ((y - 1300) / 1200) ** 2 < 1 + 0.3 * np.sin(x / 500)
    points = np.stack([x, y], axis=1)[kept]
    return points, np.stack([np.sin(points[:, 0] / 700), np.cos(points[:, 1] / 900)], axis=1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5, 4.0])
def test_a_moved_section_is_laid_back(section, angle, mirrored):
    points, colors = section
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = matrix @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    moved = points @ matrix.T + [3000, -700]
    noisy = colors + np.random.default_rng(0).normal(0, 0.2, colors.shape)
    laid = align(moved, 5 * noisy + 1, points, colors)
    assert np.linalg.norm(laid - points, axis=1).mean() < 60  # of spots 200 apart
    np.testing.assert_allclose(pdist(laid), pdist(points))


def test_colours_decide_where_outlines_do_not():
    angle = np.linspace(0, 2 * np.pi, 200)
    radius = np.sqrt(np.random.default_rng(0).random(200)) * 1000
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    colors = points[:, :1] > 0
    quarter = points[:, ::-1] * [1, -1]
    laid = align(quarter, colors, points, colors)
    assert ((laid[:, 0] > 0) == colors[:, 0]).mean() > 0.95


def test_spots_are_compared_with_the_places_where_they_lie(section):
    """Against a slow version, spot by spot, in distances between neighbouring spots."""
    points, colors = section
    part = points[:, 0] < 1800
    ours, theirs = points[part] / 200 + [0.3, 0.17], points / 200
    for one, one_colors, other, other_colors in (
        (ours, colors[part], theirs, colors),
        (theirs, colors, ours, colors[part]),  # much of which lies beyond
    ):
        slow = 0.0
        for point, color in zip(one, one_colors, strict=True):
            distance = np.linalg.norm(other - point, axis=1)
            near = np.argsort(distance)[:6]
            weights = np.exp(-(distance[near] ** 2))
            blended = (weights[:, None] * other_colors[near]).sum(axis=0) / weights.sum()
            slow += np.clip(distance.min() - 0.75, 0, 3) + np.sqrt(np.square(color - blended).mean())
        fast = _mismatch(one, one_colors, cKDTree(other), other_colors)
        assert fast == pytest.approx(slow / len(one))
