import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bleep_sc._adata.libraries import libraries, named, written_libraries
from bleep_sc._adata.spots import Spots, note


def slide(shift=0.0, n=6):
    """Spots on a square lattice, 100 px apart."""
    row, column = (axis.ravel() for axis in np.mgrid[0:n, 0:n])
    obs = pd.DataFrame({"array_row": row, "array_col": column}, index=[f"{r}x{c}" for r, c in zip(row, column)])  # noqa: B905
    return ad.AnnData(obs=obs, obsm={"spatial": np.column_stack([column, row]) * 100.0 + shift})


def stacked(*slides, label="sample"):
    return ad.concat(dict(zip("ab", slides, strict=True)), label=label, index_unique="-")


@pytest.mark.parametrize("shift", [0.0, 7.0])
@pytest.mark.parametrize("record", [{}, {"ST": {}}])
def test_places_that_are_taken_twice_are_of_two_slides(shift, record):
    """Whether or not the lattices lie on each other; a column that tells them apart is named."""
    both = stacked(slide(), slide(shift))
    both.uns["spatial"] = record
    with pytest.raises(ValueError, match=r"is several slides: 72 spots .* obs\['sample'\] tells them apart: pass libr"):
        libraries(both)
    assert np.unique(libraries(both, "sample")).tolist() == ["a", "b"]
    both.obs["library_id"] = "ST"
    for column in (None, "library_id"):
        with pytest.raises(ValueError, match="Slide 'ST' is several slides"):
            libraries(both, column)
    del both.obs["sample"]
    with pytest.raises(ValueError, match="Name the slide of every spot when they are put together"):
        libraries(both)


def test_the_places_may_be_text_and_some_may_be_missing():
    both = stacked(slide(), slide(7))
    for key in ("array_row", "array_col"):
        both.obs[key] = pd.Categorical("r" + both.obs[key].astype(str))
    with pytest.raises(ValueError, match="72 spots"):
        libraries(both)
    both.obs["array_row"] = np.where(np.arange(72) < 36, both.obs["array_row"].astype(str), None)
    del both.obs["sample"]
    assert np.unique(libraries(both)).tolist() == ["slide"]


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_spots_that_are_drawn_again_are_no_other_slide():
    one = slide()
    again = one[np.random.default_rng(0).integers(0, 36, 50)].copy()
    assert len(libraries(again)) == 50


def test_a_few_cells_on_one_place_are_no_other_slide():
    """As of cells whose place on the array is that of a bin."""
    one = slide(n=12)
    one.obs.iloc[0] = one.obs.iloc[1]
    assert np.unique(libraries(one)).tolist() == ["slide"]
    one.obs.iloc[2:4] = one.obs.iloc[4:6].to_numpy()
    with pytest.raises(ValueError, match="6 spots stand where another one stands"):
        libraries(one)


def test_donors_may_have_any_name():
    one = slide()
    one.obs["donor"] = "control/1"
    assert np.unique(named(one, "donor")).tolist() == ["control/1"]


def test_slides_may_be_grouped_on_purpose():
    """By patient, where something else names the slides; what is no slide at all may be asked for as it is."""
    both = stacked(slide(), slide(), label="library_id")
    both.obs["patient"] = "P"
    assert np.unique(libraries(both, "patient")).tolist() == ["P"]
    assert np.unique(libraries(both, None, "patient")).tolist() == ["P"]
    both.obs["sample"] = both.obs.pop("library_id")
    with pytest.raises(ValueError, match="Slide 'P' is several slides"):
        libraries(both, "patient")
    assert np.unique(named(both, "patient")).tolist() == ["P"]


@pytest.mark.parametrize("name", ["sample", "Slide_ID", "batch", "section"])
def test_a_second_column_whose_slides_lie_over_each_other_is_named(name):
    both = stacked(slide(), slide(30), label=name)
    del both.obs["array_row"]
    with pytest.raises(
        ValueError, match=f"would be taken for one slide, but obs\\['{name}'\\] names 2, and nothing says"
    ):
        libraries(both)
    both.obs["library_id"] = "ST"
    with pytest.raises(ValueError, match="would be taken for one"):
        libraries(both)
    assert np.unique(libraries(both, "library_id")).tolist() == ["ST"]  # the user says so
    del both.obsm["spatial"]
    assert np.unique(libraries(both)).tolist() == ["ST"]
    del both.obs["library_id"]
    with pytest.raises(
        ValueError, match="would be taken for one slide"
    ):  # nothing says where they lie, or that it is one
        libraries(both)


def test_sections_side_by_side_and_other_columns_are_no_matter():
    both = stacked(slide(), slide(700))
    del both.obs["array_row"]
    both.obs["cell_type"] = np.arange(72) % 3
    both.obs["sample_barcode"] = both.obs_names
    assert np.unique(libraries(both)).tolist() == ["slide"]


@pytest.mark.parametrize("record", [{}, {"library_id": "ST"}])
def test_a_model_does_not_vouch_for_the_slides_of_a_query(record):
    """What it was fitted with may not be there, or be one name for both; nor has its reader a library_key=."""
    both = stacked(slide(), slide(30))
    both.obs = both.obs[["sample"]].assign(**record)
    remedy = r"If they are one slide, rename obs\['sample'\]. If not, obs\['sample'\] tells them apart: name the slides"
    with pytest.raises(ValueError, match=f"would be taken for one slide.*{remedy}") as error:
        Spots.of(both, {"library_key": "library_id"})
    assert "library_key=" not in str(error.value)
    both.obs["library_id"] = both.obs["sample"]  # as the message says
    assert np.unique(Spots.of(both, {"library_key": "library_id"}).slides).tolist() == ["a", "b"]


def test_a_column_that_was_given_once_need_not_be_given_again():
    both = stacked(slide(), slide(700), label="library_id")
    both.obs["batch"] = np.where((np.arange(72) % 2 > 0) & (np.arange(72) > 35), "1", "2")
    once = r"slide 'b' would be taken .*obs\['batch'\] names 2, .*If they are one slide, pass library_key='library_id'"
    both.uns["patches"] = {name: {"side_px": 8, **note(both, None, None, None)} for name in "ab"}
    assert np.unique(libraries(both)).tolist() == ["a", "b"]  # every spot has a place of its own on the array
    del both.obs["array_row"], both.obs["array_col"]
    with pytest.raises(ValueError, match=once):
        libraries(both)
    both.uns["patches"]["a"] |= note(both, "library_id", None, None)
    params = {"library_key": "library_id"}
    assert np.unique(libraries(both)).tolist() == ["a", "b"]
    assert np.unique(Spots.of(both, params).slides).tolist() == ["a", "b"]
    both.uns = {"bleep_imputed": {"method": "bleep", "version": "0.2.0", "params": json.dumps(params)}}
    with pytest.raises(ValueError, match="would be taken for one slide"):  # a prediction has it from its model
        libraries(both)
    both.uns = {"bleep": {**both.uns["bleep_imputed"], "model": np.zeros(3, dtype=np.uint8)}}
    assert np.unique(libraries(both)).tolist() == ["a", "b"]  # a model was fitted on these slides


@pytest.mark.parametrize("name", ["a/b", "a\\b", "", "..", "a\x00b", "\udce4"])
def test_names_that_files_do_not_take_are_refused(name):
    one = slide()
    one.obs["library_id"] = pd.Series([name] * one.n_obs, index=one.obs_names, dtype=object)
    assert np.unique(libraries(one)).tolist() == [name]  # what writes nothing takes any
    with pytest.raises(ValueError, match=r"obs\['library_id'\] has .*h5ad and zarr take no '/'"):
        written_libraries(one)
    del one.obs["library_id"]
    one.uns["spatial"] = {name: {}}
    with pytest.raises(ValueError, match=r"uns\['spatial'\] has .*h5ad and zarr take no '/'"):
        written_libraries(one)


def test_names_that_files_take_come_back(tmp_path):
    name = " Größe 1: β-Zellen.."
    one = slide()
    one.obs["library_id"] = name
    one.uns["spatial"] = {name: {"images": {}}}
    assert libraries(one)[0] == name
    one.write_h5ad(tmp_path / "a.h5ad")
    one.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        assert list(back.uns["spatial"]) == [name]


def test_no_spots_are_no_slide():
    with pytest.raises(ValueError, match="adata has no spots"):
        libraries(slide()[:0])
