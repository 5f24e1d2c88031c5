import numpy as np

from bleep_sc.metrics import mae, rmse


def test_by_hand():
    prediction, truth = np.array([[1.0, 0], [3, 0]]), np.array([[0.0, 2], [0, 2]])
    np.testing.assert_allclose(rmse(prediction, truth), [np.sqrt(5), 2])
    np.testing.assert_allclose(mae(prediction, truth), [2, 2])
