import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from bleep_sc._arrays import blocks
from bleep_sc.models import retrieval, weighted_sums


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    return rng.normal(size=(23, 6)).astype(np.float32), rng.normal(size=(101, 6)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_neighbors_are_those_of_scikit_learn(embeddings, metric, chunk, monkeypatch):
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", chunk)
    query, keys = embeddings
    similarity, index = retrieval.nearest(query, keys, n_neighbors=9, metric=metric)
    distance, expected = NearestNeighbors(n_neighbors=9, metric=metric, algorithm="brute").fit(keys).kneighbors(query)
    np.testing.assert_array_equal(index.numpy(), expected)
    as_similarity = 1 - distance if metric == "cosine" else -(distance**2) / 2
    np.testing.assert_allclose(similarity.numpy(), as_similarity, atol=1e-4)


@pytest.mark.parametrize("n_neighbors", [0, 102])
def test_more_neighbors_than_keys_are_refused(embeddings, n_neighbors):
    with pytest.raises(ValueError, match="must lie between 1 and the size of the reference, 101"):
        retrieval.nearest(*embeddings, n_neighbors=n_neighbors)


def uneven(similarity):
    """Weights that are not all alike; rows sum to one."""
    return torch.softmax(similarity / 0.1, dim=1)


def test_neighbors_count_alike(embeddings):
    similarity, _ = retrieval.nearest(*embeddings, n_neighbors=5)
    torch.testing.assert_close(retrieval.neighbor_weights(similarity), torch.full((23, 5), 0.2))


def test_weights_by_distance_are_those_of_the_public_code(embeddings, monkeypatch):
    """Neighbours are chosen by cosine, and weighed by the distance of embeddings as they are."""
    query, keys = embeddings
    _, index = retrieval.nearest(query, keys, n_neighbors=9)
    expected = np.empty((len(query), 9))
    for row, neighbors in enumerate(index.numpy()):
        squared = ((keys[neighbors].astype(np.float64) - query[row]) ** 2).sum(axis=1)
        weights = np.exp(-(squared - squared[0] + 1))
        expected[row] = weights / weights.sum()
    monkeypatch.setattr(retrieval, "COMPARED", 7)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * keys.shape[1] * 10)  # ten spots
    for stored in (keys, OnDisk(keys)):
        weights = retrieval.distance_weights(query, stored, index)
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_far_from_everything_the_nearest_still_has_its_weight():
    query, keys = np.array([[1000.0, 0.0]], dtype=np.float32), np.array([[1.0, 0.0], [2.0, 0.0]], dtype=np.float32)
    weights = retrieval.distance_weights(query, keys, torch.tensor([[0, 1]]))
    np.testing.assert_array_equal(weights, [[0, 1]])


def test_a_neighbor_that_is_named_twice_has_both_weights():
    matrix = retrieval.weight_matrix(
        torch.tensor([[2, 0, 2], [1, 1, 1]]), torch.tensor([[0.5, 0, 0.5], [0.2, 0.3, 0.5]]), 4
    )
    np.testing.assert_allclose(matrix.toarray(), [[0, 0, 1, 0], [0, 1, 0, 0]])
    assert matrix.nnz == 2


def test_what_a_key_counts_multiplies_its_weight(embeddings):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = uneven(similarity)
    counts = np.random.default_rng(1).uniform(0.1, 5, size=101).astype(np.float32)
    matrix = retrieval.weight_matrix(index, retrieval.reweighted(weights, index, counts), 101).toarray()
    expected = retrieval.weight_matrix(index, weights, 101).toarray() * counts
    np.testing.assert_allclose(matrix, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)


def test_neighbors_of_more_weight_say_more_about_how_similar_a_query_is():
    similarity = torch.tensor([[1.0, 0.5, -0.5], [0.8, 0.8, 0.8]])
    weights = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    mean = retrieval.mean_similarity(similarity, weights)
    np.testing.assert_allclose(mean, [0.7 + 0.1 - 0.05, 0.8], rtol=1e-6)
    assert mean.dtype == np.float32


def test_the_matrix_leaves_neighbors_and_weights_in_their_order(embeddings):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = uneven(similarity)
    before = index.clone(), weights.clone()
    retrieval.weight_matrix(index, weights, 101)
    assert (index == before[0]).all()
    assert (weights == before[1]).all()


@pytest.mark.parametrize("as_sparse", [False, True])
def test_imputation_is_the_mean_of_the_neighbors(embeddings, as_sparse):
    query, keys = embeddings
    values = np.random.default_rng(1).poisson(1.0, size=(101, 13)).astype(np.float32)
    stored = sparse.csr_matrix(values) if as_sparse else values
    predicted, matrix = retrieval.impute(query, keys, stored, n_neighbors=4)
    assert matrix.shape == (23, 101)
    assert matrix.nnz == 23 * 4
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(predicted, matrix @ values, rtol=1e-5, atol=1e-6)
    nearest = NearestNeighbors(n_neighbors=4, metric="cosine", algorithm="brute").fit(keys).kneighbors(query)[1]
    np.testing.assert_allclose(predicted, values[nearest].mean(axis=1), rtol=1e-5, atol=1e-6)


def test_blocks_of_genes_do_not_show(embeddings, monkeypatch):
    values = np.random.default_rng(1).normal(size=(101, 13)).astype(np.float32)
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=4)
    weight = retrieval.neighbor_weights(similarity)
    whole = retrieval.average(index, weight, values)
    monkeypatch.setattr(retrieval, "TABLE_BYTES", 0)
    monkeypatch.setattr(retrieval, "GENES", 5)
    np.testing.assert_array_equal(retrieval.average(index, weight, values), whole)


def test_the_metric_reaches_the_search(embeddings):
    values = np.random.default_rng(1).normal(size=(101, 3)).astype(np.float32)
    for metric in ("cosine", "euclidean"):
        _, index = retrieval.nearest(*embeddings, n_neighbors=4, metric=metric)
        predicted, _ = retrieval.impute(*embeddings, values, n_neighbors=4, metric=metric)
        np.testing.assert_allclose(predicted, values[index.numpy()].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_the_variance_is_that_among_the_neighbors_by_their_weights(embeddings, as_sparse):
    values = np.random.default_rng(1).poisson(2.0, size=(101, 13)).astype(np.float32)
    values[:, 0] = 3  # does not vary
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = uneven(similarity)
    mean = retrieval.average(index, weights, values)
    variance = retrieval.variance(index, weights, sparse.csr_matrix(values) if as_sparse else values, mean)
    expected = [
        np.average((values[neighbors] - own) ** 2, weights=weight, axis=0)
        for neighbors, weight, own in zip(index.numpy(), weights.numpy(), mean, strict=True)
    ]
    np.testing.assert_allclose(variance, expected, atol=1e-5)
    assert (variance >= 0).all()


def test_the_only_neighbor_is_copied():
    keys = np.eye(3, dtype=np.float32)
    predicted, weights = retrieval.impute(keys[[2, 0]], keys, np.array([[1.0], [2.0], [3.0]]), n_neighbors=1)
    np.testing.assert_array_equal(predicted, [[3.0], [1.0]])
    np.testing.assert_array_equal(weights.toarray(), [[0, 0, 1], [1, 0, 0]])


def test_a_table_too_large_to_be_dense_is_averaged_as_it_is(embeddings, monkeypatch):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = uneven(similarity)
    values = sparse.random(101, 40, 0.2, format="csr", dtype=np.float32, random_state=0)
    at_once = retrieval.average(index, weights, values)
    monkeypatch.setattr(retrieval, "TABLE_BYTES", 8)
    monkeypatch.setattr(retrieval, "GENES", 16)
    np.testing.assert_allclose(retrieval.average(index, weights, values), at_once, atol=1e-6)


class OnDisk:
    """Expression that is not in memory, and that knows which of its rows were read."""

    def __init__(self, values):
        self.values, self.shape, self.times_read, self.most = values, values.shape, np.zeros(values.shape[0], int), 0

    def __getitem__(self, rows):
        self.times_read[rows] += 1
        self.most = max(self.most, len(range(self.shape[0])[rows]))
        return self.values[rows]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_expression_on_disk_is_averaged_like_that_in_memory(embeddings, kind, monkeypatch):
    values = np.random.default_rng(1).poisson(0.5, size=(101, 30)).astype(np.float32)
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=4)
    weights = uneven(similarity)
    mean = retrieval.average(index, weights, values)
    variance = retrieval.variance(index, weights, values, mean)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 30 * 10)  # ten spots
    monkeypatch.setattr(retrieval, "TABLE_BYTES", 0)
    monkeypatch.setattr(retrieval, "GENES", 5)
    monkeypatch.setattr(retrieval, "RESULT_BYTES", 4 * 23 * 12)  # twelve genes of all queries
    stored = OnDisk(kind(values))
    np.testing.assert_allclose(retrieval.average(index, weights, stored), mean, atol=1e-6)
    assert stored.most <= 10
    assert stored.times_read.max() == 3  # for ten genes each time
    np.testing.assert_allclose(retrieval.variance(index, weights, stored, mean), variance, atol=1e-5)
    edges = [0, 0, 7, 7, 20, 30, 30]
    for rows, genes, part in retrieval.averages(index, weights, stored, edges, n_rows=9):
        assert (genes.start, genes.stop) in [(0, 7), (7, 20), (20, 30)]
        np.testing.assert_allclose(part, mean[rows, genes], atol=1e-6)


def test_only_spots_that_something_is_read_off_are_read(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 3 * 10)  # ten spots
    stored = OnDisk(np.arange(300, dtype=np.float32).reshape(100, 3))
    index = torch.tensor([[12, 15], [17, 55]])
    result = retrieval.average(index, torch.full((2, 2), 0.5), stored)
    np.testing.assert_array_equal(result, (stored.values[[12, 17]] + stored.values[[15, 55]]) / 2)
    assert set(np.flatnonzero(stored.times_read)) == {*range(12, 18), 55}


@pytest.mark.parametrize("laid", [1, 2**24])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_weighted_sums_are_the_product_of_matrices(kind, laid, monkeypatch):
    weights = sparse.random(40, 60, 0.2, format="csr", dtype=np.float32, random_state=0)
    weights.data[weights.indptr[3] : weights.indptr[5]] = 0
    weights = sparse.vstack([weights, sparse.csr_matrix((1, 60), dtype=np.float32)], format="csr")  # nothing at all
    values = sparse.random(60, 9, 0.3, format="csr", dtype=np.float32, random_state=1).toarray()
    monkeypatch.setattr(weighted_sums, "QUERIES", 7)
    monkeypatch.setattr(weighted_sums, "LAID", laid)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    np.testing.assert_allclose(weighted_sums.weighted_sums(weights, kind(values)), weights @ values, atol=1e-6)


def test_sparse_expression_is_averaged_like_dense_whatever_its_density(embeddings):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = uneven(similarity)
    for density in (0.02, 0.5):
        values = sparse.random(101, 40, density, format="csr", dtype=np.float32, random_state=0)
        expected = retrieval.average(index, weights, values.toarray())
        np.testing.assert_allclose(retrieval.average(index, weights, values), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_expression_that_is_made_dense_on_a_device_is_averaged_alike(embeddings, kind, monkeypatch):
    values = kind(sparse.random(101, 40, 0.05, dtype=np.float32, random_state=0).toarray())
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    expected = retrieval.average(index, uneven(similarity), values)
    monkeypatch.setattr(retrieval, "fits", lambda n_bytes, device: n_bytes <= 4 * 101 * 40)
    np.testing.assert_allclose(retrieval.average(index, uneven(similarity), values), expected, atol=1e-6)


def test_keys_that_lie_on_a_device_are_compared_like_others(embeddings, monkeypatch):
    query, keys = embeddings
    _, index = retrieval.nearest(query, keys, n_neighbors=9)
    expected = retrieval.distance_weights(query, keys, index)
    monkeypatch.setattr(retrieval, "COMPARED", 7)
    torch.testing.assert_close(retrieval.distance_weights(query, torch.from_numpy(keys), index), expected)
