import numpy as np
import pytest
import tifffile

from bleep_sc.slides import open_slide
from bleep_sc.slides._resolution import from_dpi


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.49, 0.51), (0.05, 0.05), (20.0, 20.0)])
def test_the_resolution_is_the_mean_of_both_directions(x, y):
    mpp, source = from_dpi((25400 / x, 25400 / y))
    assert mpp == pytest.approx((x + y) / 2)
    assert source == "dots per inch of the file"


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (0.049, 0.05, "no microscope's"),
        (20.0, 20.1, "no microscope's"),
        (0.5, 0.53, "not square"),
        (0.53, 0.5, "not square"),
    ],
)
def test_what_no_slide_can_have_is_not_taken(x, y, reason):
    mpp, source = from_dpi((25400 / x, 25400 / y))
    assert np.isnan(mpp)
    assert reason in source


@pytest.mark.parametrize("dpi", [None, (0, 300), ("a", 300), (300,)])
def test_no_statement_is_no_resolution(dpi):
    mpp, source = from_dpi(dpi)
    assert np.isnan(mpp)
    assert source == "the file does not say"


@pytest.mark.parametrize(
    ("unit", "um"),
    [("um", 1), ("\\u00B5m", 1), ("micron", 1), ("nm", 1e-3), ("mm", 1e3), ("cm", 1e4), ("inch", 25400)],
)
def test_imagej_notes_the_unit_of_the_resolution_tags_elsewhere(unit, um, tmp_path):
    pixels = np.zeros((8, 9, 3), dtype=np.uint8)
    per_unit = um / 0.5
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, resolution=(per_unit, per_unit), metadata={"unit": unit})
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-4)
        assert slide.mpp_source.startswith("resolution tags, in ")


@pytest.mark.parametrize("unit", ["pixel", "furlong", None])
def test_units_that_are_no_length_are_no_resolution(unit, tmp_path):
    metadata = {} if unit is None else {"unit": unit}
    pixels = np.zeros((8, 9, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, resolution=(2, 2), metadata=metadata)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.isnan(slide.mpp)


@pytest.mark.parametrize(("unit", "size"), [("µm", 0.5), ("nm", 500), ("mm", 5e-4), ("cm", 5e-5), ("Å", 5000)])
def test_units_of_ome(unit, size, tmp_path):
    metadata = {"axes": "YXS"}
    for axis in "XY":
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb", metadata=metadata)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.mpp, slide.mpp_source) == (pytest.approx(0.5), "OME-XML")
