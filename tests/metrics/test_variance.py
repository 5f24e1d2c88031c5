import numpy as np
import pytest

from bleep_sc.metrics import relative_variance_distance


def test_by_hand():
    truth = np.array([[0.0, 0, 1], [2, 4, 1]])  # variances 1, 4, 0
    prediction = np.array([[0.0, 0, 1], [2, 2, 1]])  # variances 1, 1, 0
    assert relative_variance_distance(prediction, truth, eps=0.5) == pytest.approx((3 / 4.5) ** 2 / 3)


def test_the_truth_is_best_and_the_mean_is_about_one():
    truth = np.random.default_rng(0).gamma(2, size=(50, 8))
    assert relative_variance_distance(truth, truth) == 0
    mean = np.tile(truth.mean(axis=0), (50, 1))
    assert relative_variance_distance(mean, truth) == pytest.approx(1, abs=0.02)
