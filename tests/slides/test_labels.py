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


def test_a_block_is_not_sorted(monkeypatch):
    """Which takes twenty times as long as to look up every px."""
    labels, unique = np.repeat(np.arange(40, dtype=np.uint32), 25).reshape(25, 40), np.unique
    sorted_at_once = []
    monkeypatch.setattr(
        np, "unique", lambda values, **how: sorted_at_once.append(np.size(values)) or unique(values, **how)
    )
    assert label_centers(labels)[2].tolist() == [25] * 39
    assert max(sorted_at_once) == 40
