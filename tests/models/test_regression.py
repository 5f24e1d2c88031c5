import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from bleep_sc._arrays import blocks
from bleep_sc.models.regression import EmbeddingRegression, unit


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    reference, query = (rng.normal(size=(n, 6)).astype(np.float32) for n in (80, 30))
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    values = np.maximum(reference @ rng.normal(size=(6, 9)) + rng.normal(size=(80, 9)), 0).astype(np.float32)
    return reference, query, values


def by_norm(x):
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


def test_it_is_ridge_regression_on_unit_embeddings(data):
    reference, query, values = data
    regression = EmbeddingRegression.fit(reference, 3.0)
    expected = Ridge(alpha=3.0).fit(by_norm(reference), values).predict(query)
    np.testing.assert_allclose(regression.predict(query, values), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(regression.predict(query, sparse.csr_matrix(values)), expected, rtol=1e-3, atol=1e-4)


def test_a_mean_of_embeddings_is_predicted_as_the_mean_of_their_predictions(data):
    """What is averaged over tissue is shorter than one, and stays so."""
    reference, query, values = data
    regression = EmbeddingRegression.fit(reference, 3.0)
    expected = regression.predict(query, values).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(regression.predict(query.mean(axis=0, keepdims=True), values), expected, atol=1e-5)


def test_units_have_norm_one_and_nothing_stays_nothing(data):
    reference, _, _ = data
    np.testing.assert_allclose(unit(reference), by_norm(reference), atol=1e-6)
    np.testing.assert_array_equal(unit(np.zeros((2, 6))), 0)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_spots_may_count_more_or_less(data, kind):
    reference, query, values = data
    weights = np.random.default_rng(2).uniform(0.2, 5, size=80).astype(np.float32)
    ridge = Ridge(alpha=3.0).fit(by_norm(reference), values, sample_weight=weights)
    regression = EmbeddingRegression.fit(reference, 3.0, weights)
    predicted = regression.predict(query, kind(values))
    np.testing.assert_allclose(predicted, ridge.predict(query), rtol=1e-3, atol=1e-4)
    one_by_one = [regression.predict(query, kind(values[:, [gene]])) for gene in range(9)]  # one operator for all
    np.testing.assert_allclose(np.concatenate(one_by_one, axis=1), predicted, rtol=1e-4, atol=1e-5)
    twice = EmbeddingRegression.fit(np.repeat(reference, 2, axis=0), 3.0)
    expected = twice.predict(query, np.repeat(values, 2, axis=0))
    two = EmbeddingRegression.fit(reference, 3.0, np.full(80, 2, dtype=np.float32))
    np.testing.assert_allclose(two.predict(query, kind(values)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_correction_is_a_step_towards_it_within_what_was_measured(data, kind):
    reference, query, values = data
    regression = EmbeddingRegression.fit(reference, 3.0)
    retrieved = np.random.default_rng(1).uniform(0, 2, size=(30, 9)).astype(np.float32)
    shrinkage = np.linspace(0, 1, 9).astype(np.float32)
    step = retrieved + shrinkage * (regression.predict(query, values) - retrieved)
    expected = np.clip(step, values.min(axis=0), values.max(axis=0))
    blocks = [
        (slice(r, r + 10), slice(c, c + 3), retrieved[r : r + 10, c : c + 3]) for c in (0, 3, 6) for r in (0, 10, 20)
    ]
    result = np.empty_like(retrieved)
    for rows, columns, part in regression.correct(blocks, query, kind(values), shrinkage):
        result[rows, columns] = part
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


class OnDisk:
    """Rows that are read when they are asked for."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __getitem__(self, rows):
        return self.values[rows]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_embeddings_and_expression_may_pass_by_in_blocks(data, kind, monkeypatch):
    reference, query, values = data
    weights = np.random.default_rng(2).uniform(0.2, 5, size=80).astype(np.float32)
    shrinkage, retrieved = np.full(9, 0.5, dtype=np.float32), np.ones((30, 9), dtype=np.float32)
    whole = [(slice(0, 30), slice(0, 9), retrieved)]
    results = []
    for n_rows, place in ((80, np.asarray), (7, OnDisk)):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 9 * n_rows)
        regression = EmbeddingRegression.fit(place(reference), 3.0, weights)
        stored = kind(values) if place is np.asarray else OnDisk(kind(values))
        corrected = [part for _, _, part in regression.correct(whole, query, stored, shrinkage)]
        results.append((regression.predict(query, stored), *corrected))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
