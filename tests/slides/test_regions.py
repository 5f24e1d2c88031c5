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
    with pytest.raises(ValueError, match=r"cannot be read \(coordinates are NaN"):
        read_regions(feature([[[0, 0], [np.nan, 5], [5, 5], [0, 0]]]))


@pytest.mark.parametrize(
    ("hole", "area", "warns"),
    [
        (square(10, 10, 20), 9600, False),
        (square(200, 0, 20), 10000, True),
        (square(90, 90, 20), 9900, True),
    ],
)
def test_holes_cut_what_lies_inside(hole, area, warns):
    """Also where they lie outside, or are drawn twice."""
    import warnings

    for holes in ([hole], [hole, hole]):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            (region,) = read_regions(feature([square(0, 0, 100), *holes]))
        assert region.polygon.area == pytest.approx(area)
        message = f"{len(holes)} holes lie outside their outlines"
        assert [str(each.message).startswith(message) for each in said] == [True] * warns


def test_parts_that_overlap_are_one_area():
    (region,) = read_regions(feature([[square(0, 0, 100)], [square(50, 50, 100)]], "MultiPolygon"))
    assert region.polygon.area == 17500
    assert label_points([[75, 75]], [region]).tolist() == ["annotation 1"]


def test_degrees_are_not_taken_for_px_without_a_word():
    amsterdam = [[[4.895168, 52.370216], [4.896, 52.370216], [4.896, 52.371], [4.895168, 52.370216]]]
    with pytest.warns(UserWarning, match="All annotations lie within 180 × 90 and have more than three decimals"):
        read_regions(feature(amsterdam))
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    with pytest.raises(ValueError, match=r"The annotations are in degrees \(crs: .*CRS84.*\)\. Export them in px"):
        read_regions({"type": "FeatureCollection", "crs": crs, "features": [feature(amsterdam)]})
    large = {"type": "FeatureCollection", "crs": crs, "features": [feature([square(0, 0, 5000)])]}
    assert read_regions(large)[0].polygon.area == 25e6  # what writes px says so, too


def test_a_file_may_be_wrapped_as_deep_as_it_likes(tmp_path):
    wrapped = [TUMOUR]
    nested = dict(TUMOUR)
    for _ in range(3000):
        wrapped = {"type": "FeatureCollection", "features": [wrapped]}
        nested = feature([square(0, 0, 100)], childObjects=[nested])
    assert len(read_regions(wrapped)) == 1
    assert len(read_regions(nested)) == 3001
    (tmp_path / "a.geojson").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is no GeoJSON"):
        read_regions(tmp_path / "a.geojson")
    geometry = TUMOUR["geometry"]
    for _ in range(3000):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    with pytest.raises(ValueError, match="a geometry that cannot be read"):
        read_regions(geometry)


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        (None, "annotation 1"),
        ([1, 2], "annotation 1"),
        ("text", "annotation 1"),
        ({"classification": "Tumor"}, "Tumor"),
        ({"classification": {"names": "Tumor"}}, "Tumor"),
        ({"classification": {"names": [1, "b"]}}, "1: b"),
        ({"classification": {"name": None, "names": []}, "name": "own"}, "own"),
        ({"classification": 7.5, "name": {"a": 1}}, "annotation 1"),
        ({"name": 7, "measurements": {"area": float("nan")}}, "7"),
        ({"name": float("nan"), "childObjects": None}, "annotation 1"),
    ],
)
def test_whatever_properties_hold(properties, name):
    (region,) = read_regions({**TUMOUR, "properties": properties})
    assert region.name == name


@pytest.mark.parametrize("far", [np.nan, np.inf, 1e308, 1e10])
def test_places_that_are_none_are_refused(far):
    with pytest.raises(ValueError, match=r"cannot be read \(coordinates are NaN, infinite or beyond 1,000,000,000 px"):
        read_regions(feature([[[0, 0], [far, 5], [5, 5], [0, 0]]]))


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
