import numpy as np
import pytest
from scipy import sparse

from bleep_sc._arrays import sparse_rows
from bleep_sc._arrays.sparse_rows import SparseRows, dense_if_small


@pytest.fixture
def matrix():
    return sparse.random(50, 8, 0.3, random_state=0, format="csr", dtype=np.float64)


def test_rows_are_dense_when_they_are_read(matrix):
    rows, dense = SparseRows(matrix.astype(np.float32)), matrix.toarray().astype(np.float32)
    mask = np.arange(50) % 3 == 0
    for index in (slice(3, 9), np.array([7, 2, 2]), mask):
        np.testing.assert_array_equal(rows[index], dense[index])
        assert rows[index].dtype == np.float32
    np.testing.assert_array_equal(rows.take(mask)[:], dense[mask])
    assert isinstance(rows.take(mask), SparseRows)
    places, parts = zip(*rows.batches(7), strict=True)
    np.testing.assert_array_equal(np.concatenate(places), np.arange(50))
    np.testing.assert_array_equal(np.concatenate(parts), dense)
    assert (rows.shape, len(rows), rows.nbytes) == (dense.shape, 50, dense.nbytes)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_what_is_large_stays_sparse_and_what_is_dense_stays_dense(matrix, kind, monkeypatch):
    given, dense = kind(matrix), matrix.toarray().astype(np.float32)
    monkeypatch.setattr(sparse_rows, "DENSE_BYTES", dense.nbytes)
    np.testing.assert_array_equal(dense_if_small(given), dense)
    monkeypatch.setattr(sparse_rows, "DENSE_BYTES", dense.nbytes - 1)
    large = dense_if_small(given)
    assert isinstance(large, SparseRows)
    np.testing.assert_array_equal(large[:], dense)
    assert dense_if_small(dense) is dense


def test_what_is_float32_in_rows_is_not_copied(matrix, monkeypatch):
    monkeypatch.setattr(sparse_rows, "DENSE_BYTES", 0)
    given = matrix.astype(np.float32)
    assert np.shares_memory(dense_if_small(given).stored.data, given.data)
