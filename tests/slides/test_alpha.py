"""What was not scanned reads white, whoever wrote the file and whoever reads it."""

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from spatialdata.models import Image2DModel

from bleep_sc.slides import open_slide
from bleep_sc.slides._alpha import is_opacity, over_white
from bleep_sc.slides._vips import has_vips, open_vips, open_vips_once

HEIGHT, WIDTH = 90, 120


@pytest.fixture
def rgba():
    """A scan, of which the left third is transparent black, and a seam half transparent."""
    pixels = np.random.default_rng(0).integers(60, 240, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:, :40] = 0
    pixels[:, 40:43, 3] = 128
    return pixels


@pytest.fixture
def expected(rgba):
    """The scan over white, by the definition."""
    opacity = rgba[..., 3:] / 255
    return np.floor(rgba[..., :3] * opacity + 255 * (1 - opacity) + 0.5).astype(np.uint8)


def read(source):
    with open_slide(source) as slide:
        whole = slide.read_region(0, 0, slide.width, slide.height)
        np.testing.assert_array_equal(slide.thumbnail(slide.width), whole)
        np.testing.assert_array_equal(slide.read_region(30, 5, 20, 9), whole[5:14, 30:50])
        return whole


def write_tiff(path, rgba, alpha="unassalpha", **kwargs):
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=[alpha], **kwargs)
    return path


def test_blending_is_exact_for_every_color_and_opacity():
    color, opacity = (axis.ravel() for axis in np.mgrid[0:256, 0:256].astype(np.uint8))
    pixels = np.stack([color, color, color, opacity], axis=-1)[None]
    share = opacity / 255.0
    blended = color * share + 255 * (1 - share)
    assert np.abs(over_white(pixels)[0, :, 0] - blended).max() <= 0.5 + 1e-9
    premultiplied = np.stack([np.round(color * share)] * 3 + [opacity], axis=-1).astype(np.uint8)[None]
    assert np.abs(over_white(premultiplied, premultiplied=True)[0, :, 0] - blended).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (32, 32)},
        {"tile": (32, 32), "compression": "lzw", "predictor": True},
        {"compression": "zlib", "rowsperstrip": 16},
    ],
)
def test_transparent_tiff_is_white(rgba, expected, options, tmp_path):
    np.testing.assert_array_equal(read(write_tiff(tmp_path / "a.tif", rgba, **options)), expected)
    planes = np.ascontiguousarray(np.moveaxis(rgba, -1, 0))
    write_tiff(tmp_path / "b.tif", planes, planarconfig="separate", **options)
    np.testing.assert_array_equal(read(tmp_path / "b.tif"), expected)


def test_associated_and_unspecified_alpha(rgba, expected, tmp_path):
    premultiplied = rgba.copy()
    premultiplied[..., :3] = np.round(rgba[..., :3] * (rgba[..., 3:] / 255))
    write_tiff(tmp_path / "a.tif", premultiplied, "assocalpha", tile=(32, 32), compression="zlib")
    assert np.abs(read(tmp_path / "a.tif").astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(read(write_tiff(tmp_path / "b.tif", rgba, "unspecified")), expected)
    marker = np.random.default_rng(1).integers(0, 200, (HEIGHT, WIDTH), dtype=np.uint8)
    write_tiff(tmp_path / "c.tif", np.dstack([rgba[..., :3], marker]), "unspecified", compression="zlib")
    with pytest.raises(ValueError, match=r"c\.tif' has four channels, of which the last is no opacity"):
        read(tmp_path / "c.tif")


@pytest.mark.skipif(not has_vips(), reason="pyvips is not installed")
def test_pyvips_reads_the_same(rgba, expected, tmp_path):
    Image.fromarray(rgba).save(tmp_path / "a.png")
    write_tiff(tmp_path / "a.tif", rgba, compression="zlib")
    for name in ("a.png", "a.tif"):
        for opened in (open_vips, open_vips_once):
            with opened(tmp_path / name, 0.5, "given") as slide:
                np.testing.assert_array_equal(slide.read_region(0, 0, WIDTH, HEIGHT), expected)


def test_transparent_png_is_white(rgba, expected, tmp_path):
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read(tmp_path / "rgba.png"), expected)
    palette = Image.fromarray(rgba[..., :3] // 64 * 64).quantize(32)
    unseen = palette.getpixel((0, 0))
    palette.save(tmp_path / "palette.png", transparency=unseen)
    shown = np.asarray(palette.convert("RGB")).copy()
    shown[np.asarray(palette) == unseen] = 255
    np.testing.assert_array_equal(read(tmp_path / "palette.png"), shown)
    Image.fromarray(rgba[..., :3]).save(tmp_path / "key.png", transparency=(0, 0, 0))
    keyed = rgba[..., :3].copy()
    keyed[(keyed == 0).all(axis=2)] = 255
    np.testing.assert_array_equal(read(tmp_path / "key.png"), keyed)


def test_grey_with_an_opacity_and_a_picture_of_nothing_are_refused(rgba, tmp_path):
    Image.fromarray(rgba).convert("LA").save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match=r"grey.png' has shape \(90, 120, 2\)"):
        open_slide(tmp_path / "grey.png")
    rgba[..., 3] = 0
    Image.fromarray(rgba).save(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match=r"nothing.png' is transparent everywhere. Save it as RGB"):
        read(tmp_path / "nothing.png")


def test_transparent_arrays_are_white(rgba, expected):
    first = np.ascontiguousarray(np.moveaxis(rgba, -1, 0))
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=rgba, chunks=(32, 32, 4))
    named = Image2DModel.parse(first, dims=("c", "y", "x"), c_coords=["r", "g", "b", "a"])
    scales = Image2DModel.parse(first, dims=("c", "y", "x"), scale_factors=[2])
    for source in (rgba, first, da.from_array(rgba, (32, 50, 4)), stored, named, scales):
        np.testing.assert_array_equal(read(source), expected)


def test_a_fourth_channel_that_is_no_opacity_is_refused_wherever_it_is(rgba):
    marker = rgba.copy()
    marker[..., 3] = np.random.default_rng(1).integers(0, 200, (HEIGHT, WIDTH))
    cmyk = np.asarray(Image.fromarray(rgba[..., :3]).convert("CMYK"))
    for pixels in (marker, cmyk):
        for source in (pixels, da.from_array(pixels, (32, 50, 4)), np.moveaxis(pixels, -1, 0)):
            with pytest.raises(ValueError, match="four channels, of which the last is no opacity"):
                read(source)
    assert not is_opacity(np.zeros((5, 5), dtype=np.uint8))
