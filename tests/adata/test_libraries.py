import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.libraries import UNNAMED, libraries, library_column


@pytest.fixture
def spots():
    """Six spots of two slides, named in a column of another name."""
    names = pd.Categorical(np.repeat(["a", "b"], 3))
    return ad.AnnData(obs=pd.DataFrame({"sample": names}, index=[str(i) for i in range(6)]))


def test_the_column_is_the_given_one_else_the_models_else_a_recorded_one_else_the_usual(spots):
    assert library_column(spots) == "library_id"
    spots.uns["patches"] = {"a": {"side_px": 3, "library_key": "sample"}, "b": {"side_px": 3, "library_key": "sample"}}
    assert library_column(spots) == "sample"
    spots.obs["block"] = "x"
    assert library_column(spots, None, "block") == "block"
    assert library_column(spots, None, "not there") == "sample"
    assert library_column(spots, "donor", "block") == "donor"  # a user's word, right or wrong
    np.testing.assert_array_equal(libraries(spots), np.repeat(["a", "b"], 3))


@pytest.mark.parametrize("where", ["params", "entry"])
def test_models_and_predictions_record_it_too(spots, where):
    spots.uns["bleep_imputed"] = (
        {"params": '{"library_key": "sample"}'} if where == "params" else {"library_key": "sample"}
    )
    assert library_column(spots) == "sample"


def test_without_a_column_the_only_library_names_all_spots(spots):
    del spots.obs["sample"]
    np.testing.assert_array_equal(libraries(spots), [UNNAMED] * 6)
    spots.uns["spatial"] = {"one": {}}
    np.testing.assert_array_equal(libraries(spots), ["one"] * 6)
    np.testing.assert_array_equal(libraries(spots, None, "sample"), ["one"] * 6)  # of a model: a query may lack it


def test_what_cannot_be_told_is_refused(spots):
    with pytest.raises(KeyError, match=r"obs\['donor'\] not found.*'sample'.*Pass library_key="):
        libraries(spots, "donor")
    spots.uns["spatial"] = {"a": {}, "b": {}}
    with pytest.raises(KeyError, match=r"obs\['library_id'\] not found"):
        libraries(spots)
    spots.obs["sample"] = ["a", "a", None, "b", "b", "b"]
    with pytest.raises(ValueError, match=r"obs\['sample'\] is missing for 1 spots"):
        libraries(spots, "sample")


def test_records_of_other_software_are_no_matter(spots):
    spots.uns |= {"log1p": {"base": None}, "neighbors": {"params": {"n_neighbors": 3}}, "colors": np.arange(3)}
    spots.uns["other"] = {"params": "a text", "part": {"library_key": 3}}
    assert library_column(spots) == "library_id"
