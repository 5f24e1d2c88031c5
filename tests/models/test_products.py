import numpy as np
import pytest
import torch
from scipy import sparse

from bleep_sc.models import products
from bleep_sc.models.on_device import CPU
from bleep_sc.models.products import dense_tensor, product


@pytest.fixture
def matrix():
    """A sparse matrix with a place that is stored twice, and an empty row."""
    rows, columns = np.array([0, 0, 2, 2, 4]), np.array([1, 1, 0, 3, 2])
    stored = sparse.coo_matrix((np.arange(1, 6, dtype=np.float32), (rows, columns)), shape=(5, 4))
    twice = sparse.csr_matrix((5, 4), dtype=np.float32)
    twice.indptr, twice.indices = np.array([0, 2, 2, 4, 4, 5], dtype=np.int32), columns.astype(np.int32)
    twice.data = stored.data
    return twice, stored.toarray()


def test_sparse_matrices_are_made_dense_on_the_device(matrix):
    twice, dense = matrix
    for one, other in ((twice, dense), (twice.T, dense.T), (dense, dense), (dense.T, dense.T)):
        np.testing.assert_array_equal(dense_tensor(one, CPU), other)
    read_only = dense.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(dense_tensor(read_only, CPU), dense)


@pytest.mark.parametrize("there", [False, True])
def test_a_product_is_the_same_wherever_it_is_made(matrix, there, monkeypatch):
    twice, dense = matrix
    asked = []
    monkeypatch.setattr(products, "fits", lambda n_bytes, device: asked.append(n_bytes) or there)
    other = np.random.default_rng(0).normal(size=(5, 3))
    for one in (twice.T, dense.T):
        found = product(one, other, CPU)
        assert (type(found), found.dtype) == (np.ndarray, np.float64)
        np.testing.assert_allclose(found, dense.T @ other, atol=1e-6)
    assert asked == [8 * (4 * 5 + 5 * 3 + 4 * 3)] * 2


def test_products_of_the_cpu_are_those_of_numpy():
    one, other = np.random.default_rng(0).normal(size=(2, 7, 7)).astype(np.float32)
    np.testing.assert_array_equal(product(one, other, torch.device("cpu")), one @ other)
