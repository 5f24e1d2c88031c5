import numpy as np
import pytest

from bleep_sc.metrics import interval_score


def test_width_and_what_is_missed():
    lower, upper = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[3.0, 1.0], [3.0, 1.0]])
    truth = np.array([[2.0, -0.5], [3.5, 1.0]])
    # Gene 1: widths of 2, and .5 above once, times 2 / .2. Gene 2: widths of 1, and .5 below once.
    np.testing.assert_allclose(interval_score(lower, upper, truth, share=0.8), [2 + 0.5 * 10 / 2, 1 + 0.5 * 10 / 2])


def test_the_true_quantiles_are_best():
    truth = np.random.default_rng(0).normal(size=(20000, 1))
    shape = truth.shape
    scores = {
        factor: interval_score(np.full(shape, -1.2816 * factor), np.full(shape, 1.2816 * factor), truth, share=0.8)[0]
        for factor in (0.7, 0.9, 1.0, 1.1, 1.3)
    }
    assert min(scores, key=scores.get) == 1.0


def test_bad_input():
    ends = np.zeros((2, 1)), np.ones((2, 1))
    with pytest.raises(ValueError, match="share=90 must lie between 0 and 1"):
        interval_score(*ends, np.zeros((2, 1)), share=90)
    with pytest.raises(ValueError, match="lower= is above upper= in 2 entries"):
        interval_score(*ends[::-1], np.zeros((2, 1)), share=0.9)
