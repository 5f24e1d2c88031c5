import numpy as np
import pytest
from scipy import sparse

from bleep_sc.metrics import crps, mae
from bleep_sc.metrics import crps as crps_function


@pytest.fixture
def retrieved():
    random = np.random.default_rng(0)
    weights = random.random((4, 9)) * (random.random((4, 9)) < 0.6)
    weights[:, 0] += 0.1
    return weights / weights.sum(axis=1, keepdims=True), random.poisson(1.0, (9, 6)) * 1.0, random.normal(size=(4, 6))


def test_it_is_the_expectation_over_all_pairs(retrieved):
    weights, values, truth = retrieved
    expected = np.zeros(truth.shape)
    for query, share in enumerate(weights):
        for i, p in enumerate(share):
            expected[query] += p * np.abs(values[i] - truth[query])
            for j, q in enumerate(share):
                expected[query] -= p * q * np.abs(values[i] - values[j]) / 2
    np.testing.assert_allclose(crps(sparse.csr_matrix(weights), values, truth), expected.mean(axis=0))


def test_of_a_point_it_is_the_absolute_error(retrieved):
    _, values, truth = retrieved
    chosen = np.array([2, 0, 5, 5])
    weights = sparse.csr_matrix((np.ones(4), (np.arange(4), chosen)), shape=(4, 9))
    np.testing.assert_allclose(crps(weights, values, truth), mae(values[chosen], truth))


def test_blocks_of_genes_change_nothing(retrieved, monkeypatch):
    import importlib

    whole = crps_function(*retrieved)
    monkeypatch.setattr(importlib.import_module("bleep_sc.metrics.crps"), "BLOCK_BYTES", 1)
    np.testing.assert_allclose(crps_function(*retrieved), whole)


def test_a_truthful_spread_beats_a_point_and_a_blurred_one():
    random = np.random.default_rng(0)
    truth, members = random.normal(size=(200, 1)), random.normal(size=(400, 1))
    everyone = np.full((200, 400), 1 / 400)
    best = crps(everyone, members, truth)
    assert best < crps(everyone, 3 * members, truth)
    assert best < mae(np.zeros_like(truth), truth)


def test_empty_rows_are_refused():
    with pytest.raises(ValueError, match="1 rows without any reference spot"):
        crps(sparse.csr_matrix([[0.0, 0], [1, 0]]), np.ones((2, 1)), np.ones((2, 1)))


def test_weights_that_were_cut_are_refused(retrieved):
    weights, values, truth = retrieved
    with pytest.raises(ValueError, match=r"rows that sum to 0\.\d+, not to one"):
        crps(sparse.csr_matrix(weights)[:, :5], values[:5], truth)


def test_a_corrected_prediction_moves_the_distribution(retrieved):
    weights, values, truth = retrieved
    weights = sparse.csr_matrix(weights)
    mean, moved = weights @ values, np.random.default_rng(1).normal(size=truth.shape)
    np.testing.assert_allclose(crps(weights, values, truth, prediction=mean), crps(weights, values, truth))
    np.testing.assert_allclose(
        crps(weights, values, truth, prediction=moved), crps(weights, values, truth - moved + mean)
    )
    chosen = sparse.csr_matrix((np.ones(4), (np.arange(4), [2, 0, 5, 5])), shape=(4, 9))
    np.testing.assert_allclose(crps(chosen, values, truth, prediction=moved), mae(moved, truth))


def test_what_are_no_weights_and_shapes_that_do_not_fit_are_refused(retrieved):
    weights, values, truth = retrieved
    for wrong in (np.nan, -0.5):
        bad = weights.copy()
        bad[1, 0] = wrong
        with pytest.raises(ValueError, match="NaN or negative"):
            crps(sparse.csr_matrix(bad), values, truth)
    with pytest.raises(ValueError, match=r"do not fit: they are \(n_query, n_reference\)"):
        crps(sparse.csr_matrix(weights), values[:5], truth)
    with pytest.raises(ValueError, match=r"shapes differ: truth \(4, 6\), prediction \(6,\)"):
        crps(sparse.csr_matrix(weights), values, truth, prediction=truth[0])


def test_without_weights_all_reference_spots_count_alike(retrieved):
    """Also where truths are values of the reference, among ties, and moved to a prediction."""
    _, values, truth = retrieved
    truth = truth.copy()
    truth[:2] = values[3:5]
    alike = sparse.csr_matrix(np.full((4, 9), 1 / 9))
    np.testing.assert_allclose(crps(None, values, truth), crps(alike, values, truth), rtol=1e-10)
    moved = np.random.default_rng(1).normal(size=truth.shape)
    expected = crps(alike, values, truth, prediction=moved)
    np.testing.assert_allclose(crps(None, values, truth, prediction=moved), expected, rtol=1e-10)


def test_without_weights_shapes_are_compared_too(retrieved):
    _, values, truth = retrieved
    with pytest.raises(ValueError, match=r"values= \(9, 5\) and truth= \(4, 6\) do not fit"):
        crps(None, values[:, :5], truth)
    assert np.isnan(crps(None, values, truth[:0])).all()
