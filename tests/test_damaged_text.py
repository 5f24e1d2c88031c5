"""Annotations and sheets that are damaged or odd, seeded: read right, warned of, or refused by our own words."""

import json
import resource
import time
import warnings

import click
import numpy as np
import shapely

from bleep_sc.cli._sheet import COLUMNS, read_sheet
from bleep_sc.slides import label_points, read_regions

MOST_SECONDS, MOST_BYTES = 30, 2**30
ODD = [
    "",
    "NA",
    "ü",
    "a|b",
    "$x$",
    "=1+1",
    '"',
    "'",
    "\n",
    "\0",
    "../x",
    "1e999",
    "NaN",
    "-1",
    "null",
    ";",
    "\t",
    "\ufeff",
]
N = 200
DEEP = "DEEP"


def square(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def annotations(rng):
    """What QuPath might write, with the areas that it means."""
    features = []
    for number in range(int(rng.integers(1, 6))):
        x, y = rng.integers(0, 5000, 2).tolist()
        rings = [square(x, y, 400), square(x + 50, y + 50, 100)][: int(rng.integers(1, 3))]
        kind, coordinates = ("Polygon", rings) if rng.random() < 0.7 else ("MultiPolygon", [rings])
        properties = {"objectType": "annotation", "classification": {"name": f"class {number}"}}
        geometry = {"type": kind, "coordinates": coordinates}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def places_in(content, path=()):
    """Give the place of every value of a document."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places_in(value, (*path, key))


def with_another_value(content, rng):
    """A document in which a value is another one, of another type, absent, or deep."""
    content = json.loads(json.dumps(content))
    places = list(places_in(content))
    *path, key = places[rng.integers(len(places))]
    parent = content
    for step in path:
        parent = parent[step]
    if rng.random() < 0.2:
        del parent[key]
    else:
        values = [
            None,
            True,
            -1,
            0.5,
            1e308,
            float("nan"),
            float("inf"),
            "text",
            [],
            {},
            [1],
            {"type": "Feature"},
            DEEP,
        ]
        parent[key] = values[rng.integers(len(values))]
    depth = int(rng.integers(1, 5000))
    return json.dumps(content).replace(f'"{DEEP}"', "[" * depth + "]" * depth).encode()


def with_other_bytes(content, rng):
    """A file that was cut, or in which bytes are others, twice there, or missing."""
    content = bytearray(content)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(content[: rng.integers(len(content))])
    at = int(rng.integers(len(content)))
    if kind == 1:
        content[at : at + 20] = rng.bytes(20)
    elif kind == 2:
        del content[at : at + int(rng.integers(1, 40))]
    elif kind == 3:
        content[at:at] = content[: int(rng.integers(1, len(content)))]
    else:
        content[at:at] = ODD[rng.integers(len(ODD))].encode()
    return bytes(content)


def tried(read, refusals):
    """What became of reading: "right" with what was read, "warned", or "refused"; in little time and memory."""
    started, held = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result, outcome = read(), "read"
        except refusals:
            result, outcome = None, "refused"
    assert time.monotonic() - started < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) * 1024 < MOST_BYTES
    assert all(each.category is UserWarning for each in said)
    return result, "warned" if said and result is not None else outcome


def test_annotations(tmp_path):
    rng, outcomes, path = np.random.default_rng(0), [], tmp_path / "a.geojson"
    for number in range(N):
        content = annotations(rng)
        whole = json.dumps(content).encode()
        damaged = with_another_value(content, rng) if number % 2 else with_other_bytes(whole, rng)
        path.write_bytes(damaged)

        def read():
            regions = read_regions(path)
            label_points(rng.uniform(0, 5000, (50, 2)), regions)
            return regions

        regions, outcome = tried(read, (ValueError, FileNotFoundError))
        for region in regions or ():
            assert region.polygon.is_valid
            assert 0 < region.polygon.area < 1e18
            assert isinstance(region.name, str)
            assert region.name
            assert shapely.get_num_coordinates(region.polygon) >= 4
        outcomes.append(outcome)
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    print(counts)  # noqa: T201 - with -s
    assert set(counts) >= {"read", "refused"}


def test_annotations_that_are_as_they_should_be():
    """The areas and names that were drawn come back, whatever else is in the file."""
    rng = np.random.default_rng(1)
    for _ in range(N):
        content = annotations(rng)
        expected = [
            160000
            - 10000 * (len(each["geometry"]["coordinates"][0]) == 2 and each["geometry"]["type"] != "Polygon")
            - 10000 * (len(each["geometry"]["coordinates"]) == 2 and each["geometry"]["type"] == "Polygon")
            for each in content["features"]
        ]
        assert [region.polygon.area for region in read_regions(content)] == expected
        assert [region.name for region in read_regions(content)] == [f"class {i}" for i in range(len(expected))]


def sheet(rng, slides):
    """A sheet as people have them, and what it says."""
    delimiter = ",;\t"[rng.integers(3)]
    columns = [*COLUMNS[:2], COLUMNS[3], "patient"]
    order = rng.permutation(len(columns))
    rows, said = [], []
    for number, slide in enumerate(slides):
        mpp = round(float(rng.uniform(0.1, 1)), 3)
        written = str(mpp).replace(".", ",") if delimiter == ";" else str(mpp)
        cells = [slide, written, f"n{number}", f"P{number}"]
        rows.append([cells[i] for i in order])
        said.append((slide, mpp, f"n{number}", {"patient": f"P{number}"}))
    header = [
        str(np.char.upper(columns[i])) if rng.random() < 0.3 and columns[i] != "patient" else columns[i] for i in order
    ]
    space = " " * int(rng.integers(2))
    lines = [delimiter.join(space + cell + space for cell in row) for row in [header, *rows]]
    if rng.random() < 0.3:
        lines.append(delimiter * (len(columns) - 1))
    text = ("\r\n", "\n")[rng.integers(2)].join(lines)
    return text.encode(("utf-8", "utf-8-sig", "utf-16")[rng.integers(3)]), said


def test_sheets(tmp_path):
    slides = ["a.svs", "b c.svs", "ü.tif"]
    for slide in slides:
        (tmp_path / slide).touch()
    rng, outcomes, path = np.random.default_rng(0), [], tmp_path / "sheet.csv"
    for _ in range(N):
        content, said = sheet(rng, slides)
        path.write_bytes(content)
        rows = read_sheet(path)
        assert [(row.slide.name, row.mpp, row.name, dict(row.notes)) for row in rows] == said
        path.write_bytes(with_other_bytes(content, rng))
        rows, outcome = tried(lambda: read_sheet(path), click.UsageError)
        for row in rows or ():
            assert row.slide.is_file()
            assert (tmp_path / "out" / f"{row.name}.zarr").resolve().parent == tmp_path / "out"
            assert row.mpp is None or 0 < row.mpp < np.inf
        outcomes.append(outcome)
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    print(counts)  # noqa: T201 - with -s
    assert set(counts) >= {"read", "refused"}
