import numpy as np
import pytest
import torch

from bleep_sc._arrays import blocks
from bleep_sc.models import anchor_weights, anchors, retrieval

SLIDES = np.repeat(["b", "a"], [23, 17])


def spots(n, seed, n_dims=6):
    return np.random.default_rng(seed).normal(size=(n, n_dims)).astype(np.float32)


@pytest.fixture
def tissue():
    """Query spots of two slides, and expression and images of a reference."""
    return spots(40, 0), spots(61, 1), spots(61, 2)


def placed(values, metric):
    values = np.asarray(values, dtype=np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True) if metric == "cosine" else values


def ranked(one, others):
    """Rows of the others by their distance to one, the nearest first."""
    return np.argsort(np.linalg.norm(others - one, axis=1), kind="stable")


def slow(query, keys, images, metric, n_neighbors):
    """Weights of the reference spots for the spots of one slide, pair by pair, as Stuart et al. (2019) say."""
    query, keys, images = (placed(each, metric) for each in (query, keys, images))
    k_anchor, k_score, k_filter = anchors.K_ANCHOR, anchors.K_SCORE, anchors.K_FILTER
    pairs = []
    for r in range(len(keys)):
        for q in range(len(query)):
            is_mutual = r in ranked(query[q], keys)[:k_anchor] and q in ranked(keys[r], query)[:k_anchor]
            if is_mutual and q in ranked(images[r], query)[:k_filter]:
                pairs.append((r, q))
    common = []
    for r, q in pairs:
        of_r = {("key", i) for i in ranked(keys[r], keys)[:k_score]} | {
            ("spot", i) for i in ranked(keys[r], query)[:k_score]
        }
        of_q = {("key", i) for i in ranked(query[q], keys)[:k_score]} | {
            ("spot", i) for i in ranked(query[q], query)[:k_score]
        }
        common.append(len(of_r & of_q))
    low, high = np.quantile(common, 0.01), np.quantile(common, 0.9)
    scores = [min(max((each - low) / (high - low), 0), 1) if high > low else 1.0 for each in common]
    result = np.zeros((len(query), len(keys)))
    for spot in range(len(query)):
        far = [np.linalg.norm(query[q] - query[spot]) for _, q in pairs]
        near = sorted(range(len(pairs)), key=lambda i: (far[i], pairs[i][1], -scores[i], pairs[i][0]))[:n_neighbors]
        last = far[near[-1]]
        weight = [1 - np.exp(-(1 - far[i] / last if last else 1) * scores[i] / 4) for i in near]
        if sum(weight) == 0:
            weight = [scores[i] for i in near]
        if sum(weight) == 0:
            weight = [1.0] * len(near)
        for i, share in zip(near, weight, strict=True):
            result[spot, pairs[i][0]] += share / sum(weight)
    return result


def as_matrix(found, n_keys):
    neighbors, weights = found
    return retrieval.weight_matrix(neighbors.index, weights, n_keys).toarray()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_neighbors", [1, 12, 50])
@pytest.mark.parametrize(("k_filter", "k_score"), [(200, 30), (6, 7)])
def test_equals_a_slow_search_slide_by_slide(tissue, metric, n_neighbors, k_filter, k_score, monkeypatch):
    monkeypatch.setattr(anchors, "K_FILTER", k_filter)
    monkeypatch.setattr(anchors, "K_SCORE", k_score)
    query, keys, images = tissue
    found = anchor_weights(query, keys, images=images, slides=SLIDES, n_neighbors=n_neighbors, metric=metric)
    expected = np.zeros((40, 61))
    for slide in "ab":
        here = slide == SLIDES
        expected[here] = slow(query[here], keys, images, metric, n_neighbors)
    np.testing.assert_allclose(as_matrix(found, 61), expected, atol=2e-6)
    assert found[1].shape[1] <= n_neighbors
    np.testing.assert_allclose(found[1].sum(dim=1), 1, atol=1e-6)


def test_similarity_is_that_of_a_spot_and_its_reference_spots(tissue):
    query, keys, images = tissue
    found, _ = anchor_weights(query, keys, images=images, slides=SLIDES, n_neighbors=9)
    units = [placed(each, "cosine") for each in (query, keys)]
    np.testing.assert_allclose(
        found.similarity, np.einsum("qd,qkd->qk", units[0], units[1][found.index.numpy()]), atol=1e-6
    )


def test_chunks_and_places_on_disk_do_not_show(tissue, monkeypatch):
    query, keys, images = tissue
    monkeypatch.setattr(anchors, "K_FILTER", 6)
    how = {"slides": SLIDES, "n_neighbors": 20}
    whole = as_matrix(anchor_weights(query, keys, images=images, **how), 61)
    monkeypatch.setattr(anchors, "SPOTS", 5)
    monkeypatch.setattr(anchors, "SHARED", 4)
    monkeypatch.setattr(retrieval, "COMPARED", 3)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 6 * 10)  # ten spots

    class OnDisk:
        def __init__(self, values):
            self.values, self.shape = values, values.shape

        def __getitem__(self, rows):
            return self.values[rows]

    stored = anchor_weights(torch.from_numpy(query), OnDisk(keys), images=OnDisk(images), **how)
    np.testing.assert_allclose(as_matrix(stored, 61), whole, atol=1e-6)


def test_the_order_of_spots_and_of_reference_spots_does_not_matter(tissue):
    query, keys, images = tissue
    rng = np.random.default_rng(3)
    spot, key = rng.permutation(40), rng.permutation(61)
    whole = as_matrix(anchor_weights(query, keys, images=images, slides=SLIDES), 61)
    found = anchor_weights(query[spot], keys[key], images=images[key], slides=SLIDES[spot])
    np.testing.assert_allclose(as_matrix(found, 61), whole[spot][:, key], atol=1e-6)


def test_other_slides_change_nothing_and_other_spots_of_the_slide_do(tissue):
    query, keys, images = tissue
    whole = as_matrix(anchor_weights(query, keys, images=images, slides=SLIDES), 61)
    here = SLIDES == "a"
    alone = as_matrix(anchor_weights(query[here], keys, images=images, slides=SLIDES[here]), 61)
    np.testing.assert_allclose(alone, whole[here], atol=1e-6)
    half = as_matrix(anchor_weights(query[here][:9], keys, images=images, slides=SLIDES[here][:9]), 61)
    assert np.abs(half - whole[here][:9]).max() > 0.01


def test_reference_spots_that_are_left_out_are_as_if_they_were_not_there(tissue):
    query, keys, images = tissue
    among = np.arange(61) % 3 > 0
    found = anchor_weights(query, keys, images=images, slides=SLIDES, among=among)
    without = anchor_weights(query, keys[among], images=images[among], slides=SLIDES)
    matrix = as_matrix(found, 61)
    assert not matrix[:, ~among].any()
    np.testing.assert_array_equal(matrix[:, among], as_matrix(without, among.sum()))


def test_a_single_spot_reads_off_its_nearest_by_what_they_have_in_common():
    query, keys = spots(1, 0), spots(40, 1)
    found = anchor_weights(query, keys, images=spots(40, 2), slides=np.array(["a"]))
    matrix = as_matrix(found, 40)
    np.testing.assert_allclose(matrix, slow(query, keys, spots(40, 2), "cosine", 50), atol=1e-6)
    five = ranked(placed(query, "cosine")[0], placed(keys, "cosine"))[:5]
    assert set(np.flatnonzero(matrix[0])) <= set(five)


def test_few_spots_and_a_small_reference_are_no_obstacle():
    for n_query, n_keys in ((1, 1), (2, 1), (1, 2), (3, 4)):
        query, keys = spots(n_query, 0), spots(n_keys, 1)
        found = anchor_weights(query, keys, images=keys, slides=np.full(n_query, "a"))
        expected = slow(query, keys, keys, "cosine", 50)
        np.testing.assert_allclose(as_matrix(found, n_keys), expected, atol=1e-6)


def test_by_hand():
    """Two spots of a slide on two of the reference, of which each has the other's neighbours: all scores are 1."""
    angle = np.radians([0, 60])
    query = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    found, weights = anchor_weights(query, query, images=query, slides=np.array(["a", "a"]), n_neighbors=3)
    # All four pairs are mutual. Of the three nearest two are at the spot itself, and one at the other, which is the
    # last and has no weight.
    matrix = as_matrix((found, weights), 2)
    np.testing.assert_allclose(matrix, np.full((2, 2), 0.5), atol=1e-6)


def test_n_neighbors_below_one_is_refused(tissue):
    query, keys, images = tissue
    with pytest.raises(ValueError, match="n_neighbors=0 must be"):
        anchor_weights(query, keys, images=images, slides=SLIDES, n_neighbors=0)
