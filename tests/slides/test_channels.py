import numpy as np
import pytest
import tifffile
from spatialdata.models import Image2DModel

from bleep_sc.slides import open_slide
from bleep_sc.slides._channels import color_order


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 30, 40), dtype=np.uint8)


def read(source):
    with open_slide(source) as slide:
        return np.moveaxis(slide.read_region(0, 0, slide.width, slide.height), -1, 0)


@pytest.mark.parametrize(
    "names", [[0, 1, 2], ["0", "1", "2"], ["Channel:0:0", "Channel:0:1", "Channel:0:2"], ["c0", "c1", "c2"], [None] * 3]
)
def test_channels_without_a_name_are_in_order(names):
    assert color_order(names, "a") is None


def test_colors_are_put_in_order():
    assert color_order(["r", "g", "b"], "a") == (0, 1, 2)
    assert color_order(["B", "G", "R"], "a") == (2, 1, 0)
    assert color_order(["alpha", "Blue", "Green", "Red"], "a") == (3, 2, 1, 0)


@pytest.mark.parametrize("names", [["DAPI", "CD45", "PanCK"], ["r", "g", "DAPI"], ["r", "g", "g"], ["H", "E", "DAB"]])
def test_markers_are_no_colors(names, pixels, tmp_path):
    image = Image2DModel.parse(
        pixels,
        dims=("c", "y", "x"),
        c_coords=[f"{name}{i}" if names[i] in names[:i] else name for i, name in enumerate(names)],
    )
    with pytest.raises(ValueError, match=r"Image 'array' has the channels .*; an H&E image has red, green and blue"):
        open_slide(image)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": names}}
    )
    with pytest.raises(ValueError, match=rf"a\.ome\.tif' has the channels '{names[0]}'"):
        open_slide(tmp_path / "a.ome.tif")
    tifffile.imwrite(tmp_path / "b.tif", pixels, imagej=True, metadata={"axes": "CYX", "Labels": names})
    with pytest.raises(ValueError, match=rf"b\.tif' has the channels '{names[0]}'"):
        open_slide(tmp_path / "b.tif")


def test_colors_that_are_named_are_read_in_order(pixels, tmp_path):
    reversed_ = np.ascontiguousarray(pixels[::-1])
    names = ["b", "g", "r"]
    flat = Image2DModel.parse(reversed_, dims=("c", "y", "x"), c_coords=names)
    scales = Image2DModel.parse(reversed_, dims=("c", "y", "x"), c_coords=names, scale_factors=[2])
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        reversed_,
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": names}},
    )
    tifffile.imwrite(tmp_path / "b.tif", reversed_, imagej=True, metadata={"axes": "CYX", "Labels": names})
    for source in (flat, scales, tmp_path / "a.ome.tif", tmp_path / "b.tif"):
        np.testing.assert_array_equal(read(source), pixels)


def test_five_channels_are_named_not_cut(pixels, tmp_path):
    five = np.concatenate([pixels, pixels[:2]])
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        five,
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": list("rgbde")}},
    )
    with pytest.raises(ValueError, match="has the channels 'r', 'g', 'b', 'd', 'e'"):
        open_slide(tmp_path / "a.ome.tif")
    with pytest.raises(ValueError, match="has shape"):
        open_slide(np.moveaxis(five, 0, -1))
