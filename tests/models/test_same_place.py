import numpy as np
import pytest
from scipy import sparse

from bleep_sc.models.same_place import agreement, mean_and_variance, place_weights


@pytest.fixture
def places():
    rng = np.random.default_rng(0)
    laid = rng.uniform(0, 1000, (60, 2))
    laid[::7] = np.nan
    return rng.uniform(0, 1000, (25, 2)), laid


def test_weights_are_those_of_a_slow_version(places):
    points, laid = places
    weights = place_weights(points, laid, 120.0)
    for point, row in zip(points, weights.toarray(), strict=True):
        distance = np.linalg.norm(laid - point, axis=1)
        slow = np.where(distance <= 360, np.exp(-(distance**2) / (2 * 120**2)), 0)
        np.testing.assert_allclose(row, slow / slow.sum(), atol=1e-10)


def test_far_from_all_the_nearest_spot_counts_alone(places):
    points, laid = places
    laid = np.concatenate([laid, [[5000, 5000], [5050, 5000]]])
    weights = place_weights(np.array([[9000.0, 5000.0], *points]), laid, 50.0).toarray()
    assert weights[0, -1] == 1
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights[:, ::7][:, :9].max() == 0  # those that are not copied from


def test_means_and_variances_are_those_of_a_slow_version(places):
    points, laid = places
    weights = place_weights(points, laid, 200.0)
    values = np.random.default_rng(1).poisson(1.0, (len(laid), 4)).astype(np.float32)
    for each in (values, sparse.csr_matrix(values)):
        mean, variance = mean_and_variance(weights, each)
        for row, own_mean, own_variance in zip(weights.toarray(), mean, variance, strict=True):
            slow = row @ values
            np.testing.assert_allclose(own_mean, slow, rtol=1e-5)
            np.testing.assert_allclose(own_variance, row @ (values - slow) ** 2, atol=1e-5)


def test_agreement_by_hand():
    morphology, place = np.array([[1.0, 2.0], [1.0, 0.0]]), np.array([[1.0, 2.0], [2.0, 4.0]])
    np.testing.assert_allclose(agreement(morphology, place, np.array([1.0, 2.0])), [0, -(1 + 4) / 2])
