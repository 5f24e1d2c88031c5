import json

import numpy as np
import pandas as pd
import pytest

from bleep_sc.slides import read_landmarks

SOURCE = np.array([[100.0, 200.0], [900.0, 250.0], [500.0, 800.0]])
TARGET = np.array([[10.0, 20.0], [90.0, 25.0], [50.0, 80.0]])


def text(path, content):
    path.write_text(content)
    return path


def as_table(path, places, names=("a", "b", "c")):
    pd.DataFrame({"name": names, "x": places[:, 0], "y": places[:, 1]}).to_csv(path, index=False)


def as_bare_table(path, places, names=None):
    pd.DataFrame(places, columns=["X", "Y"]).to_csv(path, sep=";")  # as Fiji and Excel do


def as_napari(path, places, names=None):
    pd.DataFrame({"axis-0": places[:, 1], "axis-1": places[:, 0]}).to_csv(path, index_label="index")


def as_qupath_table(path, places, names=("a", "b", "c")):
    rows = [f"{x}\t{y}\t\t{name}\t-65536\n" for (x, y), name in zip(places, names, strict=True)]
    path.write_text("x\ty\tclass\tname\tcolor\n" + "".join(rows))


def as_qupath_points(path, places, names=("a", "b", "c")):
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": list(place)},
            "properties": {"objectType": "annotation", "name": name},
        }
        for place, name in zip(places, names, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def as_qupath_classes(path, places, names=("a", "b", "c")):
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": list(place)},
            "properties": {"classification": {"name": name}},
        }
        for place, name in zip(places, names, strict=True)
    ]
    path.write_text(json.dumps(features))


def as_qupath_multipoint(path, places, names=None):
    geometry = {"type": "MultiPoint", "coordinates": places.tolist()}
    path.write_text(json.dumps({"type": "Feature", "geometry": geometry, "properties": {"name": "landmarks"}}))


LAYOUTS = {
    "table.csv": as_table,
    "bare.csv": as_bare_table,
    "napari.csv": as_napari,
    "qupath.tsv": as_qupath_table,
    "points.geojson": as_qupath_points,
    "classes.geojson": as_qupath_classes,
    "multipoint.json": as_qupath_multipoint,
}


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_points_of_every_program_are_read(first, second, tmp_path):
    LAYOUTS[first](tmp_path / f"1{first}", SOURCE)
    LAYOUTS[second](tmp_path / f"2{second}", TARGET)
    table = read_landmarks((tmp_path / f"1{first}", str(tmp_path / f"2{second}")))
    assert list(table.columns) == ["source_x", "source_y", "target_x", "target_y"]
    np.testing.assert_array_equal(table.to_numpy(), np.hstack([SOURCE, TARGET]))
    has_names = {LAYOUTS[first], LAYOUTS[second]} & {as_table, as_qupath_table, as_qupath_points, as_qupath_classes}
    assert table.index.tolist() == (["a", "b", "c"] if has_names else ["1", "2", "3"])


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_pairs_are_read_from_one_file(sep, tmp_path):
    pairs = pd.DataFrame(np.hstack([SOURCE, TARGET]), columns=["source_x", "source_y", "target_x", "target_y"])
    pairs.assign(note="n").to_csv(tmp_path / "pairs.csv", sep=sep, index=False)
    np.testing.assert_array_equal(read_landmarks(tmp_path / "pairs.csv"), pairs)
    np.testing.assert_array_equal(read_landmarks(pairs), pairs)
    pairs.assign(Name=["u", "v", "w"]).to_csv(tmp_path / "pairs.csv", sep=sep, index=False)
    assert read_landmarks(str(tmp_path / "pairs.csv")).index.tolist() == ["u", "v", "w"]


def test_names_decide_what_belongs_together(tmp_path):
    as_table(tmp_path / "one.csv", SOURCE, ["a", "b", "c"])
    as_table(tmp_path / "two.csv", TARGET[[2, 0, 1]], ["c", "a", "b"])
    table = read_landmarks((tmp_path / "one.csv", tmp_path / "two.csv"))
    np.testing.assert_array_equal(table.to_numpy(), np.hstack([SOURCE, TARGET]))


def test_landmarks_on_one_image_alone_are_left_out(tmp_path):
    as_table(tmp_path / "one.csv", SOURCE, ["a", "b", "c"])
    as_table(tmp_path / "two.csv", TARGET, ["a", "b", "x"])
    with pytest.warns(UserWarning, match=r"Landmarks 'c', 'x' are on one image alone"):
        table = read_landmarks((tmp_path / "one.csv", tmp_path / "two.csv"))
    assert table.index.tolist() == ["a", "b"]


def test_elements_of_spatialdata_and_arrays_are_read():
    import geopandas as gpd

    elements = [gpd.GeoDataFrame(geometry=gpd.points_from_xy(*each.T)).get_coordinates() for each in (SOURCE, TARGET)]
    np.testing.assert_array_equal(read_landmarks(elements), read_landmarks((SOURCE, TARGET.tolist())))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", r"has the columns 'a', 'b'; landmarks need x and y .*axis-0 and axis-1 \(napari\)"),
        ("index,axis-0,axis-1,axis-2\n0,1,2,3\n", "three dimensions"),
        ("x,y\n1,here\n", "coordinates that are no numbers"),
        ("x,y\n1,\n2,3\n", "1 landmarks have no x or y"),
    ],
)
def test_what_is_no_table_of_points_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_landmarks((text(tmp_path / "a.csv", content), SOURCE[:2]))


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ((SOURCE, TARGET[:2]), r"3 landmarks on the measured image and 2 on the new one"),
        ((SOURCE, TARGET, TARGET), r"has 3 parts, not 2; pass one table of pairs \(source_x"),
        ((SOURCE, np.ones((3, 3))), r"points of shape \(3, 3\)"),
        ((SOURCE[[0, 1, 0]], TARGET), r"Landmarks '1' and '3' lie in one place of the measured image, \(100, 200\)"),
        ((SOURCE, TARGET[[0, 1, 1]]), r"Landmarks '2' and '3' lie in one place of the new image"),
        (
            pd.DataFrame({"source_x": [1.0], "x": [2.0]}),
            r"no column 'source_y', 'target_x', 'target_y'.*pass two files",
        ),
        (
            pd.DataFrame(np.full((1, 4), np.nan), columns=["source_x", "source_y", "target_x", "target_y"]),
            "1 landmarks without a place",
        ),
    ],
)
def test_what_makes_no_pairs_is_refused(landmarks, message):
    with pytest.raises(ValueError, match=message):
        read_landmarks(landmarks)


def test_a_file_that_is_not_there_or_holds_outlines_is_refused(tmp_path):
    for absent in (tmp_path / "a.csv", tmp_path / "a.geojson"):
        with pytest.raises(FileNotFoundError, match="at"):
            read_landmarks((absent, SOURCE))
    with pytest.raises(FileNotFoundError, match="No landmarks"):
        read_landmarks(tmp_path / "pairs.csv")
    square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    outline = text(tmp_path / "outline.geojson", json.dumps({"type": "Feature", "geometry": square, "properties": {}}))
    with pytest.raises(ValueError, match="Landmarks are points, and there is a Polygon"):
        read_landmarks((outline, SOURCE))
