"""Batches and regions of low quality in predictions, against what tl says of one slide."""

import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.bm._held_out import training
from bleep_sc.bm._robustness import carried_over

REP, HOW = "X_stain_stats", {"group_key": "library_id"}


@pytest.fixture(scope="module")
def compared(_toy):
    adata = _toy.copy()
    adata.X = adata.layers["counts"].copy()
    settings = {**HOW, "use_rep": REP, "n_top_genes": 40, "return_predictions": True}
    _, predictions = bs.bm.cross_validate(adata, ["mean", "ridge", "knn"], **settings)
    held = bs.bm.held_out(adata, predictions, "slice2", **HOW)
    return held, training(adata, held.var_names, "slice2", **HOW, layer=None, library_key=None)


@pytest.fixture(scope="module")
def found(compared):
    held, train = compared
    table = carried_over(held, train, ["mean", "ridge", "knn"], "low_quality")
    assert table["library"].unique().tolist() == ["slice2"]
    return table.set_index(["method", "metric"])["value"]


def test_mixing_is_that_of_the_joint_layout(compared, found):
    held, train = compared
    bs.tl.joint_umap(held, train, "ridge")
    assert found["ridge", "batches, LISI"] == pytest.approx(held.uns["ridge_umap"]["lisi"])
    assert found["ridge", "batches, silhouette"] == pytest.approx(held.uns["ridge_umap"]["silhouette"])


def test_what_was_measured_is_there_too_and_shows_the_region_that_predictions_do_not(found):
    assert found["measured", "marked region, AMI"] > 0.1
    assert found["ridge", "marked region, AMI"] < 0.25 * found["measured", "marked region, AMI"]
    assert ("mean", "marked region, AMI") not in found.index  # a constant has no clusters
    assert 0 <= found["measured", "batches, LISI"] <= 1


def test_a_slide_of_a_batch_of_its_own_mixes_less(compared, found):
    held, train = compared
    shifted = held.copy()
    values = np.asarray(shifted.layers["knn"]) + 5
    shifted.layers["knn"] = values.astype(np.float32)
    apart = carried_over(shifted, train, ["knn"], None).set_index(["method", "metric"])["value"]
    assert apart["knn", "batches, LISI"] < 0.3 * found["knn", "batches, LISI"]
    assert apart["knn", "batches, silhouette"] < found["knn", "batches, silhouette"]
    assert apart["measured", "batches, LISI"] == pytest.approx(found["measured", "batches, LISI"])
    assert not apart.index.isin(["marked region, AMI"], level="metric").any()
