"""Measured spots of the query's own slide, as a reference."""

import warnings

import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc._adata.spots import Spots
from bleep_sc.tl._references.same_slide import place_images, same_spots


@pytest.fixture
def measured(fitted, query):
    some = query[np.random.default_rng(0).permutation(query.n_obs)[:20]].copy()
    bs.tl.embed(some, fitted, expression=True)
    return some


def spots(adata):
    return Spots.of(adata, {"library_key": "library_id"})


def place(query, refs):
    model, images = bs.tl.load_model(refs[0]), query.obsm["X_stain_stats"]
    ours, theirs = spots(query), [spots(each) for each in refs]
    twins = [same_spots(ours, each) for each in theirs]
    return place_images(ours, theirs, twins, model, images, key="bleep", encoder=None, device="cpu")


def test_a_few_spots_land_where_they_land_within_the_whole_slide(fitted, query, measured):
    whole = bs.tl.embed(query, fitted, copy=True).obsm["X_bleep_image"]
    rows = query.obs_names.get_indexer(measured.obs_names)
    assert np.abs(measured.obsm["X_bleep_image"] - whole[rows]).max() > 0.01  # by their own moments they do not
    for obs_names in (measured.obs_names, measured.obs_names + "-1"):
        measured.obs_names = obs_names
        images, of_refs = place(query, [fitted, measured])
        np.testing.assert_allclose(images, whole, atol=1e-5)
        np.testing.assert_allclose(of_refs[fitted.n_obs :], whole[rows], atol=1e-5)
        np.testing.assert_array_equal(of_refs[: fitted.n_obs], fitted.obsm["X_bleep_image"])


def test_so_do_both_parts_of_a_slide_that_was_divided(fitted, query, measured):
    whole = bs.tl.embed(query, fitted, copy=True)
    rest = query[~query.obs_names.isin(measured.obs_names)].copy()
    images, of_refs = place(rest, [fitted, measured])
    np.testing.assert_allclose(images, whole[rest.obs_names].obsm["X_bleep_image"], atol=1e-5)
    np.testing.assert_allclose(of_refs[fitted.n_obs :], whole[measured.obs_names].obsm["X_bleep_image"], atol=1e-5)
    with pytest.warns(UserWarning, match="do not compare"):
        bs.tl.impute(rest, ref=[fitted, measured])
    np.testing.assert_array_equal(rest.obsm["X_bleep_image"], images)


def test_other_slides_stay_where_they_were_embedded(fitted, query):
    other = query[:30].copy()
    other.obs["library_id"] = "another"
    other.obsm["spatial"] = other.obsm["spatial"] + 1.0
    bs.tl.embed(other, fitted, expression=True)
    del other.obsm["X_stain_stats"]  # not needed any more
    alone = place(query, [fitted])
    images, of_refs = place(query, [fitted, other])
    np.testing.assert_array_equal(images, alone[0])
    np.testing.assert_array_equal(of_refs, np.vstack([alone[1], other.obsm["X_bleep_image"]]))


def test_measured_spots_draw_the_prediction_towards_the_slide(fitted, query, measured):
    """A shift of one gene on the query slide is unknown to the other slides, and known to the measured spots."""
    gene = fitted.uns["bleep"]["genes"][0]
    shifted = measured.X.toarray()
    shifted[:, measured.var_names == gene] += 2
    measured.X = shifted
    bs.tl.embed(measured, fitted, expression=True)
    before = bs.tl.impute(query, ref=fitted, copy=True)[:, gene].layers["bleep"].mean()
    with pytest.warns(UserWarning, match="20 of its"):
        one, five = (
            bs.tl.impute(query, ref=[fitted, measured], ref_weights=[1, weight], copy=True) for weight in (1, 5)
        )
    assert before < one[:, gene].layers["bleep"].mean() < five[:, gene].layers["bleep"].mean()
    assert "bleep_imputed_share" not in five.obs


def test_same_spots_are_told_by_their_place(fitted, query):
    some = query[[5, 2, 9]].copy()
    np.testing.assert_array_equal(same_spots(spots(query), spots(some)), [5, 2, 9])
    some.obs_names = query.obs_names[:3]
    np.testing.assert_array_equal(same_spots(spots(query), spots(some)), [5, 2, 9])
    some.obsm["spatial"][1] += 3
    np.testing.assert_array_equal(same_spots(spots(query), spots(some)), [5, -1, 9])
    del some.obsm["spatial"]
    np.testing.assert_array_equal(same_spots(spots(query), spots(some)), [0, 1, 2])  # by their names
    np.testing.assert_array_equal(same_spots(spots(query), spots(fitted)), np.full(fitted.n_obs, -1))


def test_the_warning_tells_spots_that_find_themselves_from_their_neighbors(fitted, query, measured):
    n = query.n_obs
    message = (
        f"Slide 'slice3' is in the query and in the reference .*: 20 of its {n} spots find themselves.*"
        f"meaningless there; {n - 20} are not in the reference, but neighbours on the same slide are"
    )
    with pytest.warns(UserWarning, match=message):
        bs.tl.impute(query, ref=[fitted, measured])
    rest = query[~query.obs_names.isin(measured.obs_names)].copy()
    with pytest.warns(UserWarning, match=f"{n - 20} are not in the reference, but neighbours") as caught:
        bs.tl.impute(rest, ref=[fitted, measured])
    assert "find themselves" not in str(caught[0].message)
    with pytest.warns(UserWarning, match="20 of its 20 spots find themselves") as caught:
        bs.tl.impute(measured.copy(), ref=[fitted, measured], n_neighbors=5)
    assert "neighbours" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bs.tl.impute(query, ref=fitted)
