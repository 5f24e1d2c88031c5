import numpy as np
import pytest
from scipy.special import xlogy

from bleep_sc.metrics import batch_mixing, cluster_agreement, lisi, permuted


@pytest.fixture
def spots():
    random = np.random.default_rng(0)
    return random.normal(size=(120, 3)), random.choice(["a", "b", "c"], 120)


def test_lisi_equals_a_slow_version(spots):
    embedding, labels = spots
    perplexity = 10
    expected = []
    for i, point in enumerate(embedding):
        distance = np.sqrt(((embedding - point) ** 2).sum(axis=1))
        near = np.argsort(distance)[1 : 3 * perplexity]
        low, high = 1e-3, 1e3
        for _ in range(200):
            precision = np.sqrt(low * high)
            weights = np.exp(-precision * distance[near])
            weights /= weights.sum()
            entropy = -xlogy(weights, weights).sum()
            low, high = (precision, high) if entropy > np.log(perplexity) else (low, precision)
        simpson = sum(weights[labels[near] == label].sum() ** 2 for label in np.unique(labels))
        expected.append(1 / simpson)
        assert 1 <= expected[i] <= 3
    np.testing.assert_allclose(lisi(embedding, labels, perplexity=perplexity), expected, rtol=1e-3)


def test_lisi_is_that_of_the_published_code(spots):
    harmonypy = pytest.importorskip("harmonypy")
    import pandas as pd

    embedding, labels = spots
    for perplexity in (10, 30):
        expected = harmonypy.compute_lisi(embedding, pd.DataFrame({"batch": labels}), ["batch"], perplexity)
        np.testing.assert_allclose(lisi(embedding, labels, perplexity=perplexity), expected[:, 0], rtol=0.02)


def test_a_distance_that_all_spots_have_from_each_other_changes_little(spots):
    embedding, labels = spots
    apart = np.column_stack([1000 * embedding, 1e5 * np.eye(len(embedding))])
    assert np.corrcoef(lisi(apart, labels, perplexity=10), lisi(embedding, labels, perplexity=10))[0, 1] > 0.9


def test_a_spot_among_its_duplicates_is_no_neighbour_of_its_own():
    embedding = np.repeat(np.arange(4.0) * 100, 12)[:, None]
    labels = np.tile(["a"] * 1 + ["b"] * 11, 4)  # every duplicate of the first is of the other label
    np.testing.assert_allclose(lisi(embedding, labels, perplexity=4)[labels == "a"], 1, rtol=1e-6)


def test_mixed_batches_score_high_and_separate_ones_low(spots):
    embedding, labels = spots
    mixed = batch_mixing(embedding, labels, perplexity=20)
    apart = batch_mixing(
        embedding + 50 * (labels == "a")[:, None] + 100 * (labels == "b")[:, None], labels, perplexity=9
    )
    assert mixed.lisi > 0.6
    assert mixed.silhouette > 0.9
    assert apart.lisi == pytest.approx(0, abs=1e-6)
    assert apart.silhouette < 0.2


def test_duplicated_spots_are_no_problem():
    values = np.zeros((60, 2))
    labels = np.repeat(["a", "b"], 30)
    assert np.isfinite(lisi(values, labels, perplexity=10)).all()


def test_bad_input(spots):
    embedding, labels = spots
    with pytest.raises(ValueError, match="perplexity=60"):
        lisi(embedding, labels, perplexity=60)
    with pytest.raises(ValueError, match="119 entries for 120 spots"):
        lisi(embedding, labels[1:], perplexity=10)
    with pytest.raises(ValueError, match="single batch"):
        batch_mixing(embedding, np.full(120, "a"))


def test_clusters_agree_whatever_they_are_called():
    a = np.array([0, 0, 1, 1, 2, 2])
    assert cluster_agreement(a, np.array(list("xxyyzz"))) == {"ari": 1, "nmi": 1, "ami": 1}
    assert cluster_agreement(a, np.array([0, 1, 2, 0, 1, 2]))["ami"] < 0


def test_a_permuted_prediction_keeps_its_genes_together():
    prediction = np.arange(20.0).reshape(10, 2)
    shuffled = permuted(prediction, random_state=1)
    np.testing.assert_array_equal(shuffled[:, 1] - shuffled[:, 0], 1)
    assert not np.array_equal(shuffled, prediction)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), prediction)
