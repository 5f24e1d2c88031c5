import numpy as np
import pytest

from bleep_sc.metrics import recovery


def test_by_hand():
    truth = np.array([5.0, 4, 3, 2, 1])
    found = recovery(np.array([5.0, 1, 4, 3, 2]), truth, n_top=2)
    assert found.overlap == 0.5
    assert found.auc == pytest.approx(3 / 6)  # the first beats three, the second none
    assert recovery(truth, truth, n_top=2).auc == 1


@pytest.mark.parametrize(("n_top", "scores"), [(5, np.ones(5)), (0, np.ones(5)), (2, np.full(5, np.nan))])
def test_bad_input(n_top, scores):
    with pytest.raises(ValueError, match=r"n_top=|finite"):
        recovery(scores, np.arange(5.0), n_top=n_top)
