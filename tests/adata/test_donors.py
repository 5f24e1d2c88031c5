import json
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.donors import donor_column, donors, donors_of_slides

SLIDES = np.repeat(["a", "b", "c"], 2)


@pytest.fixture
def spots():
    """Six spots of three slides."""
    return ad.AnnData(obs=pd.DataFrame({"library_id": SLIDES}, index=[str(i) for i in range(6)]))


def test_the_column_is_the_given_one_else_the_models_else_the_first_of_the_usual(spots, caplog):
    assert donor_column(spots) is None
    assert donors(spots, None) is donors_of_slides(spots, SLIDES, None) is None
    for column in ("subject", "Donor_ID", "animal", "Donor", "patient"):  # from the last to the first
        spots.obs[column] = "x"
        assert donor_column(spots) == column
    spots.obs["mouse"] = spots.obs["block"] = "x"
    spots.uns["bleep"] = {"method": "bleep", "version": "0.1.0", "params": json.dumps({"donor_key": "mouse"})}
    assert donor_column(spots) == "mouse"
    assert donor_column(spots, None, "block") == "block"
    assert donor_column(spots, None, "not there") == donor_column(spots, None, None) == "mouse"
    with caplog.at_level(logging.INFO, "bleep_sc"):
        caplog.clear()
        assert donor_column(spots, "library_id", "block") == "library_id"
        assert not caplog.messages  # it was told, and need not be told back
        donor_column(spots)
    assert caplog.messages == ["Donors are those of obs['mouse']."]


@pytest.mark.parametrize("missing", [None, np.nan, " "])
def test_a_column_that_lacks_a_donor_is_passed_over_and_refused_where_it_was_given(spots, missing):
    spots.obs["patient"] = pd.Categorical(["P1", missing, "P1", "P2", "P2", "P2"])
    assert donor_column(spots) is None
    spots.obs["animal"] = [1, 1, 1, 1, 2, 2]
    assert donor_column(spots) == "animal"
    with pytest.raises(ValueError, match=r"obs\['patient'\] \(donor_key=\) is missing for 1 spots"):
        donor_column(spots, "patient")
    with pytest.raises(KeyError, match=r"obs\['none'\] not found .*'patient'.* Pass donor_key="):
        donor_column(spots, "none")


def test_every_slide_is_of_one_donor_or_refused(spots):
    spots.obs["animal"] = pd.Categorical([1, 1, 1, 1, 2, 2])
    assert donors_of_slides(spots, SLIDES, "animal") == {"a": "1", "b": "1", "c": "2"}
    np.testing.assert_array_equal(donors(spots, "animal"), list("111122"))
    spots.obs["animal"] = [1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match=r"Slide 'b' is of 2 donors: obs\['animal'\] has '1', '2'\. .*library_key="):
        donors_of_slides(spots, SLIDES, "animal")
