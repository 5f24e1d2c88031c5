"""The picture of a slide in its view: whole and in parts, and the outlines of cells."""

import base64
import io
import math

import numpy as np
import pytest
import shapely
from PIL import Image

from bleep_sc.pl import _viewer_picture
from bleep_sc.pl._viewer_outlines import STRAIGHT_UM, outlines
from bleep_sc.pl._viewer_picture import in_parts


def pixels_of(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


@pytest.fixture
def small(monkeypatch):
    """A picture of 300 × 200 px without fine detail, where the whole may have 100 px and a part 128."""
    monkeypatch.setattr(_viewer_picture, "WHOLE_PX", 100)
    monkeypatch.setattr(_viewer_picture, "PART_PX", 128)
    y, x = np.mgrid[:200, :300]
    return np.stack([x * 0.8, y * 1.2, 128 + 100 * np.sin(x / 30)], axis=-1).astype(np.uint8)


def test_parts_side_by_side_are_the_picture(small):
    picture = in_parts(small, (600.0, 400.0), 10**9, 0.5)
    assert pixels_of(picture.whole["url"][0]).shape == (67, 100, 3)
    assert {name: each[0] for name, each in picture.whole.items() if name != "url"} == {
        "x": 0,
        "y": 0,
        "w": 600,
        "h": 400,
    }
    together = np.zeros_like(small)
    for url, x, y, w, h in zip(*picture.parts.values(), strict=True):
        part = pixels_of(url)
        assert part.shape[:2] == (h / 2, w / 2)
        together[int(y / 2) : int((y + h) / 2), int(x / 2) : int((x + w) / 2)] = part
    assert np.abs(together.astype(float) - small).mean() < 3  # what JPEG leaves of it
    assert len(picture.parts["url"]) == 6
    assert (picture.per_px, picture.part_per_px, picture.scan_per_px) == (6.0, 2.0, 0.5)
    assert picture.says(in_um=True) == "The picture has 2 µm per px, the scan 0.5."
    assert picture.says(in_um=False) == "A px of the picture is 2 px of the scan."


def test_parts_are_as_fine_as_there_is_room(small):
    full = in_parts(small, (600.0, 400.0), 10**9)
    room = 0.7 * sum(map(len, full.parts["url"]))
    less = in_parts(small, (600.0, 400.0), room)
    assert 0.4 * room < sum(map(len, less.parts["url"])) <= room
    assert 2 < less.part_per_px < 6
    assert max(x + w for x, w in zip(less.parts["x"], less.parts["w"], strict=True)) == pytest.approx(600)
    none = in_parts(small, (600.0, 400.0), 10)
    assert none.parts == {}
    assert none.says(in_um=True) == "The picture has 6 µm per px."


def test_outlines_are_those_of_the_cells():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 4000, (50, 2))
    cells = shapely.buffer(shapely.points(points), rng.uniform(10, 30, 50), quad_segs=16)
    apart = shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10)])
    ringed = shapely.box(0, 0, 40, 40).difference(shapely.box(10, 10, 20, 20))
    drawn = outlines(np.array([*cells, apart, ringed], dtype=object), 0.25)
    for cell, xs, ys in zip(cells, drawn["xs"], drawn["ys"], strict=False):
        own = shapely.affinity.scale(cell, 0.25, 0.25, origin=(0, 0))
        off = shapely.hausdorff_distance(shapely.LinearRing(np.column_stack([xs, ys])), own.exterior)
        assert off < STRAIGHT_UM + 0.1
        assert len(xs) < len(cell.exterior.coords)
    assert sum(map(math.isnan, drawn["xs"][50])) == 1
    before = drawn["xs"][50].index(next(filter(math.isnan, drawn["xs"][50])))
    assert {*drawn["xs"][50][:before]} | {*drawn["xs"][50][before + 1 :]} == {0.0, 2.5, 5.0, 7.5}
    assert {*drawn["xs"][51]} == {0.0, 10.0}


def test_outlines_that_would_not_fit_are_not_drawn(monkeypatch):
    cells = shapely.buffer(shapely.points([(0, 0), (50, 0)]), 10)
    assert outlines(cells, 1.0) is not None
    monkeypatch.setattr("bleep_sc.pl._viewer_outlines.MOST_VERTICES", 10)
    assert outlines(cells, 1.0) is None
