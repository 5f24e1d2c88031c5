import numpy as np
import pytest
from scipy import sparse

from bleep_sc._arrays import blocks
from bleep_sc._arrays.blocks import dense, extremes, row_blocks, slices, squares, stored_values


@pytest.mark.parametrize(("n", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3), (2, 5)])
def test_slices_hold_every_row_once_in_order_and_end_at_the_last(n, size):
    parts = slices(n, size)
    assert [row for part in parts for row in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start <= size for part in parts)
    assert not parts or parts[-1].stop == n


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_blocks_of_rows_are_the_rows(kind, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 3 * 4)  # four rows of three columns
    values = np.random.default_rng(0).poisson(1.0, (10, 3)).astype(np.float32) - 1
    found = list(row_blocks(kind(values)))
    assert [(rows.start, rows.stop) for rows, _ in found] == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_array_equal(np.concatenate([dense(block) for _, block in found]), values)
    lowest, highest = extremes(kind(values))
    np.testing.assert_array_equal((lowest, highest), (values.min(axis=0), values.max(axis=0)))
    np.testing.assert_array_equal(dense(squares(kind(values))), values**2)


def test_only_what_is_needed_of_a_block_is_given(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 4)
    needed = np.isin(np.arange(12), [1, 2, 9])
    assert [(rows.start, rows.stop) for rows, _ in row_blocks(np.zeros((12, 1)), needed=needed)] == [(1, 3), (9, 10)]
    within = [(rows.start, rows.stop) for rows, _ in row_blocks(np.zeros((12, 1)), within=slice(3, 8))]
    assert within == [(3, 7), (7, 8)]


def test_stored_values_of_a_sparse_matrix_leave_out_what_it_does_not_store():
    matrix = sparse.csr_matrix(np.array([[0.0, 2.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(np.sort(stored_values(matrix)), [2, 3])
    np.testing.assert_array_equal(stored_values(matrix.toarray()), matrix.toarray())
