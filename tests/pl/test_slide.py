"""What all plots of a slide share: where the bar stands, and the colours."""

import numpy as np
import pytest
from colour_maps import nearest, pixels_under_spots
from matplotlib.colors import to_rgb

import bleep_sc as bs
from bleep_sc.pl import _colors
from bleep_sc.pl._colors import categorical
from bleep_sc.pl._patches import _apart
from bleep_sc.pl._slide import emptiest_corner

SQUARE = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize(
    ("corner", "x", "y"),
    [("lower right", 1, 1), ("lower left", 0, 1), ("upper right", 1, 0), ("upper left", 0, 0)],
)
def test_the_bar_stands_where_there_are_no_spots(corner, x, y):
    hidden = (np.abs(SQUARE - 19 * np.array([x, y])) < 8).all(axis=1)
    assert emptiest_corner(SQUARE[~hidden]) == corner


def test_the_bar_stands_on_the_lower_right_of_a_full_slide():
    assert emptiest_corner(SQUARE) == "lower right"
    assert emptiest_corner(SQUARE[:1]) == "lower right"


@pytest.mark.parametrize("n", [1, 8, 12, 20, 21, 28, 29, 102])
def test_categories_have_colours_of_their_own(n):
    colors = [to_rgb(color) for color in categorical(n)]
    assert len(set(colors)) == n


def test_the_bar_leaves_marks_free():
    assert emptiest_corner(SQUARE) == "lower right"
    assert emptiest_corner(SQUARE, np.array([[18.0, 18.0], [1.0, 18.0]])) == "upper right"


def test_patches_that_are_shown_lie_apart_as_long_as_there_is_room():
    shown = _apart(SQUARE, 12, 0)
    distance = np.linalg.norm(SQUARE[shown][:, None] - SQUARE[shown], axis=2)[np.triu_indices(12, 1)]
    assert len(set(shown)) == 12
    assert distance.min() >= 0.12 * 19
    assert len(set(_apart(SQUARE[:9], 9, 0))) == 9


def test_what_is_drawn_over_tissue_can_be_told_from_it(data_folder):
    tissue = pixels_under_spots(bs.datasets.mob(sections="MOB1"))
    for name in (_colors.EXPRESSION, _colors.TRUST):
        assert nearest(name, tissue) > 20 > nearest("viridis", tissue)
