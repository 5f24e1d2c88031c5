"""What may be given as methods= of a comparison, and what is said of the rest."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import bleep_sc as bs
from bleep_sc.bm._compared import named_methods

REP = "X_stain_stats"
HOW = {"use_rep": [REP], "patches_key": "patches"}


def zeros(train, query):
    return np.zeros((query.n_obs, int(train.var["highly_variable"].sum())), dtype=np.float32)


def with_seed(train, query, *, scale, random_state):
    return zeros(train, query)


@pytest.fixture
def counts(toy):
    toy.X = toy.layers["counts"].copy()
    toy.obs["patient"] = toy.obs["library_id"].astype(str).str.replace("slice", "P")
    return toy


def test_names_and_functions_are_compared_as_a_dict_of_them_is(counts):
    how = {"group_key": "library_id", "use_rep": REP, "n_top_genes": 10}
    by_name = bs.bm.cross_validate(counts, ["mean", "ridge", zeros], **how)
    as_dict = {**bs.bm.methods(["mean", "ridge"], use_rep=REP), "zeros": zeros}
    expected = bs.bm.cross_validate(counts, as_dict, **how)
    pd.testing.assert_frame_equal(by_name.drop(columns="seconds"), expected.drop(columns="seconds"))


def test_a_single_method_and_partials_have_the_name_of_their_function():
    assert list(named_methods("mean", **HOW)) == ["mean"]
    assert list(named_methods(zeros, **HOW)) == ["zeros"]
    assert list(named_methods([partial(with_seed, scale=2), "ridge"], **HOW)) == ["with_seed", "ridge"]


@pytest.mark.parametrize(
    ("methods", "error", "message"),
    [
        ({"ridge": "ridge"}, TypeError, r"methods\['ridge'\]='ridge' is a name.*Pass methods=\['ridge'\]"),
        (
            {"ridge": Ridge()},
            TypeError,
            r"methods\['ridge'\]=Ridge\(\) is a Ridge, which cannot be called\. Pass a func",
        ),
        ({"ridge": Ridge}, TypeError, r"takes \(alpha=1\.0, .*and is called with \(train, query\): too many"),
        ({"mine": lambda train: 0}, TypeError, r"takes \(train\), and is called with \(train, query\)"),
        ({"mine": with_seed}, TypeError, r"methods\['mine'\]=.*missing a required (keyword-only )?argument: 'scale'"),
        ({1: zeros}, TypeError, "has the name 1; names are texts"),
        ({"permuted": zeros}, ValueError, "'permuted', which stands for something else"),
        ([lambda train, query: 0], ValueError, r"a function without a name \(<lambda>\)\. Pass a dict"),
        ([zeros, zeros], ValueError, "several that are called 'zeros'"),
        (
            ["mean", "magic"],
            ValueError,
            r"^methods= has 'magic', which is no method of the package\. It has: mean, loc",
        ),
        (["Ridge"], ValueError, r"^methods= has 'Ridge', .* Did you mean 'ridge' or 'hest_ridge'\? It has"),
        ("ridg", ValueError, r"^methods= has 'ridg', .* Did you mean 'ridge'\? It has"),
        ([], ValueError, r"methods=\[\] is empty\. Pass names such as"),
        (3, TypeError, "methods=3 must be names of the package's methods, functions"),
        ([3], TypeError, r"methods\['int'\]=3 is an int, which cannot be called"),
    ],
)
def test_what_is_no_method_is_named(methods, error, message):
    with pytest.raises(error, match=message):
        named_methods(methods, **HOW)


def test_names_that_need_features_say_so_without(counts):
    with pytest.raises(ValueError, match="ridge need image features; use_rep= names them"):
        bs.bm.cross_validate(counts, ["ridge"], group_key="library_id")


@pytest.mark.parametrize("of", ["a list", "a Series"])
@pytest.mark.parametrize("key", ["group_key", "donor_key"])
def test_donors_where_the_name_of_their_column_is_wanted(counts, key, of):
    given = counts.obs["patient"] if of == "a Series" else ["P1", "P2"]
    with pytest.raises(TypeError, match=rf"{key}=.* the name of one column of obs, .* Pass {key}='patient'\."):
        bs.bm.cross_validate(counts, ["mean"], **{"group_key": "library_id", key: given})


def test_a_list_of_one_column_and_one_of_nothing_that_is_there(counts):
    with pytest.raises(TypeError, match=r"Pass group_key='patient'\."):
        bs.bm.cross_validate(counts, ["mean"], group_key=["patient"])
    with pytest.raises(TypeError, match=r"is a list\. obs has: library_id, "):
        bs.bm.cross_validate(counts, ["mean"], group_key=["P7"])


def test_a_donor_where_the_name_of_their_column_is_wanted(counts):
    with pytest.raises(
        KeyError, match=r"obs\['P1'\] not found .* 'P1' is a value of obs\['patient'\]\. Pass group_key="
    ):
        bs.bm.cross_validate(counts, ["mean"], group_key="P1")


def test_where_the_counts_are_is_said(counts):
    with pytest.raises(
        KeyError, match=r"layers\['none-such'\] not found .* Leave layer= out: the counts are in adata\.X"
    ):
        bs.bm.cross_validate(counts, ["mean"], group_key="library_id", layer="none-such")
    counts.X = np.log1p(counts.X.toarray())
    with pytest.raises(ValueError, match=r"adata\.X holds no raw counts.* Pass layer='counts', which holds counts"):
        bs.bm.cross_validate(counts, ["mean"], group_key="library_id")
    del counts.layers["counts"]
    with pytest.raises(ValueError, match="none of those that are there holds any"):
        bs.bm.cross_validate(counts, ["mean"], group_key="library_id")
