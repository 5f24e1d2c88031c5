import numpy as np
import pytest

from bleep_sc.slides import _labels
from bleep_sc.slides._labels import label_centers


@pytest.mark.parametrize("block", [3, 7, 4096])
def test_centres_are_the_means_of_px_whatever_is_read_at_once(monkeypatch, block):
    labels = np.random.default_rng(0).choice([0, 3, 5, 900_000_000], (20, 13))
    monkeypatch.setattr(_labels, "BLOCK", block)
    names, centers, n_px = label_centers(labels)
    assert names.tolist() == [3, 5, 900_000_000]
    for name, center, n in zip(names, centers, n_px, strict=True):
        y, x = np.nonzero(labels == name)
        np.testing.assert_allclose(center, [x.mean() + 0.5, y.mean() + 0.5])
        assert n == len(x)
