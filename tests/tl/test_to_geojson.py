import json

import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs


@pytest.fixture
def imputed(fitted, query):
    bs.tl.impute(query, ref=fitted)
    query.obs["region"] = np.where(query.obsm["spatial"][:, 0] > 400, "right", "")
    return query


def test_coordinates_and_values_come_back(imputed, tmp_path):
    bs.tl.to_geojson(imputed, tmp_path / "a.geojson", genes=["CYP3A4", "HAL"], classes="region")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert len({feature["id"] for feature in features}) == imputed.n_obs
    measured = [[feature["properties"]["measurements"][gene] for gene in ("CYP3A4", "HAL")] for feature in features]
    columns = imputed.var_names.get_indexer(["CYP3A4", "HAL"])
    np.testing.assert_allclose(measured, imputed.layers["bleep"][:, columns], atol=1e-4)
    regions = bs.slides.read_regions(tmp_path / "a.geojson")
    centers = [region.polygon.centroid.coords[0] for region in regions]
    np.testing.assert_allclose(centers, imputed.obsm["spatial"], atol=0.1)
    named = [region.name == "right" for region in regions]
    np.testing.assert_array_equal(named, imputed.obs["region"] == "right")
    diameter = imputed.uns["spatial"]["slice3"]["scalefactors"]["spot_diameter_fullres"]
    assert regions[0].polygon.area == pytest.approx(np.pi * diameter**2 / 4, rel=0.03)
    assert not list(tmp_path.glob(".*"))


def test_tiles_in_squares_are_squares(fitted, query, tmp_path):
    image, mpp = query.uns["spatial"]["slice3"]["images"]["hires"], query.uns["patches"]["slice3"]["mpp"]
    tiles = bs.pp.tile_slide(image, ref=fitted, mpp=mpp, layout="square", show_progress_bar=False)
    bs.tl.impute(tiles, ref=fitted)
    bs.tl.to_geojson(tiles, tmp_path / "a.geojson", genes="HAL")
    polygon = bs.slides.read_regions(tmp_path / "a.geojson")[0].polygon
    assert polygon.area == pytest.approx((100 / mpp) ** 2, rel=1e-3)
    assert len(polygon.exterior.coords) == 5


def test_spots_without_a_category_have_no_class(imputed, tmp_path):
    imputed.obs["region"] = pd.Categorical(["a", None] * (imputed.n_obs // 2))
    bs.tl.to_geojson(imputed, tmp_path / "a.geojson", genes="HAL", classes="region")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert [feature["properties"].get("classification") for feature in features[:2]] == [{"name": "a"}, None]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"genes": ["NONE"]}, KeyError, "genes='NONE' are not in adata.var_names"),
        ({"genes": ["HAL"], "layer": "x"}, KeyError, r"layers\['x'\] not found"),
        ({"genes": ["HAL"], "classes": "x"}, KeyError, r"obs\['x'\] not found"),
        ({"genes": ["HAL"], "library_id": "x"}, KeyError, "library_id='x' is not in adata"),
    ],
)
def test_bad_input_writes_nothing(imputed, tmp_path, kwargs, error, message):
    with pytest.raises(error, match=message):
        bs.tl.to_geojson(imputed, tmp_path / "a.geojson", **kwargs)
    assert not list(tmp_path.iterdir())


def test_genes_that_were_not_predicted_are_named(imputed, tmp_path):
    imputed.layers["bleep"][:, imputed.var_names.get_loc("HAL")] = np.nan
    with pytest.raises(ValueError, match="holds no prediction of 'HAL'"):
        bs.tl.to_geojson(imputed, tmp_path / "a.geojson", genes=["HAL", "CYP3A4"])


def test_one_of_several_slides_must_be_named(toy, tmp_path):
    toy.layers["bleep"] = toy.X.toarray()
    with pytest.raises(ValueError, match="adata has several slides"):
        bs.tl.to_geojson(toy, tmp_path / "a.geojson", genes="HAL")
    bs.tl.to_geojson(toy, tmp_path / "a.geojson", genes="HAL", library_id="slice2")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert len(features) == (toy.obs["library_id"] == "slice2").sum()


def test_what_is_no_json_is_not_written(imputed, tmp_path):
    def reject(text):
        raise AssertionError(text)

    bs.tl.to_geojson(imputed, tmp_path / "a.geojson", genes="HAL")
    json.loads((tmp_path / "a.geojson").read_text(), parse_constant=reject)
    before = (tmp_path / "a.geojson").read_bytes()
    for spoil in (
        lambda: imputed.obsm["spatial"].__setitem__((3, 0), np.nan),
        lambda: imputed.uns["spatial"]["slice3"]["scalefactors"].update(spot_diameter_fullres=np.nan),
    ):
        kept = imputed.copy()
        spoil()
        with pytest.raises(ValueError, match="NaN"):
            bs.tl.to_geojson(imputed, tmp_path / "a.geojson", genes="HAL")
        imputed.obsm["spatial"] = kept.obsm["spatial"]
        imputed.uns["spatial"] = kept.uns["spatial"]
    assert (tmp_path / "a.geojson").read_bytes() == before


def test_genes_of_one_name_are_refused(imputed, tmp_path):
    imputed.var_names = ["HAL", "HAL", *imputed.var_names[2:]]
    with pytest.raises(ValueError, match="var_names are not unique"):
        bs.tl.to_geojson(imputed, tmp_path / "a.geojson", genes="HAL")
