import numpy as np
import pytest
from scipy import sparse

from bleep_sc._arrays import blocks
from bleep_sc._arrays.blocks import dense, extremes, row_blocks, slices, some_rows, squares, stored_values


@pytest.mark.parametrize(("n", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3), (2, 5)])
def test_slices_hold_every_row_once_in_order_and_end_at_the_last(n, size):
    parts = slices(n, size)
    assert [row for part in parts for row in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start <= size for part in parts)
    assert not parts or parts[-1].stop == n


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
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


def test_a_matrix_of_columns_is_brought_to_rows_once(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 3)
    assert {block.format for _, block in row_blocks(sparse.csc_matrix(np.eye(9, 3)))} == {"csr"}


class OnDisk:
    def __init__(self, values):
        self.values, self.shape, self.read = values, values.shape, []

    def __getitem__(self, rows):
        self.read.append(rows.stop - rows.start)
        return self.values[rows]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_of_rows_that_lie_apart_no_more_are_read_at_once_than_are_asked_for(kind, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 100)
    values = np.random.default_rng(0).normal(size=(5000, 1))
    some = [np.r_[0:130, 4900:5000], np.r_[7:5000:41], np.r_[0:3, 4000], np.array([], dtype=int)]
    for rows in some:
        stored = OnDisk(kind(values))
        found = [dense(block) for _, block in row_blocks(some_rows(stored, rows))]
        np.testing.assert_array_equal(np.concatenate([np.empty((0, 1)), *found]), values[rows].astype(np.float32))
        assert max(stored.read, default=0) <= 100
        assert sum(stored.read) <= max(len(rows), rows.max(initial=0))
    assert some_rows(OnDisk(values), some[0])[0:0].shape == (0, 1)


def test_stored_values_of_a_sparse_matrix_leave_out_what_it_does_not_store():
    matrix = sparse.csr_matrix(np.array([[0.0, 2.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(np.sort(stored_values(matrix)), [2, 3])
    np.testing.assert_array_equal(stored_values(matrix.toarray()), matrix.toarray())
