import numpy as np
import pytest
from scipy import sparse

from bleep_sc.models.conserve import conserve, tiles_of_spots, weights_around


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    inside = rng.integers(-1, 6, 60)
    inside[inside == 4] = 5  # spot 4 has no tile
    nearest = np.where(inside >= 0, inside, rng.choice([-1, 0, 5], 60))
    rates = rng.gamma(1.0, 2.0, (60, 1100)).astype(np.float32)
    measured = rng.poisson(1.0, (6, 1100)).astype(np.float32)
    return rates, inside, nearest, measured


@pytest.fixture
def around():
    rng = np.random.default_rng(1)
    return sparse.csr_matrix(rng.random((60, 6)) * (rng.random((60, 6)) < 0.5))


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("interpolate", [True, False])
def test_tiles_of_a_spot_are_together_what_was_measured(case, around, summed, interpolate):
    _, inside, _, measured = case
    result = conserve(*case, summed=summed, around=around if interpolate else None)
    for spot in set(inside.tolist()) - {-1}:
        own = result[inside == spot].astype(np.float64)
        together = own.sum(axis=0) if summed else own.mean(axis=0)
        np.testing.assert_allclose(together, measured[spot], rtol=1e-6)


@pytest.mark.parametrize("summed", [True, False])
def test_it_is_what_a_slow_loop_computes(case, summed):
    rates, inside, nearest, measured = case
    expected = np.empty(rates.shape)
    given = had = 0.0
    levels = {}
    for spot in set(inside.tolist()) - {-1}:
        own = rates[inside == spot].astype(np.float64)
        level = measured[spot] / (len(own) if summed else 1)
        levels[spot] = level, own.mean(axis=0)
        given, had = given + level, had + own.mean(axis=0)
    for tile, spot in enumerate(np.where(inside >= 0, inside, nearest)):
        overall = given / had if summed else 1.0
        factor = overall if spot < 0 else levels[spot][0] / levels[spot][1]
        expected[tile] = rates[tile] * factor
    np.testing.assert_allclose(conserve(*case, summed=summed), expected, rtol=1e-5)


def test_what_was_not_predicted_is_spread_and_what_was_not_measured_is_nowhere():
    rates = np.array([[0.0, 3.0], [-1.0, 1.0], [0.0, 5.0]])
    inside, nearest = np.array([0, 0, -1]), np.array([0, 0, 0])
    measured = np.array([[6.0, 0.0]])
    assert conserve(rates, inside, nearest, measured, summed=True).tolist() == [[3, 0], [3, 0], [3, 0]]
    assert conserve(rates, inside, nearest, measured, summed=False).tolist() == [[6, 0], [6, 0], [6, 0]]


def test_how_a_prediction_is_scaled_changes_nothing(case):
    rates, *rest = case
    there = rest[1] >= 0
    one, other = conserve(rates, *rest, summed=False), conserve(7 * rates, *rest, summed=False)
    np.testing.assert_allclose(one[there], other[there], rtol=1e-5)


def test_tiles_are_part_of_the_spot_that_is_nearest_within_half_a_pitch():
    spots = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [100.0, 0.0]])
    tiles = np.array([[1.0, 1.0], [9.0, 0.0], [14.0, 0.0], [10.0, 6.0], [28.0, 0.0], [50.0, 0.0], [95.0, 9.0]])
    inside, nearest = tiles_of_spots(tiles, spots)
    assert inside.tolist() == [0, 1, 1, -1, -1, -1, -1]
    assert nearest.tolist() == [0, 1, 1, 1, -1, -1, -1]  # the spots at 20 and 100 have no tile


def test_factors_change_gradually_where_they_are_interpolated():
    tiles, spots = np.arange(0.0, 40.1, 2.5), np.array([5.0, 15.0, 25.0, 35.0])
    places, centers = (np.column_stack([x, 0 * x]) for x in (tiles, spots))
    inside, nearest = tiles_of_spots(places, centers)
    rates, measured = np.ones((len(tiles), 1)), np.array([[1.0], [2.0], [3.0], [4.0]])
    steps = conserve(rates, inside, nearest, measured, summed=False)
    slope = conserve(rates, inside, nearest, measured, summed=False, around=weights_around(places, centers))
    assert set(np.ravel(steps)) == {1.0, 2.0, 3.0, 4.0}
    assert (np.diff(slope[:, 0]) > -1e-6).all()
    assert np.abs(np.diff(slope[:, 0])).max() < 0.6
    again = conserve(slope, inside, nearest, measured, summed=False)
    np.testing.assert_allclose(again, slope, rtol=1e-6)  # what is conserved stays


def test_weights_are_of_spots_near_by():
    weights = weights_around(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])).toarray()
    np.testing.assert_allclose(weights, [[1.0, np.exp(-2), 0.0]])
