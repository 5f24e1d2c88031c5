import json

import numpy as np
import pytest
from shapely.geometry import Point

from bleep_sc.slides import label_points, read_regions, transform_points


def square(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(coordinates, kind="Polygon", **properties):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", **properties},
    }


TUMOUR = feature([square(0, 0, 100)], classification={"name": "Tumor", "color": [200, 0, 0]}, name="first")
HOLED = feature([square(200, 0, 100), square(220, 20, 20)], name="with a hole")
TWO = feature(
    [[square(0, 200, 10)], [square(50, 200, 10)]], "MultiPolygon", classification={"names": ["Immune", "CD8"]}
)


def test_every_wrapping_of_qupath_is_read(tmp_path):
    wrapped = ({"type": "FeatureCollection", "features": [TUMOUR, HOLED, TWO]}, [TUMOUR, HOLED, TWO])
    for content in wrapped:
        (tmp_path / "a.geojson").write_text(json.dumps(content))
        for source in (content, tmp_path / "a.geojson", str(tmp_path / "a.geojson")):
            regions = read_regions(source)
            assert [region.name for region in regions] == ["Tumor", "with a hole", "Immune: CD8"]
            assert [region.polygon.area for region in regions] == [10000, 9600, 200]
    assert read_regions(TUMOUR)[0].name == "Tumor"
    assert read_regions(HOLED["geometry"])[0].name == "annotation 1"
    mixed = {"type": "GeometryCollection", "geometries": [TUMOUR["geometry"], {"type": "Point", "coordinates": [1, 1]}]}
    assert read_regions(mixed)[0].polygon.area == 10000
    nested = {"type": "GeometryCollection", "geometries": [mixed, HOLED["geometry"]]}
    assert read_regions(nested)[0].polygon.area == 19600


def test_a_hierarchy_of_qupath_is_read_from_its_root_down():
    parent = feature([square(0, 0, 100)], name="parent", childObjects=[HOLED, feature([square(5, 5, 5)], name="child")])
    root = {"type": "Feature", "geometry": None, "properties": {"objectType": "root", "childObjects": [parent]}}
    assert [region.name for region in read_regions(root)] == ["parent", "with a hole", "child"]


def test_what_has_no_inside_is_left_out_and_crossings_are_mended(caplog):
    caplog.set_level("INFO", logger="bleep_sc")
    bow = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    regions = read_regions([feature([1, 2], "Point"), feature([bow]), feature([[0, 0], [1, 1]], "LineString")])
    assert [region.name for region in regions] == ["annotation 2"]
    assert regions[0].polygon.area == pytest.approx(50)
    assert "2 points, lines or empty outlines" in caplog.text
    assert "1 outlines crossed themselves" in caplog.text


def test_points_are_labelled_as_a_slow_loop_does():
    inner = feature([square(30, 30, 20)], name="inner")
    regions = read_regions([inner, TUMOUR, HOLED, TWO])
    points = np.random.default_rng(0).uniform(-10, 310, (500, 2)).round()
    labels = label_points(points, regions)
    for point, label in zip(points, labels, strict=True):
        inside = [region for region in regions if region.polygon.covers(Point(point))]
        assert label == (min(inside, key=lambda region: region.polygon.area).name if inside else "")
    assert set(labels) == {"", "inner", "Tumor", "with a hole", "Immune: CD8"}
    assert label_points([[0, 50], [230, 30], [220, 30]], regions).tolist() == ["Tumor", "", "with a hole"]


def test_bad_annotations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No annotations at .*gone\.geojson.*Export objects as GeoJSON"):
        read_regions(tmp_path / "gone.geojson")
    (tmp_path / "a.geojson").write_text("x,y\n1,2")
    with pytest.raises(ValueError, match="is no GeoJSON"):
        read_regions(tmp_path / "a.geojson")
    with pytest.raises(ValueError, match="This is no GeoJSON"):
        read_regions({"annotations": []})
    with pytest.raises(ValueError, match="There is no polygon among the annotations"):
        read_regions([feature([1, 2], "Point")])
    with pytest.raises(ValueError, match="a geometry that cannot be read"):
        read_regions(feature([[[0, 0], [1]]]))
    with pytest.raises(ValueError, match=r"cannot be read \(coordinates are NaN"), np.errstate(invalid="ignore"):
        read_regions(feature([[[0, 0], [np.nan, 5], [5, 5], [0, 0]]]))


def test_affine_maps():
    points = np.array([[1.0, 2.0], [3.0, 4.0]])
    matrix = np.array([[0, -1, 10], [2, 0, 5]])
    np.testing.assert_array_equal(transform_points(points, matrix), [[8, 7], [6, 11]])
    np.testing.assert_array_equal(transform_points(points, np.vstack([matrix, [0, 0, 1]])), [[8, 7], [6, 11]])
    for wrong, message in (
        (np.eye(2), r"has shape \(2, 2\)"),
        (np.ones((2, 3)), "singular"),
        (np.full((2, 3), np.nan), "finite"),
        (np.ones((3, 3)), "last row"),
    ):
        with pytest.raises(ValueError, match=message):
            transform_points(points, wrong)
