import itertools
import json

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


def cut_by(column, name="a"):
    return {name: {"side_px": 3, "library_key": column}}


def model_of(column):
    return {"method": "bleep", "version": "0.1.0", "params": json.dumps({"library_key": column})}


def test_the_column_is_the_given_one_else_the_models_else_that_of_the_patches_else_the_usual(spots):
    assert library_column(spots) == "library_id"
    spots.uns["patches"] = cut_by("sample")
    assert library_column(spots) == "sample"
    spots.obs["block"] = spots.obs["library_id"] = "x"
    assert library_column(spots) == "sample"
    assert library_column(spots, None, "block") == "block"
    assert library_column(spots, None, "not there") == "sample"
    assert library_column(spots, "donor", "block") == "donor"  # a user's word, right or wrong
    np.testing.assert_array_equal(libraries(spots), np.repeat(["a", "b"], 3))


def test_models_and_predictions_are_asked_last(spots):
    """A model may have been told patients; that is no name of slides where they have one."""
    spots.uns["bleep"] = model_of("sample")
    assert library_column(spots) == "sample"
    spots.obs["library_id"] = "x"
    assert library_column(spots) == "library_id"


def test_the_answer_does_not_depend_on_the_order_of_uns(spots):
    spots.obs["block"] = "x"
    entries = {"patches": cut_by("sample"), "a_first": cut_by("block"), "bleep": model_of("block")}
    for names in itertools.permutations(entries):
        spots.uns = {name: entries[name] for name in names}
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


def test_what_a_model_reads_need_not_be_named(spots):
    del spots.obs["sample"]
    spots.uns["spatial"] = {"a": {}, "b": {}}
    np.testing.assert_array_equal(libraries(spots, None, "sample", required=False), [UNNAMED] * 6)


def test_records_of_other_software_are_no_matter(spots):
    spots.uns |= {"log1p": {"base": None}, "neighbors": {"params": {"n_neighbors": 3}}, "colors": np.arange(3)}
    spots.uns |= {"umap": {"library_key": "sample"}, "x": {"params": "{'a': 1}"}, "y": {"params": "a text"}}
    spots.uns["other"] = {"part": {"library_key": "sample"}}
    assert library_column(spots) == "library_id"
