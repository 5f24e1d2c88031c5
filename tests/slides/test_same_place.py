import numpy as np
import pytest

from bleep_sc.slides._same_place import laid_back, lay_sections, match, mean_colors


@pytest.fixture
def section():
    """Spots of an irregular piece of tissue, and colours that change over it."""
    x, y = (axis.ravel() * 200.0 for axis in np.meshgrid(np.arange(12), np.arange(10)))
    kept = ((x - 1100) / 1100) ** 2 + ((y - 900) / 900) ** 2 < 1 + 0.3 * np.sin(x / 500)
    points = np.stack([x, y], axis=1)[kept]
    return points, np.stack([np.sin(points[:, 0] / 700), np.cos(points[:, 1] / 900)], axis=1)


def test_every_section_is_laid_by_itself(section):
    points, colors = section
    both = np.concatenate([points @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 900, points * [-1, 1]])
    names = np.repeat(["turned", "mirrored"], len(points))
    laid, matches = lay_sections(both, np.tile(colors, (2, 1)), names, points, colors)
    for name in ("turned", "mirrored"):
        assert np.linalg.norm(laid[names == name] - points, axis=1).mean() < 60  # of spots 200 apart
        assert matches[name].overlap > 0.95
        assert matches[name].color > 0.9


def test_a_motion_is_undone(section):
    points, _ = section
    turned = points @ np.array([[0.6, 0.8], [0.8, -0.6]]) + [700, -40]  # and mirrored
    others = np.random.default_rng(0).uniform(0, 3000, (9, 2))
    there = others @ np.array([[0.6, 0.8], [0.8, -0.6]]) + [700, -40]
    np.testing.assert_allclose(laid_back(points, turned, there), others, atol=1e-9)


def test_how_well_sections_match(section):
    points, colors = section
    whole = match(points, colors, points, colors)
    assert whole.overlap == 1
    assert whole.color > 0.95
    half = points[:, 0] < 1000
    part = match(points[half], colors[half], points, colors)
    assert part.overlap == pytest.approx((1 + half.mean()) / 2)
    assert match(points + 1e6, colors, points, colors) == type(whole)(0.0, 0.0)
    assert match(points, -colors, points, colors).color < -0.9
    assert abs(match(points, np.random.default_rng(0).normal(size=colors.shape), points, colors).color) < 0.3
    assert match(points, np.ones_like(colors), points, colors).color == 0


def test_mean_colours_are_those_of_every_patch():
    patches = np.random.default_rng(0).integers(0, 256, (300, 3, 3, 3), dtype=np.uint8)
    np.testing.assert_allclose(mean_colors(patches), patches.reshape(300, 9, 3).mean(axis=1), rtol=1e-12)
