import numpy as np
import pytest
from scipy import sparse

import bleep_sc as bs
from bleep_sc.bm import _baselines
from bleep_sc.bm._folds import split

REP = "X_stain_stats"


@pytest.fixture
def fold(toy):
    toy.X = toy.layers["counts"].copy()
    data = split(
        toy, "library_id", use_rep=[REP], patches_key="patches", layer=None, library_key="library_id", n_top_genes=40
    )
    return data.fold("slice3")


def test_names(fold):
    every = ["mean", "location", "knn", "ridge", "stnet", "histogene", "bleep"]
    assert list(bs.bm.methods(use_rep=REP)) == every
    assert list(bs.bm.methods()) == ["mean", "location", "stnet", "histogene", "bleep"]
    with pytest.raises(ValueError, match=r"no methods of the package; it has: mean, location"):
        bs.bm.methods(["magic"])
    with pytest.raises(ValueError, match="ridge need image features: pass use_rep="):
        bs.bm.methods(["mean", "ridge"])


@pytest.mark.parametrize("name", ["mean", "location", "knn", "ridge", "stnet", "histogene", "bleep"])
def test_every_method_predicts_every_spot(fold, name):
    method = bs.bm.methods([name], use_rep=REP, paper=False)[name]
    seed = {"random_state": 0} if name in ("stnet", "histogene", "bleep") else {}
    result = method(fold.train.copy(), fold.query.copy(), **seed)
    shape = (fold.query.n_obs, fold.train.n_obs if sparse.issparse(result) else len(fold.panel))
    assert result.shape == shape
    if sparse.issparse(result):
        np.testing.assert_allclose(np.asarray(result.sum(axis=1)).ravel(), 1, rtol=1e-5)
    else:
        assert np.isfinite(result).all()


def test_neighbours_are_the_nearest_by_standardised_features(fold):
    train, query = fold.train, fold.query
    weights = _baselines.knn(train, query, use_rep=[REP])
    k = np.diff(weights.indptr)[0]
    assert k in _baselines.N_NEIGHBORS
    mean, std = train.obsm[REP].mean(axis=0), train.obsm[REP].std(axis=0)
    a, b = ((side.obsm[REP] - mean) / np.where(std > 0, std, 1) for side in (query, train))
    cosine = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    expected = np.sort(np.argsort(-cosine[7])[:k])
    assert weights[7].indices.tolist() == expected.tolist()


def test_location_copy_finds_the_same_place_on_a_section_that_was_turned(fold):
    train, query = fold.train.copy(), fold.train[fold.train.obs["library_id"] == "slice1"].copy()
    train = train[train.obs["library_id"] == "slice1"].copy()
    place = train.obsm["spatial"].copy()
    query.obsm["spatial"] = place @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 3000
    weights = _baselines.location(train, query, patches_key="patches")
    copied = weights @ place
    assert np.median(np.linalg.norm(copied - place, axis=1)) < 100  # of spots 100 px apart
    np.testing.assert_array_equal(np.diff(weights.indptr), _baselines.N_PLACES)


def test_location_copy_needs_patches(fold):
    train, query = fold.train.copy(), fold.query.copy()
    del train.obsm["patches"]
    with pytest.raises(KeyError, match=r"obsm\['patches'\] not found .*patches_key="):
        _baselines.location(train, query, patches_key="patches")
