import numpy as np
import pytest
from scipy import sparse

from bleep_sc.metrics import noise_ceiling, pearson, reliability


@pytest.fixture
def simulated():
    """Poisson counts of known rates: four genes deep and varied, four shallow, four that do not vary at all."""
    random = np.random.default_rng(0)
    rates = np.concatenate(
        [random.gamma(4, 8, (3000, 4)), random.gamma(4, 0.1, (3000, 4)), np.full((3000, 4), 20.0)], axis=1
    )
    # A common background keeps the depth of a spot from following its genes.
    rates = np.concatenate([rates, np.full((3000, 1), 5e4)], axis=1)
    return rates, random.poisson(rates)


def test_it_is_the_correlation_of_a_second_measurement(simulated):
    rates, counts = simulated
    again = np.random.default_rng(1).poisson(rates)

    def logs(values):
        return np.log1p(1e4 * values / values.sum(axis=1, keepdims=True))

    expected = pearson(logs(counts), logs(again))
    found = reliability(counts)
    for genes in (slice(0, 4), slice(4, 8), slice(8, 12)):
        assert found[genes].mean() == pytest.approx(expected[genes].mean(), abs=0.04)


def test_no_prediction_correlates_better_than_the_ceiling(simulated):
    rates, counts = simulated
    logs = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    reached = pearson(np.log1p(1e4 * rates / rates.sum(axis=1, keepdims=True)), logs)
    np.testing.assert_allclose(noise_ceiling(counts)[:8], reached[:8], atol=0.06)


def test_with_few_counts_it_is_too_high_by_little():
    """A thousand counts a spot of a panel with few strong genes, as on the smallest spots of her2st."""
    random = np.random.default_rng(0)
    levels = np.exp(random.normal(0, 1.5, 300))
    pattern = np.exp(random.normal(0, 0.6, (1500, 3)) @ random.normal(0, 0.6, (3, 300)))
    rates = levels * pattern
    rates *= 1000 / rates.sum(axis=1, keepdims=True)
    first, second = (np.random.default_rng(seed).poisson(rates) for seed in (1, 2))
    logs = [np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)) for counts in (first, second)]
    top = np.argsort(-logs[0].var(axis=0))[:50]
    excess = (np.sqrt(reliability(first)) - np.sqrt(np.maximum(pearson(*logs), 0)))[top].mean()
    assert 0 < excess < 0.06


def test_a_prediction_is_not_credited_with_the_depth_of_spots():
    """Spots that differ in nothing but depth agree with a second measurement, and with no prediction of expression."""
    random = np.random.default_rng(0)
    levels = np.exp(random.normal(0, 1.5, 300))
    depth = 300 * np.exp(random.normal(0, 0.6, (1500, 1)))
    counts = random.poisson(depth * levels / levels.sum())
    top = np.argsort(-levels)[:50]
    assert np.sqrt(reliability(counts))[top].mean() > 0.35
    assert noise_ceiling(counts)[top].mean() < 0.15


def test_where_depth_follows_the_tissue_the_ceiling_is_what_the_true_profile_reaches():
    random = np.random.default_rng(0)
    levels, tissue = np.exp(random.normal(0, 1.5, 300)), random.normal(size=(1500, 1))
    shares = levels * np.exp(tissue @ random.normal(0, 0.5, (1, 300)))
    shares /= shares.sum(axis=1, keepdims=True)
    counts = random.poisson(500 * np.exp(0.2 * tissue + random.normal(0, 0.4, (1500, 1))) * shares)
    reached = pearson(np.log1p(1e4 * shares), np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)))
    top = np.argsort(-levels)[:50]
    found, credited = (np.mean(each[top]) for each in (noise_ceiling(counts), np.sqrt(reliability(counts))))
    assert found == pytest.approx(reached[top].mean(), abs=0.05)
    assert credited > found + 0.03


def test_few_spots_and_empty_ones_say_nothing():
    counts = np.random.default_rng(0).poisson(5, (40, 4))
    with_empty = np.vstack([counts[:20], np.zeros((15, 4), dtype=int), counts[20:]])
    np.testing.assert_array_equal(noise_ceiling(with_empty), noise_ceiling(counts))
    for few in (counts[:0], counts[:1], counts[:2], with_empty[18:22] * [[0], [1], [1], [0]]):
        assert np.isnan(reliability(few)).all()


def test_sparse_is_dense_and_seeds_decide(simulated):
    _, counts = simulated
    small = counts[:200]
    np.testing.assert_array_equal(reliability(small), reliability(sparse.csc_matrix(small)))
    assert not np.array_equal(reliability(small), reliability(small, random_state=1))


def test_genes_without_counts_are_nan():
    counts = np.random.default_rng(0).poisson(3, (50, 3))
    counts[:, 1] = 0
    np.testing.assert_array_equal(np.isnan(noise_ceiling(counts)), [False, True, False])


def test_logarithms_are_refused():
    with pytest.raises(ValueError, match="whole numbers"):
        reliability(np.array([[0.5, 1.0]]))
