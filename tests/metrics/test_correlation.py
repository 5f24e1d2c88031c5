import numpy as np
import pytest
from scipy import stats

from bleep_sc.metrics import pearson, spearman


@pytest.mark.parametrize(("ours", "theirs"), [(pearson, stats.pearsonr), (spearman, stats.spearmanr)])
def test_every_column_equals_scipy(ours, theirs):
    rng = np.random.default_rng(0)
    truth = rng.poisson(1.0, size=(40, 6)).astype(float)
    prediction = truth + rng.normal(size=truth.shape)
    expected = [theirs(prediction[:, g], truth[:, g]).statistic for g in range(6)]
    np.testing.assert_allclose(ours(prediction, truth), expected, rtol=1e-12)


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_a_column_that_does_not_vary_has_no_correlation_and_shifts_no_other(correlation):
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(20, 4)), rng.normal(size=(20, 4)).astype(np.float32)
    expected = correlation(prediction, truth)
    prediction[:, 1], truth[:, 2] = 0.1, 0.0
    result = correlation(prediction, truth)
    np.testing.assert_array_equal(np.isnan(result), [False, True, True, False])
    np.testing.assert_array_equal(result[[0, 3]], expected[[0, 3]])


def test_nan_stays_in_its_column():
    truth, prediction = np.arange(6.0).reshape(3, 2) ** 2, np.arange(6.0).reshape(3, 2)
    prediction[0, 0] = np.nan
    for correlation in (pearson, spearman):
        result = correlation(prediction, truth)
        assert np.isnan(result[0])
        assert result[1] > 0.9
