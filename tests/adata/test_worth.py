"""What a reference says of its own worth."""

import anndata as ad
import numpy as np
import pandas as pd

from bleep_sc._adata.worth import in_short, known_scores


def of(r):
    return ad.AnnData(
        np.zeros((2, len(r))), var=pd.DataFrame({"bleep_predictability": r}, index=list("abcde")[: len(r)])
    )


def test_scores_are_of_the_genes_of_which_they_are_known():
    scores = known_scores(of([0.1, np.nan, 0.2, 0.5, 0.9]), "bleep")
    assert scores.to_dict() == {"a": 0.1, "c": 0.2, "d": 0.5, "e": 0.9}
    assert in_short(scores) == (
        "median Pearson r 0.35 over 4 genes; 3 of them are to be read (r of 0.2 or more), 2 reach 0.5"
    )


def test_where_nothing_was_held_out_there_are_none():
    assert known_scores(of([np.nan, np.nan]), "bleep") is None
    assert known_scores(of([0.1]), "ridge") is None
