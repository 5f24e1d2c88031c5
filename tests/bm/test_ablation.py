"""BLEEP as published with several numbers of neighbours: one fit, read off several times."""

from functools import partial

import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.bm import _ablation
from bleep_sc.bm._ingredients import made_with

REP = "X_stain_stats"
PAPER = bs.tl.FitConfig.paper()


@pytest.fixture
def fits(monkeypatch):
    """How often it was fitted, with two epochs."""
    from dataclasses import replace

    seeds, fit = [], bs.tl.fit

    def counted(*args, **kwargs):
        seeds.append(kwargs["random_state"])
        return fit(*args, **kwargs)

    monkeypatch.setattr(bs.tl.FitConfig, "paper", classmethod(lambda _: replace(PAPER, max_epochs=2, batch_size=64)))
    monkeypatch.setattr(bs.tl, "fit", counted)
    return seeds


@pytest.fixture
def counts(toy):
    toy.X = toy.layers["counts"].copy()
    return toy


def compared(adata, methods, **kwargs):
    how = {"group_key": "library_id", "use_rep": REP, "n_top_genes": 40, "return_predictions": True, **kwargs}
    return bs.bm.cross_validate(adata, methods, **how)


def test_each_is_the_published_bleep_with_that_many_neighbours_of_one_fit(counts, fits):
    methods = bs.bm.methods(["mean", "bleep"], use_rep=REP, ablation=True)
    assert list(methods) == [
        "mean",
        "bleep",
        "bleep_k50",
        "bleep_k1",
        "bleep_k10",
        "bleep_k100",
        "clip",
        "bleep_weighted",
    ]
    other = {"clip": {"soft_targets": False}, "bleep_weighted": {"neighbor_weights": "distance"}}
    assert {name: methods.pop(name).keywords["changes"] for name in other} == other  # of BLEEP as published, too
    table, predictions = compared(counts, methods)
    assert fits == [0] * 2 * 3  # of BLEEP, and of the ablation; on three folds
    one = predictions["bleep_k1"]["slice1"]
    np.testing.assert_allclose(predictions["bleep_k50"]["slice1"], predictions["bleep"]["slice1"], rtol=1e-5)
    others = counts[counts.obs["library_id"] != "slice1"].X.toarray()
    logs = np.log1p(1e4 * others / others.sum(axis=1, keepdims=True))[:, counts.var_names.get_indexer(one.columns)]
    nearest = np.abs(one.to_numpy()[:, None] - logs[None]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest, 0, atol=1e-4)  # each is a spot of the training slides
    spread = table.groupby("method")["predicted_variance"].mean()
    assert spread["bleep_k1"] > spread["bleep_k10"] > spread["bleep_k50"] > spread["bleep_k100"]


def test_an_interrupted_run_goes_on_and_fitting_does_not_change_what_it_was_made_with(counts, fits, tmp_path):
    methods = bs.bm.methods(["mean"], use_rep=REP, ablation=True)
    fresh = made_with(methods["bleep_k10"])
    few = ("mean", "bleep_k50", "bleep_k1")
    compared(counts, {name: methods[name] for name in few}, path=tmp_path, n_seeds=2)
    assert fits == [0, 1] * 3
    assert made_with(methods["bleep_k10"]) == fresh
    again = bs.bm.methods(["mean"], use_rep=REP, ablation=True)
    compared(counts, {name: again[name] for name in few}, path=tmp_path, n_seeds=2)
    assert len(fits) == 2 * 3
    other = partial(_ablation._read_off, fit=again["bleep_k50"].keywords["fit"], n_neighbors=49)
    with pytest.raises(ValueError, match="holds a run of 'bleep_k50' with other arguments: n_neighbors differ"):
        compared(counts, {"bleep_k50": other}, path=tmp_path)
