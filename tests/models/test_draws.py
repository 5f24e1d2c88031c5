import numpy as np
import pytest
from scipy import sparse

from bleep_sc.models import draws
from bleep_sc.models.draws import draw_spots, group_draws, group_weights


@pytest.fixture
def weights():
    """Seven spots of two samples, ten reference spots, rows of different length, a stored zero."""
    random = np.random.default_rng(0)
    dense = random.random((7, 10)) * (random.random((7, 10)) < 0.6)
    dense[:, 4] += 0.1
    matrix = sparse.csr_matrix(dense / dense.sum(axis=1, keepdims=True))
    matrix.data[matrix.indptr[3] - 1] = 0  # the last of a row
    matrix.data[matrix.indptr[3]] = 0  # the first of the next
    return sparse.csr_matrix(matrix.multiply(1 / matrix.sum(axis=1)))


SAMPLES = np.array([0, 0, 0, 1, 1, 1, 1])
DONORS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def frequencies(weights, donors=None, n=20_000):
    random, counts = np.random.default_rng(1), np.zeros(weights.shape)
    for _ in range(n):
        counts[np.arange(len(SAMPLES)), draw_spots(weights, SAMPLES, random, donors=donors)] += 1
    return counts / n


def test_every_spot_is_drawn_with_its_weight(weights):
    drawn = frequencies(weights)
    np.testing.assert_allclose(drawn, weights.toarray(), atol=0.015)
    assert (drawn[weights.toarray() == 0] == 0).all()


def test_of_donors_the_first_that_a_spot_has_gives_it(weights):
    """By hand: every order of the three donors is as likely, and inside a donor weights decide."""
    dense, expected = weights.toarray(), np.zeros(weights.shape)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for row, chances in enumerate(dense):
            donor = next(donor for donor in order if chances[donor == DONORS].sum() > 0)
            part = chances * (donor == DONORS)
            expected[row] += part / part.sum() / 6
    np.testing.assert_allclose(frequencies(weights, DONORS), expected, atol=0.015)


def test_spots_of_a_sample_share_their_donor_and_samples_do_not():
    weights, random = sparse.csr_matrix(np.full((7, 10), 0.1)), np.random.default_rng(2)
    of_samples = []
    for _ in range(200):
        donor = DONORS[draw_spots(weights, SAMPLES, random, donors=DONORS)]
        assert len(set(donor[SAMPLES == 0])) == len(set(donor[SAMPLES == 1])) == 1
        of_samples.append(donor[[0, -1]])
    same = np.mean([one == other for one, other in of_samples])
    assert same == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("donors", [None, DONORS])
def test_blocks_change_nothing(weights, monkeypatch, donors):
    expected = draw_spots(weights, SAMPLES, np.random.default_rng(3), donors=donors)
    monkeypatch.setattr(draws, "ROWS", 2)
    np.testing.assert_array_equal(draw_spots(weights, SAMPLES, np.random.default_rng(3), donors=donors), expected)


def test_the_shares_of_groups_are_means_of_their_spots(weights):
    groups, values = np.array([0, 0, 1, 2, 2, 2, 2]), np.random.default_rng(4).random((10, 3))
    random = np.random.default_rng(0)
    for shares in group_draws(weights, groups, SAMPLES, 3, donors=DONORS, random_state=0):
        rows = values[draw_spots(weights, SAMPLES, random, donors=DONORS)]
        expected = [rows[groups == group].mean(axis=0) for group in range(3)]
        np.testing.assert_allclose(shares @ values, expected)
    expected = [(weights @ values)[groups == group].mean(axis=0) for group in range(3)]
    np.testing.assert_allclose(group_weights(weights, groups) @ values, expected)
