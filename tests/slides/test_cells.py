import json

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

import bleep_sc as bs
from bleep_sc.slides import read_cells


def ring(x, y, side=10):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(coordinates, kind="Polygon", **rest):
    properties = {"objectType": "detection", **rest.pop("properties", {})}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties, **rest}


CELL = feature([ring(0, 0)], id="a", properties={"objectType": "cell"}, nucleusGeometry={"type": "Polygon"})
HOLED = feature([ring(100, 0, 40), ring(110, 10)], id="b", properties={"classification": {"name": "Tumor"}})
TWO = feature([[ring(0, 200)], [ring(30, 200)]], "MultiPolygon", id="c")
CELLS = [CELL, HOLED, TWO]


def check(cells):
    assert cells.ids.tolist() == ["a", "b", "c"]
    assert cells.classes.tolist() == ["", "Tumor", ""]
    assert shapely.area(cells.polygons).tolist() == [100, 1500, 200]
    assert cells.polygons[1].equals_exact(shapely.geometry.shape(HOLED["geometry"]))
    np.testing.assert_allclose(cells.centers, [shapely.geometry.shape(f["geometry"]).centroid.coords[0] for f in CELLS])


def test_every_wrapping_is_read(tmp_path):
    collection = {"type": "FeatureCollection", "features": CELLS}
    annotation = feature([ring(0, 0, 500)], id="d", properties={"objectType": "annotation", "childObjects": CELLS})
    for content in (collection, CELLS, annotation, [annotation]):
        (tmp_path / "cells.geojson").write_text(json.dumps(content))
        for source in (content, tmp_path / "cells.geojson", str(tmp_path / "cells.geojson")):
            check(read_cells(source))


def test_polygons_are_those_of_a_slow_loop():
    rng = np.random.default_rng(0)
    features = []
    for i in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 20)))
        outline = 300 + 100 * rng.random(2) + 20 * np.column_stack([np.cos(angles), np.sin(angles)])
        rings = [[*outline.tolist(), outline[0].tolist()]]
        kind = "MultiPolygon" if i % 7 == 0 else "Polygon"
        features.append(feature([rings, [ring(i, i)]] if i % 7 == 0 else rings, kind, id=f"n{i}"))
    expected = [shapely.geometry.shape(each["geometry"]) for each in features]
    assert shapely.equals_exact(read_cells(features).polygons, expected).all()


@pytest.mark.parametrize("ids", [[None] * 3, ["PathDetectionObject"] * 3, ["a", None, "c"], ["a", "b", "a"]])
def test_cells_without_ids_of_their_own_are_numbered(ids):
    features = [{**each, "id": name} for each, name in zip(CELLS, ids, strict=True)]
    assert read_cells(features).ids.tolist() == [1, 2, 3]


def test_cells_of_instanseg_have_another_spelling_and_no_ids():
    said = {"object_type": "detection", "measurements": [{"name": "Label", "value": 3}]}
    cells = [{"type": "Feature", "geometry": each["geometry"], "properties": said} for each in CELLS]
    outline = {"type": "Feature", "geometry": HOLED["geometry"], "properties": {"object_type": "annotation"}}
    assert read_cells([outline, *cells]).ids.tolist() == [1, 2, 3]
    assert len(read_cells([outline])) == 1  # where nothing is called a cell, all polygons are


def test_a_geodataframe_keeps_its_index():
    polygons = [shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10)]
    cells = read_cells(geopandas.GeoDataFrame({"geometry": polygons}, index=[7, 9]))
    assert cells.ids.tolist() == [7, 9]
    assert cells.centers.tolist() == [[5, 5], [25, 5]]


def test_what_has_no_area_is_left_out(caplog):
    caplog.set_level("INFO", logger="bleep_sc")
    degenerate = [feature([[[0, 0], [1, 1]]], id="x"), feature([], id="y"), feature([], "MultiPolygon", id="z")]
    assert read_cells([*degenerate, CELL, feature([1, 2], "Point", id="p")]).ids.tolist() == ["a"]
    assert "3 cells are empty" in caplog.text


def test_third_coordinates_are_no_hindrance():
    cells = read_cells(feature([[[*point, 5.0] for point in ring(0, 0)]], id="a"))
    assert cells.centers.tolist() == [[5, 5]]


def test_a_class_whose_parts_are_cells_is_noticed():
    content = feature([[ring(20 * i, 0)] for i in range(12)], "MultiPolygon")
    with pytest.warns(UserWarning, match="1 cells have up to 12 parts"):
        read_cells(content)
    frame = geopandas.GeoDataFrame.from_features([content]).explode(ignore_index=True)
    assert len(read_cells(frame)) == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "There is no polygon among the cells"),
        ([feature([1, 2], "Point")], "There is no polygon among the cells"),
        ([feature([ring(0, 0)]), feature([[["x", 0]] * 4])], "The geometry of a cell cannot be read"),
        ([feature([[[np.nan, 0], [1, 0], [1, 1], [0, 0]]])], "NaN, infinite"),
        ({"a": 1}, "This is no GeoJSON"),
        ({"type": "FeatureCollection", "crs": "CRS84", "features": [CELL]}, "The cells are in degrees"),
    ],
)
def test_what_are_no_cells_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        read_cells(content)


def test_cells_of_one_name_are_refused():
    frame = geopandas.GeoDataFrame({"geometry": [shapely.box(0, 0, 1, 1)] * 2}, index=[3, 3])
    with pytest.raises(ValueError, match=r"Several cells are called .?3"):
        read_cells(frame)
    with pytest.raises(FileNotFoundError, match="No annotations at"):
        bs.slides.read_cells("nowhere.geojson")


@pytest.mark.parametrize("points", [np.zeros((3, 2)), pd.DataFrame({"x": [1.0], "y": [2.0]})], ids=["array", "table"])
def test_points_are_no_cells_and_the_way_for_them_is_named(points):
    with pytest.raises(TypeError, match=r"cells= is an? \w+ without outlines\. .*tile_slide\(image, centers="):
        bs.slides.read_cells(points)
