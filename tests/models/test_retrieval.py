import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from bleep_sc.models import retrieval


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    return rng.normal(size=(23, 6)).astype(np.float32), rng.normal(size=(101, 6)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_neighbors_are_those_of_scikit_learn(embeddings, metric, chunk):
    query, keys = embeddings
    similarity, index = retrieval.nearest(query, keys, n_neighbors=9, metric=metric, chunk=chunk)
    distance, expected = NearestNeighbors(n_neighbors=9, metric=metric, algorithm="brute").fit(keys).kneighbors(query)
    np.testing.assert_array_equal(index.numpy(), expected)
    as_similarity = 1 - distance if metric == "cosine" else -(distance**2) / 2
    np.testing.assert_allclose(similarity.numpy(), as_similarity, atol=1e-4)


@pytest.mark.parametrize("n_neighbors", [0, 102])
def test_more_neighbors_than_keys_are_refused(embeddings, n_neighbors):
    with pytest.raises(ValueError, match="must lie between 1 and the size of the reference, 101"):
        retrieval.nearest(*embeddings, n_neighbors=n_neighbors)


def test_weights_sum_to_one_and_softmax_prefers_the_nearest(embeddings):
    similarity, _ = retrieval.nearest(*embeddings, n_neighbors=5)
    for weights in ("uniform", "softmax"):
        torch.testing.assert_close(retrieval.neighbor_weights(similarity, weights).sum(dim=1), torch.ones(23))
    soft = retrieval.neighbor_weights(similarity, "softmax", temperature=0.1).numpy()
    expected = np.exp(similarity.numpy() / 0.1) / np.exp(similarity.numpy() / 0.1).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(soft, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="weights='nearest' is not known"):
        retrieval.neighbor_weights(similarity, "nearest")


def test_what_a_key_counts_multiplies_its_weight(embeddings):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = retrieval.neighbor_weights(similarity, "softmax")
    counts = np.random.default_rng(1).uniform(0.1, 5, size=101).astype(np.float32)
    matrix = retrieval.weight_matrix(index, retrieval.reweighted(weights, index, counts), 101).toarray()
    expected = retrieval.weight_matrix(index, weights, 101).toarray() * counts
    np.testing.assert_allclose(matrix, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)


def test_the_matrix_leaves_neighbors_and_weights_in_their_order(embeddings):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = retrieval.neighbor_weights(similarity, "softmax")
    before = index.clone(), weights.clone()
    retrieval.weight_matrix(index, weights, 101)
    assert (index == before[0]).all()
    assert (weights == before[1]).all()


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_imputation_is_the_weighted_mean_of_the_neighbors(embeddings, as_sparse, weights):
    query, keys = embeddings
    values = np.random.default_rng(1).poisson(1.0, size=(101, 13)).astype(np.float32)
    stored = sparse.csr_matrix(values) if as_sparse else values
    predicted, matrix = retrieval.impute(query, keys, stored, n_neighbors=4, weights=weights)
    assert matrix.shape == (23, 101)
    assert matrix.nnz == 23 * 4
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(predicted, matrix @ values, rtol=1e-5, atol=1e-6)
    if weights == "uniform":
        nearest = NearestNeighbors(n_neighbors=4, metric="cosine", algorithm="brute").fit(keys).kneighbors(query)[1]
        np.testing.assert_allclose(predicted, values[nearest].mean(axis=1), rtol=1e-5, atol=1e-6)


def test_blocks_of_genes_do_not_show(embeddings):
    values = np.random.default_rng(1).normal(size=(101, 13)).astype(np.float32)
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=4)
    weight = retrieval.neighbor_weights(similarity)
    whole, pieces = (retrieval.average(index, weight, values, block=block) for block in (1024, 5))
    np.testing.assert_array_equal(whole, pieces)


def test_the_only_neighbor_is_copied():
    keys = np.eye(3, dtype=np.float32)
    predicted, weights = retrieval.impute(keys[[2, 0]], keys, np.array([[1.0], [2.0], [3.0]]), n_neighbors=1)
    np.testing.assert_array_equal(predicted, [[3.0], [1.0]])
    np.testing.assert_array_equal(weights.toarray(), [[0, 0, 1], [1, 0, 0]])


def test_a_table_too_large_to_be_dense_is_averaged_as_it_is(embeddings, monkeypatch):
    similarity, index = retrieval.nearest(*embeddings, n_neighbors=5)
    weights = retrieval.neighbor_weights(similarity, "softmax")
    values = sparse.random(101, 40, 0.2, format="csr", dtype=np.float32, random_state=0)
    at_once = retrieval.average(index, weights, values)
    monkeypatch.setattr(retrieval, "TABLE_BYTES", 8)
    monkeypatch.setattr(retrieval, "GENES", 16)
    np.testing.assert_allclose(retrieval.average(index, weights, values), at_once, atol=1e-6)
