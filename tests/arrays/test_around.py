import numpy as np
import pytest

from bleep_sc._arrays.around import average_around


@pytest.fixture
def places():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 3)).astype(np.float32), rng.uniform(0, 1000, size=(60, 2))


def slow(values, centers, radius):
    result = []
    for here in centers:
        total, weight = np.zeros(values.shape[1]), 0.0
        for there, value in zip(centers, values, strict=True):
            distance = float(np.hypot(*(here - there)))
            if distance <= radius:
                w = np.exp(-(distance**2) / (2 * (radius / 2) ** 2))
                total, weight = total + w * value, weight + w
        result.append(total / weight)
    return np.array(result)


def test_it_is_the_weighted_mean_of_what_is_near(places):
    values, centers = places
    for radius in (1.0, 150.0, 5000.0):
        result = average_around(values, centers, radius)
        np.testing.assert_allclose(result, slow(values, centers, radius), rtol=1e-4, atol=1e-5)


def test_only_distances_count(places):
    values, centers = places
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    expected = average_around(values, centers, 200.0)
    np.testing.assert_allclose(average_around(values, centers @ turn.T + 1e4, 200.0), expected, atol=1e-5)
    np.testing.assert_allclose(average_around(values, centers * [-1, 1], 200.0), expected, atol=1e-5)


def test_blocks_of_rows_change_nothing(places, monkeypatch):
    values, centers = places
    expected = average_around(values, centers, 200.0)
    monkeypatch.setattr("bleep_sc._arrays.around.ROWS", 7)
    np.testing.assert_array_equal(average_around(values, centers, 200.0), expected)
