import numpy as np
import pytest
from scipy import sparse

from bleep_sc._arrays import blocks
from bleep_sc._arrays.moments import moments
from bleep_sc._arrays.sparse_rows import SparseRows


@pytest.mark.parametrize("n_rows", [1, 7, 50])
@pytest.mark.parametrize("kind", [np.asarray, lambda values: SparseRows(sparse.csr_matrix(values))])
def test_they_are_those_of_all_rows_whatever_the_blocks(n_rows, kind, monkeypatch):
    """Far from zero, too, where a mean of squares less a squared mean would be rounding."""
    rng = np.random.default_rng(0)
    values = (1e4 + rng.normal(size=(50, 3))).astype(np.float32)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 3 * n_rows)
    mean, variance = moments(kind(values))
    np.testing.assert_allclose(mean, values.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, values.var(axis=0, dtype=np.float64), rtol=1e-9)
