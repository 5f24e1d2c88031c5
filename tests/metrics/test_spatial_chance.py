"""Maps of tissue that have nothing in common agree by chance, and the test says how often."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from bleep_sc.metrics import pearson
from bleep_sc.metrics._spatial_chance import chance_of_agreement, spatial_patterns

N_MAPS = 1000


def lattice(n_rows=16):
    """Hexagons with a ragged outline, about 160 spots; the distance of neighbours is one."""
    row, column = (axis.ravel() for axis in np.mgrid[0:n_rows, 0 : 2 * n_rows])
    on = (row + column) % 2 == 0
    x = np.column_stack([column[on] * 0.5, row[on] * np.sqrt(3) / 2])
    x -= x.mean(axis=0)
    angle = np.arctan2(x[:, 1], x[:, 0])
    return x[np.hypot(*x.T) < 0.42 * n_rows * (1 + 0.25 * np.sin(3 * angle))]


CENTERS = lattice()
ONE = np.repeat("a", len(CENTERS))


def maps(kind, rng, n=N_MAPS):
    """Random maps, (n_spots, n), whose neighbours are alike."""
    covariance = np.exp(-cdist(CENTERS, CENTERS) / {"near": 1.0, "far": 8.0}.get(kind, 2.0))
    result = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(CENTERS))) @ rng.normal(size=(len(CENTERS), n))
    scaled = CENTERS / CENTERS.std()
    if kind == "gradient":
        result += 5 * scaled @ rng.normal(size=(2, n))
    if kind == "rim":
        result += 3 * ((scaled**2).sum(axis=1) - 1)[:, None] * rng.normal(size=n)
    return result


def share_below(pvalues, level):
    return float((pvalues <= level).mean())


@pytest.mark.parametrize("kind", ["near", "middle", "far", "gradient", "rim"])
def test_unrelated_maps_are_called_related_as_often_as_the_level_says(kind):
    rng = np.random.default_rng(0)
    one, other = maps(kind, rng), maps(kind, rng)
    p = chance_of_agreement(one, other, CENTERS, ONE, n_permutations=399)
    assert share_below(p, 0.05) < 0.09
    assert share_below(p, 0.5) == pytest.approx(0.5, abs=0.09)  # it is no test that never finds anything
    n = len(CENTERS)
    r = pearson(one, other)
    by_spot = stats.t.sf(r * np.sqrt((n - 2) / (1 - r**2)), n - 2)
    assert share_below(by_spot, 0.05) > (0.09 if kind == "near" else 0.2)  # what a permutation of spots finds


def test_several_slides_hold_the_level_and_add_up():
    rng = np.random.default_rng(1)
    centers, slides = np.tile(CENTERS, (3, 1)), np.repeat(["a", "b", "c"], len(CENTERS))
    one, other = (np.concatenate([maps("far", rng) for _ in range(3)]) for _ in range(2))
    p = chance_of_agreement(one, other, centers, slides, n_permutations=399)
    assert share_below(p, 0.05) < 0.08
    one, other = (np.concatenate([maps("near", rng) for _ in range(3)]) for _ in range(2))
    related = 0.2 * one + np.sqrt(1 - 0.2**2) * other
    of_one = chance_of_agreement(one[slides == "a"], related[slides == "a"], CENTERS, ONE, n_permutations=399)
    of_all = chance_of_agreement(one, related, centers, slides, n_permutations=399)
    assert share_below(of_all, 0.05) > share_below(of_one, 0.05) + 0.1


def test_related_maps_are_found():
    rng = np.random.default_rng(2)
    one, other = maps("far", rng), maps("far", rng)
    p = chance_of_agreement(one, 0.5 * one + np.sqrt(0.75) * other, CENTERS, ONE, n_permutations=399)
    assert share_below(p, 0.05) > 0.8
    opposed = chance_of_agreement(one, -one, CENTERS, ONE, n_permutations=399)
    assert opposed.min() > 0.9  # one-sided


def test_patterns_are_a_basis_in_which_correlations_add_up():
    rng = np.random.default_rng(3)
    surface, patterns = spatial_patterns(CENTERS)
    whole = np.column_stack([surface, patterns])
    assert surface.shape[1] == 9
    np.testing.assert_allclose(whole.T @ whole, np.eye(len(CENTERS) - 1), atol=1e-8)
    np.testing.assert_allclose(whole.sum(axis=0), 0, atol=1e-8)
    one, other = (values - values.mean() for values in rng.normal(size=(2, len(CENTERS))))
    r = (whole.T @ one) @ (whole.T @ other) / np.linalg.norm(one) / np.linalg.norm(other)
    assert r == pytest.approx(pearson(one[:, None], other[:, None])[0])
    cubic = CENTERS[:, 0] ** 3 - 2 * CENTERS[:, 0] * CENTERS[:, 1]
    np.testing.assert_allclose(patterns.T @ (cubic - cubic.mean()), 0, atol=1e-6 * np.abs(cubic).max())
    i, j = np.nonzero(np.triu(cdist(CENTERS, CENTERS) < 1.1, 1))
    steps = np.square(patterns[i] - patterns[j]).sum(axis=0)
    assert steps[0] < 1 < 5 < steps[-1]  # from coarse to fine


def test_what_cannot_be_told_is_missing_and_what_is_drawn_is_seeded():
    rng = np.random.default_rng(4)
    one, other = maps("near", rng, 3), maps("near", rng, 3)
    one[:, 1] = 2.0
    p = chance_of_agreement(one, other, CENTERS, ONE, n_permutations=99)
    assert np.isnan(p).tolist() == [False, True, False]
    np.testing.assert_array_equal(p, chance_of_agreement(one, other, CENTERS, ONE, n_permutations=99))
    moved = chance_of_agreement(3 * one - 1, other, 7 * CENTERS + 100, ONE, n_permutations=99)
    np.testing.assert_array_equal(p, moved)
    few = chance_of_agreement(one[:3], other[:3], CENTERS[:3], ONE[:3], n_permutations=99)
    assert np.isnan(few).all()
    same_place = chance_of_agreement(one[:9], other[:9], np.zeros((9, 2)), ONE[:9], n_permutations=99)
    assert np.isfinite(same_place[[0, 2]]).all()
    line = np.column_stack([np.arange(40.0), np.zeros(40)])
    assert np.isfinite(chance_of_agreement(one[:40], other[:40], line, ONE[:40], n_permutations=99)[0])
