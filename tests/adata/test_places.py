import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.places import (
    array_places,
    centers_px,
    centers_um,
    features_around,
    microns_per_pixel,
    spatial_slot,
)
from bleep_sc._adata.spots import Spots
from bleep_sc.tl._models.inputs import array_positions


@pytest.fixture
def spots():
    """Two slides of twelve spots on a square lattice, 100 px apart on one and 200 px on the other."""
    row, column = (axis.ravel() for axis in np.mgrid[0:3, 0:4])
    obs = {"array_row": np.tile(row, 2), "array_col": np.tile(column, 2), "library_id": np.repeat(["a", "b"], 12)}
    adata = ad.AnnData(obs=pd.DataFrame(obs, index=[str(i) for i in range(24)]))
    adata.obsm["px"] = (
        np.column_stack([adata.obs["array_col"], adata.obs["array_row"]]) * np.repeat([100.0, 200.0], 12)[:, None]
    )
    return adata


def slides(adata):
    return adata.obs["library_id"].to_numpy(dtype=str)


def test_places_are_where_an_earlier_call_was_told(spots):
    assert spatial_slot(spots) == "spatial"
    with pytest.raises(KeyError, match=r"obsm\['spatial'\] not found.*'px'.*Pass spatial_key="):
        centers_px(spots)
    spots.uns["patches"] = {"a": {"side_px": 3, "spatial_key": "px"}}
    np.testing.assert_array_equal(centers_px(spots), spots.obsm["px"])
    spots.uns["a_first"] = {"a": {"side_px": 3, "spatial_key": "moved"}}
    spots.obsm["moved"] = spots.obsm["px"] + 1
    np.testing.assert_array_equal(centers_px(spots), spots.obsm["px"])  # the usual patches come first
    assert spatial_slot(spots, None, "spatial") == "px"
    assert spatial_slot(spots, "mine") == "mine"


def test_the_resolution_is_given_else_that_of_the_patches_else_measured(spots):
    rows, centers = np.arange(12), spots.obsm["px"][:12]
    assert np.isnan(microns_per_pixel(spots, rows, centers, "a")[0])  # squares may be of any technology
    assert microns_per_pixel(spots, rows, centers, "a", pitch_um=200)[0] == pytest.approx(2)
    spots.uns["spatial"] = {"a": {"scalefactors": {"microns_per_pixel": 3.0}}}
    assert microns_per_pixel(spots, rows, centers, "a") == (3.0, "scale factors")
    spots.uns["wide"] = {"a": {"side_px": 9, "mpp": 5.0}, "b": {"side_px": 9, "mpp": np.nan}}
    assert microns_per_pixel(spots, rows, centers, "a") == (5.0, "its patches")
    assert microns_per_pixel(spots, rows, centers, "a", pitch_um=50)[0] == pytest.approx(0.5)
    assert microns_per_pixel(spots, rows, centers, "a", mpp=7.0) == (7.0, "given")
    other = microns_per_pixel(spots, rows + 12, spots.obsm["px"][12:], "b", pitch_um=200)
    assert other[0] == pytest.approx(1)


def test_both_slides_are_measured_alike(spots):
    um = centers_um(spots, slides(spots), spots.obsm["px"], pitch_um=200)
    np.testing.assert_allclose(um[:12], um[12:], atol=1e-9)
    spots.obs["array_row"] *= 2  # a lattice of no known kind
    with pytest.raises(ValueError, match="µm per px of slide 'a' are not known"):
        centers_um(spots, slides(spots), spots.obsm["px"])
    of_model = centers_um(spots, slides(spots), spots.obsm["px"], pitch_of_model=150.0)
    np.testing.assert_allclose(of_model[1, 0], 200, rtol=1e-6)  # a column is 100 px, a row 50: 75 px on average


def test_surroundings_end_at_the_slide(spots):
    values = np.arange(24, dtype=np.float32)[:, None]
    centers = np.zeros((24, 2))  # all at one place
    result = features_around(values, slides(spots), centers, 10.0)
    np.testing.assert_allclose(result[:12], values[:12].mean())
    np.testing.assert_allclose(result[12:], values[12:].mean())


def test_spots_of_slides_without_a_name_are_on_none_of_another(spots):
    params = {"library_key": "library_id", "spatial_key": "px"}
    named = Spots.of(spots, params)
    assert named.on_slides_of(named).all()
    spots = spots[:12].copy()  # of two slides, places would be taken twice
    nameless = spots.copy()
    del nameless.obs["library_id"]
    nameless = Spots.of(nameless, params)
    assert set(nameless.slides) == {"slide"}
    spots.obs["library_id"] = "slide"  # a name like any other
    called = Spots.of(spots, params)
    assert called.on_slides_of(called).all()
    for one, other in ((nameless, nameless), (nameless, called), (called, nameless)):
        assert not one.on_slides_of(other).any()


def test_places_that_are_no_numbers_are_named(spots):
    rows, centers = np.arange(12), spots.obsm["px"][:12]
    spots.obs["array_row"] = pd.Categorical(spots.obs["array_row"].astype(str))
    assert microns_per_pixel(spots, rows, centers, "a", pitch_um=50)[0] == pytest.approx(0.5)  # numbers, as text
    spots.obs["array_row"] = "r" + spots.obs["array_row"].astype(str)
    unknown, why = microns_per_pixel(spots, rows, centers, "a")
    assert np.isnan(unknown)
    assert "obs['array_row'] holds 'r0', which is no number" in why
    with pytest.raises(ValueError, match=r"holds 'r0', which is no number; number rows and columns from 0"):
        microns_per_pixel(spots, rows, centers, "a", pitch_um=50)
    assert microns_per_pixel(spots, rows, centers, "a", mpp=2.0) == (2.0, "given")
    with pytest.raises(ValueError, match="holds 'r0'"):
        array_positions(spots)


def test_rows_and_columns_of_a_slide_are_read_alone(spots):
    """Else many slides cost the square of their spots; and text on one slide would be that of another."""
    rows = np.arange(12, 24)
    np.testing.assert_array_equal(array_places(spots, rows), array_places(spots)[rows])
    spots.obs["array_row"] = spots.obs["array_row"].astype(object)
    spots.obs.iloc[0, 0] = "r0"
    assert "holds 'r0'" in microns_per_pixel(spots, np.arange(12), spots.obsm["px"][:12], "a")[1]
    assert microns_per_pixel(spots, rows, spots.obsm["px"][12:], "b", pitch_um=200)[0] == pytest.approx(1)
