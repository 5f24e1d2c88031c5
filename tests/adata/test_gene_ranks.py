"""In which order genes are to be read."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.gene_ranks import in_words, rank_genes


@pytest.fixture
def predicted():
    """Four predicted genes, and one that was not; the first varies most."""
    values = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32) * [4, 3, 2, 1, 9]
    var = pd.DataFrame(index=["a", "b", "c", "d", "absent"])
    var["bleep_predicted"] = [True, True, True, True, False]
    return ad.AnnData(np.zeros_like(values), layers={"bleep": values}, var=var)


def test_what_was_predicted_best_comes_first_and_what_is_not_known_last(predicted):
    predicted.var["bleep_predictability"] = [np.nan, 0.19, 0.7, 0.2, 0.9]
    ranked = rank_genes(predicted, "bleep")
    assert ranked.index.tolist() == ["c", "d", "b", "a"]
    assert ranked["is_readable"].tolist() == [True, True, False, False]
    assert ranked["means"].tolist() == ["follows what was measured", "shows a trend", "not to be read", "not known"]


@pytest.mark.parametrize("said", [np.nan, None])
def test_where_nothing_is_promised_genes_that_vary_most_are_first_and_none_is_readable(predicted, said):
    if said is not None:
        predicted.var["bleep_predictability"] = said
    ranked = rank_genes(predicted, "bleep")
    assert ranked.index.tolist() == ["a", "b", "c", "d"]
    assert not ranked["is_readable"].any()
    assert set(ranked["means"]) == {"not promised here"}


def test_words_begin_where_they_are_said_to():
    said = [in_words(r) for r in (-1.0, 0.199, 0.2, 0.399, 0.4, 0.6, 1.0)]
    assert said == [
        "not to be read",
        "not to be read",
        "shows a trend",
        "shows a trend",
        "shows the pattern",
        "follows what was measured",
        "follows what was measured",
    ]
