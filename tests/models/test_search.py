"""Finding neighbours: exactly, from disk, and with FAISS."""

import logging
import sys
import weakref

import numpy as np
import pytest
import torch
import zarr

from bleep_sc._arrays import blocks
from bleep_sc.models import exact_search, faiss_search, retrieval, search
from bleep_sc.models.best_keys import Numbered
from bleep_sc.models.exact_search import kept_on_device, on_device

METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


class Watched:
    """An array on disk that knows how many of its rows are in memory, and which were read."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape
        self.alive = self.most = 0
        self.times_read = np.zeros(len(values), dtype=int)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        block = self.values[rows].copy()
        self.alive += block.shape[0]
        self.most = max(self.most, self.alive)
        self.times_read[rows] += 1
        weakref.finalize(block, self.forget, block.shape[0])
        return block

    def forget(self, n):
        self.alive -= n


@pytest.fixture
def clusters():
    """Embeddings with structure, as those of tissue have."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(40, 8))
    return [
        (centers[rng.integers(40, size=n)] + rng.normal(scale=0.3, size=(n, 8))).astype(np.float32) for n in (60, 2000)
    ]


def brute_force(query, keys, n_neighbors, metric):
    """Sort all similarities, in double precision."""
    query, keys = query.astype(np.float64), keys.astype(np.float64)
    if metric == "cosine":
        query, keys = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (query, keys))
        similarity = query @ keys.T
    else:
        similarity = -np.square(query[:, None] - keys).sum(axis=2) / 2
    order = np.argsort(-similarity, axis=1)[:, :n_neighbors]
    return np.take_along_axis(similarity, order, axis=1), order


@METRICS
@pytest.mark.parametrize(("n_neighbors", "chunk"), [(5, 128), (5, 2000), (5, 333), (30, 16), (2000, 128)])
def test_blocks_and_groups_of_keys_do_not_show(clusters, metric, n_neighbors, chunk, monkeypatch):
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", chunk)
    query, keys = clusters
    similarity, index = retrieval.nearest(query, keys, n_neighbors=n_neighbors, metric=metric)
    expected, order = brute_force(query, keys, n_neighbors, metric)
    np.testing.assert_allclose(similarity, expected, atol=1e-5)
    if n_neighbors < len(keys):
        np.testing.assert_array_equal(index, order)
    assert all(len(set(row)) == n_neighbors for row in index.tolist())


@METRICS
def test_keys_on_disk_are_read_once_block_by_block(clusters, metric, monkeypatch, tmp_path):
    query, keys = clusters
    expected = retrieval.nearest(query, keys, n_neighbors=7, metric=metric)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 8 * 150)  # 150 keys
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", 64)
    watched = Watched(keys)
    np.save(tmp_path / "keys.npy", keys)
    mapped = np.load(tmp_path / "keys.npy", mmap_mode="r")
    stored = zarr.create_array(tmp_path / "keys.zarr", data=keys, chunks=(70, 4))
    for where in (watched, mapped, stored):
        similarity, index = retrieval.nearest(query, where, n_neighbors=7, metric=metric)
        np.testing.assert_array_equal(index, expected[1])
        np.testing.assert_allclose(similarity, expected[0], atol=1e-6)
    assert (watched.times_read == 1).all()
    assert watched.most <= 2 * 150  # the one that is compared, and the one that is read


@METRICS
def test_a_flat_index_finds_the_same(clusters, metric):
    pytest.importorskip("faiss")
    found = search.search(*clusters, n_neighbors=9, metric=metric, index="faiss")
    expected = search.search(*clusters, n_neighbors=9, metric=metric, index="exact")
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-5)
    assert found.recall is None


@METRICS
def test_recall_of_an_inverted_file_is_the_share_of_exact_neighbors(clusters, metric, monkeypatch, caplog):
    pytest.importorskip("faiss")
    query, keys = clusters
    _, truth = brute_force(query, keys, 9, metric)
    monkeypatch.setattr(faiss_search, "FLAT", 1000)
    recalls = []
    for wanted in (0.0, 0.95, 1.1):
        monkeypatch.setattr(faiss_search, "RECALL", wanted)
        with caplog.at_level(logging.INFO, logger="bleep_sc"):
            found = search.search(query, keys, n_neighbors=9, metric=metric, index="faiss")
        shares = [np.isin(one, other).mean() for one, other in zip(truth, found.index.numpy(), strict=True)]
        assert found.recall == pytest.approx(np.mean(shares))
        assert f"{100 * found.recall:.1f} % of the exact neighbours of 60 spots" in caplog.messages[-1]
        recalls.append(found.recall)
    assert recalls[0] < 1
    assert 0.95 <= recalls[1] <= recalls[2] == 1
    assert "searches 44 of 44 lists" in caplog.messages[-1]
    again = search.search(query, Watched(keys), n_neighbors=9, metric=metric, index="faiss")
    np.testing.assert_array_equal(again.index, found.index)


def test_queries_in_whose_lists_are_too_few_keys_are_searched_exactly(clusters, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(faiss_search, "FLAT", 1000)
    monkeypatch.setattr(faiss_search, "RECALL", 0.0)  # one list of 44
    _, index = retrieval.nearest(*clusters, n_neighbors=600, index="faiss")
    expected = brute_force(*clusters, 600, "cosine")[1]
    assert (index >= 0).all()
    is_exact = [set(one) == set(other) for one, other in zip(index.tolist(), expected.tolist(), strict=True)]
    assert any(is_exact)
    assert all(len(set(row)) == 600 for row in index.tolist())


def test_keys_that_are_alike_and_keys_that_come_in_order_are_found_all_the_same(clusters, monkeypatch):
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", 1024)
    query, keys = clusters[0][:3], clusters[1]
    for some in (np.repeat(keys[:4], 512, axis=0), keys[np.argsort(keys @ query[0])]):
        similarity, index = retrieval.nearest(query, some, n_neighbors=5)
        np.testing.assert_allclose(similarity, brute_force(query, some, 5, "cosine")[0], atol=1e-5)
        assert all(len(set(row)) == 5 for row in index.tolist())


def test_without_faiss_the_error_says_how_to_get_it(clusters, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install 'bleep-sc\[faiss\]', or use index='exact'"):
        retrieval.nearest(*clusters, index="faiss")


def test_what_is_not_known_or_not_finite_is_refused(clusters):
    query, keys = clusters
    with pytest.raises(ValueError, match="index='hnsw' is not known; use 'exact' or 'faiss'"):
        retrieval.nearest(query, keys, index="hnsw")
    for index in ("exact", "faiss"):
        with pytest.raises(ValueError, match="metric='Cosine' is not known; use 'cosine' or 'euclidean'"):
            retrieval.nearest(query, keys, metric="Cosine", index=index)
    with pytest.raises(ValueError, match="so large that their distances overflow"):
        retrieval.nearest(query * 1e19, keys * 1e19, metric="euclidean")
    keys[1900, 3] = np.nan
    for index in ("exact", "faiss"):
        with pytest.raises(ValueError, match="embeddings hold NaN"):
            retrieval.nearest(query, keys, index=index)


def test_few_keys_take_little_memory_and_no_query_none(clusters, monkeypatch):
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", 10**9)
    query, keys = clusters
    similarity, index = retrieval.nearest(query[:0], keys, n_neighbors=5)
    assert similarity.shape == index.shape == (0, 5)


def test_embeddings_far_from_the_origin_find_themselves(clusters):
    _, keys = clusters
    far = keys + np.float32(3000)
    _, index = retrieval.nearest(far, far, n_neighbors=1, metric="euclidean")
    assert (index[:, 0].numpy() == np.arange(len(far))).mean() > 0.999


def test_a_query_that_learns_is_searched_like_any_other(clusters):
    query, keys = clusters
    learns = torch.from_numpy(query).requires_grad_()
    found, expected = (retrieval.nearest(each, keys, n_neighbors=5) for each in (learns, query))
    assert torch.equal(found[1], expected[1])
    assert not found[0].requires_grad


def test_keys_to_learn_lists_from_are_as_far_apart_whatever_the_blocks(monkeypatch):
    keys = np.arange(1, 206, dtype=np.float32).reshape(41, 5)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 5 * 7)  # seven keys
    np.testing.assert_array_equal(faiss_search._sample(keys, 10, "euclidean"), keys[::4])


@pytest.fixture
def with_twins():
    """Queries, and keys of which there are six copies each, in no order."""
    rng = np.random.default_rng(0)
    keys = np.repeat(rng.normal(size=(200, 9)), 6, axis=0)[rng.permutation(1200)]
    return rng.normal(size=(70, 9)).astype(np.float32), keys.astype(np.float32)


def in_order(query, keys, n_neighbors, metric):
    """Sort by similarity, and keys that are alike by their index."""
    copies, which = np.unique(keys, axis=0, return_inverse=True)
    order = brute_force(query, copies, len(copies), metric)[1]
    rank = np.argsort(order, axis=1)[:, which]
    return np.argsort(rank, axis=1, kind="stable")[:, :n_neighbors]


@METRICS
@pytest.mark.parametrize("chunk", [8192, 500, 16, 7])
def test_of_keys_that_are_alike_the_first_come_first_whatever_is_compared_at_once(
    with_twins, metric, chunk, monkeypatch
):
    query, keys = with_twins
    similarity, index = retrieval.nearest(query, keys, n_neighbors=16, metric=metric)
    np.testing.assert_array_equal(index, in_order(query, keys, 16, metric))
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", chunk)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 9 * 3 * chunk)
    for rows in (slice(0, 1), slice(3, 5), slice(20, 41), slice(None)):
        found = retrieval.nearest(query[rows], keys, n_neighbors=16, metric=metric)
        np.testing.assert_array_equal(found[1], index[rows])
        np.testing.assert_array_equal(found[0], similarity[rows])


def test_keys_that_are_all_alike_are_taken_in_order(monkeypatch):
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", 64)
    _, index = retrieval.nearest(np.ones((3, 4)), np.ones((1000, 4)), n_neighbors=5)
    np.testing.assert_array_equal(index, np.tile(np.arange(5), (3, 1)))


@METRICS
def test_faiss_takes_the_first_of_keys_that_are_alike(with_twins, metric):
    pytest.importorskip("faiss")
    _, index = retrieval.nearest(*with_twins, n_neighbors=16, metric=metric, index="faiss")
    np.testing.assert_array_equal(index, in_order(*with_twins, 16, metric))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_embeddings_whose_length_overflows_are_refused(metric):
    with pytest.raises(ValueError, match="so large that their distances overflow"):
        retrieval.nearest(np.full((2, 3), 1e25), np.eye(3), n_neighbors=1, metric=metric)


@METRICS
@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_neighbours_are_sought_among_some_keys(clusters, metric, index):
    if index == "faiss":
        pytest.importorskip("faiss")
    query, keys = clusters
    among = np.random.default_rng(0).random(2000) < 0.3
    for where in (keys, Watched(keys)):
        found = search.search(query, where, n_neighbors=9, metric=metric, index=index, among=among)
        expected = brute_force(query, keys[among], 9, metric)[1]
        np.testing.assert_array_equal(found.index, np.flatnonzero(among)[expected])


def test_queries_lie_on_the_device_but_stay_in_memory_for_the_cpu_and_mps():
    query = np.ones((2, 3), dtype=np.float32)
    assert on_device(query, torch.device("cpu")) is query
    assert on_device(query, torch.device("mps")) is query
    there = on_device(query, torch.device("meta"))
    assert (there.device.type, there.shape, there.dtype) == ("meta", (2, 3), torch.float32)


@METRICS
@pytest.mark.parametrize(("n_neighbors", "chunk"), [(5, 8192), (16, 500), (16, 16), (900, 333)])
def test_a_gpu_is_given_what_keeps_the_same_keys_without_asking(with_twins, metric, n_neighbors, chunk, monkeypatch):
    query, keys = with_twins
    query[3] = 0  # as similar to all keys
    expected = retrieval.nearest(query, keys, n_neighbors=n_neighbors, metric=metric)
    monkeypatch.setattr("bleep_sc.models.exact_search.best_keys", Numbered)
    monkeypatch.setattr("bleep_sc.models.exact_search.CHUNK", chunk)
    found = retrieval.nearest(query, keys, n_neighbors=n_neighbors, metric=metric)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_what_is_compared_at_once_on_a_gpu_fits_into_a_quarter_of_it(monkeypatch):
    for free in (2**20, 2**28, 2**36):
        monkeypatch.setattr(exact_search, "free_bytes", lambda device, free=free: free)
        n_rows, chunk = exact_search._at_once(10**6, 10**6, 50, torch.device("cuda"))
        assert chunk == exact_search.CHUNK_ON_GPU
        assert n_rows == 16 or 4 * n_rows * chunk <= min(free // 4, exact_search.ROOM_ON_GPU)
        assert n_rows % 16 == 0
    assert exact_search._at_once(5, 100, 50, torch.device("cuda")) == (16, 112)


def test_only_keys_in_memory_that_are_small_stay_on_a_gpu(clusters, monkeypatch):
    _, keys = clusters
    monkeypatch.setattr(exact_search, "fits", lambda n_bytes, device: n_bytes <= keys.nbytes)
    assert torch.equal(kept_on_device(keys, torch.device("cpu")), torch.from_numpy(keys))
    larger, watched = np.concatenate([keys, keys[:1]]), Watched(keys)
    assert kept_on_device(larger, torch.device("cpu")) is larger
    assert kept_on_device(watched, torch.device("cpu")) is watched
    among = np.arange(2000) % 3 == 0
    expected = search.search(clusters[0], keys, n_neighbors=5, metric="cosine", index="exact", among=among)
    tensors = map(torch.from_numpy, clusters)
    found = search.search(*tensors, n_neighbors=5, metric="cosine", index="exact", among=among)
    assert torch.equal(found.index, expected.index)
