"""Concordance and partial correlation."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from bleep_sc.metrics import concordance, partial_pearson, pearson


@pytest.fixture
def sides():
    random = np.random.default_rng(0)
    truth = random.gamma(2, size=(40, 5))
    return truth + random.normal(size=truth.shape), truth, truth + 2 * random.normal(size=truth.shape)


def test_concordance_equals_its_definition(sides):
    prediction, truth, _ = sides
    expected = []
    for a, b in zip(prediction.T, truth.T, strict=True):
        covariance = np.mean((a - a.mean()) * (b - b.mean()))
        expected.append(2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    np.testing.assert_allclose(concordance(prediction, truth), expected)


def test_concordance_is_one_only_for_the_truth_itself(sides):
    _, truth, _ = sides
    np.testing.assert_allclose(concordance(truth, truth), 1)
    assert (concordance(truth + 1, truth) < 0.9).all()
    assert (concordance(0.5 * truth, truth) < pearson(0.5 * truth, truth)).all()


def test_concordance_of_constants(sides):
    _, truth, _ = sides
    constant = np.ones_like(truth)
    np.testing.assert_array_equal(concordance(constant, truth), 0)
    assert np.isnan(concordance(truth, constant)).all()


def test_partial_correlation_is_that_of_residuals(sides):
    prediction, truth, given = sides
    expected = []
    for a, b, c in zip(prediction.T, truth.T, given.T, strict=True):
        left = [side - LinearRegression().fit(c[:, None], side).predict(c[:, None]) for side in (a, b)]
        expected.append(np.corrcoef(*left)[0, 1])
    np.testing.assert_allclose(partial_pearson(prediction, truth, given), expected)


def test_partial_correlation_of_what_adds_nothing(sides):
    prediction, truth, _ = sides
    assert np.isnan(partial_pearson(3 * prediction + 1, truth, prediction)).all()
    constant = np.ones_like(truth)
    np.testing.assert_allclose(partial_pearson(prediction, truth, constant), pearson(prediction, truth))
