import numpy as np
import pytest
from scipy import sparse

from bleep_sc._arrays.checksums import column_factors, row_checksums, shortened

NAMES = [f"gene{i}" for i in range(30)]


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    return (random.random((20, 30)) * (random.random((20, 30)) < 0.4)).astype(np.float32)


def checksums(values, names=NAMES):
    return row_checksums(values, column_factors(names))


def slow(values, names):
    factors = [int(each) for each in column_factors(names)]
    bits = values.view(np.uint32).tolist()
    return [sum(f * b for f, b in zip(factors, row, strict=True)) % 2**64 for row in bits]


def test_they_are_the_sum_of_the_bits_times_the_factors(values):
    assert checksums(values).tolist() == slow(values, NAMES)


def test_layout_order_type_and_sign_of_zero_do_not_count(values):
    expected = checksums(values)
    explicit = sparse.csr_matrix(np.ones_like(values))
    explicit.data = values.ravel().copy()  # zeros are stored
    forms = (
        sparse.csr_matrix(values),
        sparse.csc_matrix(values),
        explicit,
        values.astype(np.float64),
        np.negative(-values),
    )
    for form in forms:
        np.testing.assert_array_equal(checksums(form), expected)
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_array_equal(checksums(values[:, order], [NAMES[i] for i in order]), expected)
    np.testing.assert_array_equal(checksums(values[[5, 3]]), expected[[5, 3]])
    np.testing.assert_array_equal(np.concatenate([checksums(values[:7]), checksums(values[7:])]), expected)


def test_every_bit_counts(values):
    expected = shortened(checksums(values))
    assert expected.dtype == np.uint32
    for bit in range(32):
        for column in range(30):
            changed = values.copy()
            changed[4].view(np.uint32)[column] ^= np.uint32(1 << bit)
            if changed[4, column] == values[4, column]:  # minus zero
                continue
            assert np.flatnonzero(shortened(checksums(changed)) != expected).tolist() == [4]


def test_a_name_counts_where_there_is_a_value(values):
    renamed = checksums(values, ["other", *NAMES[1:]])
    np.testing.assert_array_equal(renamed != checksums(values), values[:, 0] != 0)
