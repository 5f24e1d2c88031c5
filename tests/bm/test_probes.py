"""HEST-Bench's regressions: equal to slow versions of themselves, and set as HEST sets them."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge

import bleep_sc as bs
from bleep_sc.bm import _probes
from bleep_sc.bm._folds import split

REP = "X_stain_stats"


@pytest.fixture
def fold(toy):
    toy.X = toy.layers["counts"].copy()
    how = {"patches_key": "patches", "layer": None, "library_key": "library_id", "n_top_genes": 12}
    return split(toy, "library_id", use_rep=[REP], **how).fold("slice3")


def components(fold, k):
    """Standardised and turned onto principal axes, by the singular values of the training spots."""
    known, queries = (side.obsm[REP].astype(np.float64) for side in (fold.train, fold.query))
    mean, std = known.mean(axis=0), known.std(axis=0)
    known, queries = ((each - mean) / np.where(std > 0, std, 1) for each in (known, queries))
    axes = np.linalg.svd(known, full_matrices=False)[2][:k]
    return known @ axes.T, queries @ axes.T


def expression(fold):
    return fold.train[:, fold.panel].X.toarray().astype(np.float64)


@pytest.mark.parametrize("k", [8, 36])
def test_ridge_is_shrunk_axis_by_axis_with_the_penalty_of_hest(fold, monkeypatch, k):
    monkeypatch.setattr(_probes, "N_COMPONENTS", k)
    known, queries = components(fold, k)
    values = expression(fold)
    alpha = 100 / (k * values.shape[1])
    slopes = known.T @ (values - values.mean(axis=0)) / ((known**2).sum(axis=0)[:, None] + alpha)
    expected = values.mean(axis=0) + queries @ slopes
    result = bs.bm.methods(["hest_ridge"], use_rep=REP)["hest_ridge"](fold.train, fold.query)
    np.testing.assert_allclose(result, expected, atol=2e-5)
    as_there = Ridge(alpha, solver="lsqr", fit_intercept=False, max_iter=1000, tol=1e-10).fit(known, values)
    np.testing.assert_allclose(result - values.mean(axis=0), as_there.predict(queries), atol=2e-5)


def test_no_more_components_than_there_are(fold):
    few = fold.train[np.r_[:10, -10:0]].copy()
    assert _probes.hest_ridge(few, fold.query, use_rep=[REP]).shape == (fold.query.n_obs, len(fold.panel))


def test_weights_of_leaves_by_hand():
    known, queries = np.array([[0, 1], [0, 2], [1, 2]]), np.array([[0, 2], [1, 1]])
    drawn = [np.array([0, 0, 2]), np.array([0, 1, 2])]  # spot 0 twice, and never spot 1, by the first tree
    weights = _probes.leaf_weights(known, queries, drawn).toarray()
    np.testing.assert_allclose(weights, [[0.5, 0.25, 0.25], [0.5, 0, 0.5]])


def test_the_forest_predicts_the_mean_of_its_leaves(fold, monkeypatch):
    monkeypatch.setattr(_probes, "N_TREES", 6)
    weights = _probes.random_forest(fold.train, fold.query, use_rep=[REP], random_state=3)
    known, queries = _probes._components(fold.train, fold.query, [REP])
    targets = PCA(len(fold.panel), random_state=1).fit_transform(expression(fold))
    assert targets.shape[1] <= _probes.N_TARGETS
    forest = RandomForestRegressor(6, max_depth=16, random_state=3).fit(known, targets)
    np.testing.assert_allclose(weights @ targets, forest.predict(queries), atol=1e-10)
    others = _probes.random_forest(fold.train, fold.query, use_rep=[REP], random_state=4)
    assert abs(weights - others).max() > 0.01


def test_boosting_is_of_every_gene_by_itself_with_the_settings_of_hest(fold, monkeypatch):
    monkeypatch.setattr(_probes, "N_ROUNDS", 5)
    fold.train.var["highly_variable"] = fold.train.var_names.isin(fold.panel[:2])
    result = _probes.boosting(fold.train, fold.query, use_rep=[REP], random_state=2)
    known, queries = _probes._components(fold.train, fold.query, [REP])
    settings = {"max_depth": 3, "learning_rate": 0.1, "l2_regularization": 1, "min_samples_leaf": 1}
    model = HistGradientBoostingRegressor(**settings, max_features=0.8, max_iter=5, random_state=2)
    for gene in (0, 1):
        expected = model.fit(known, expression(fold)[:, gene]).predict(queries)
        np.testing.assert_allclose(result[:, gene], expected, atol=1e-6)


def test_as_many_trees_and_components_as_in_hest():
    assert (_probes.N_COMPONENTS, _probes.N_TREES, _probes.N_ROUNDS, _probes.PENALTY) == (256, 70, 100, 100)


def test_components_are_of_standardised_features(fold):
    known, queries = _probes._components(fold.train, fold.query, [REP])
    expected = components(fold, known.shape[1])
    for one, other in zip((known, queries), expected, strict=True):
        np.testing.assert_allclose(abs(one), abs(other), atol=1e-3)
