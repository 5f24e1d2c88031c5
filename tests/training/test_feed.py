import numpy as np
import pytest
import torch
from scipy import sparse

from bleep_sc._arrays.sparse_rows import SparseRows
from bleep_sc.training import feed as module
from bleep_sc.training.feed import Feed, some_rows_on
from bleep_sc.training.pairs import Pairs

CPU = torch.device("cpu")


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    return Pairs(rng.normal(size=(20, 6)).astype(np.float32), rng.normal(size=(20, 5)).astype(np.float32))


def test_batches_are_the_same_wherever_they_are_gathered(pairs, monkeypatch):
    batch = torch.tensor([3, 19, 0])
    sent = Feed(pairs, CPU)
    monkeypatch.setattr(module, "fits", lambda n_bytes, device: n_bytes <= 4 * 20 * 11)
    there = Feed(pairs, CPU)
    assert there.load(batch) is batch  # and nothing of the data passes by
    for one, other in zip(sent(sent.load(batch)), there(there.load(batch)), strict=True):
        assert torch.equal(one, other)
    larger = Pairs(np.concatenate([pairs.images, pairs.images], axis=1), pairs.expression)
    assert len(Feed(larger, CPU).load(batch)) == 2


@pytest.mark.parametrize("there", [True, False])
def test_expression_may_be_sparse(pairs, there, monkeypatch):
    monkeypatch.setattr(module, "fits", lambda n_bytes, device: there and n_bytes == 4 * 20 * 11)
    batch, thin = torch.tensor([3, 19, 0]), Pairs(pairs.images, SparseRows(sparse.csr_matrix(pairs.expression)))
    feeds = [Feed(each, CPU) for each in (pairs, thin)]
    for one, other in zip(*(feed(feed.load(batch)) for feed in feeds), strict=True):
        assert torch.equal(one, other)


def test_patches_are_sent_batch_by_batch(monkeypatch):
    monkeypatch.setattr(module, "fits", lambda n_bytes, device: True)
    patches = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)
    feed = Feed(Pairs(patches, np.zeros((4, 2), dtype=np.float32)), CPU)
    images, _ = feed(feed.load(torch.tensor([2])))
    np.testing.assert_array_equal(images[0].movedim(0, -1), patches[2])


def test_some_rows_are_those_of_every_array(pairs, monkeypatch):
    arrays, rows = (pairs.images, np.arange(40).reshape(20, 2)), np.array([5, 1])
    for there in (False, True):
        monkeypatch.setattr(module, "fits", lambda n_bytes, device, there=there: there)
        for array, found in zip(arrays, some_rows_on(arrays, CPU)(rows), strict=True):
            np.testing.assert_array_equal(found, array[rows])
