import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from bleep_sc.slides import open_slide
from bleep_sc.slides._rgb import check_is_rgb


def read_image(path):
    with open_slide(path) as slide:
        return slide.read_region(0, 0, slide.width, slide.height)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_lossless_files_are_read_exactly(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "strips.tif", pixels, compression="lzw", rowsperstrip=1, photometric="rgb")
    tifffile.imwrite(tmp_path / "big.TIFF", pixels, bigtiff=True, tile=(16, 16), photometric="rgb")
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(pixels, -1, 0), planarconfig="separate", photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif") as file:
        file.write(pixels, subifds=1, photometric="rgb")
        file.write(pixels[::2, ::2], photometric="rgb")
    for name in ("a.png", "strips.tif", "big.TIFF", "planar.tif", "pyramid.ome.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), pixels, err_msg=name)


def test_an_opaque_alpha_changes_nothing_and_a_palette_is_resolved(pixels, tmp_path):
    opaque = np.dstack([pixels, np.full((30, 40), 255, dtype=np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), pixels)
    Image.fromarray(pixels // 64 * 64).quantize(64).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (30, 40, 3)


def test_jpeg_is_rgb_and_not_bgr(tmp_path):
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.jpg", quality=95)
    assert read_image(tmp_path / "red.jpg")[8, 8, 0] > 240
    assert read_image(tmp_path / "red.jpg")[8, 8, 2] < 20


def test_what_is_wrong_with_a_file_is_said(pixels, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No image file at .*gone\.png"):
        read_image(tmp_path / "gone.png")
    for name in ("cut.png", "cut.jpg", "cut.tif"):
        Image.fromarray(np.tile(pixels, (8, 8, 1))).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match="truncated or broken"):
            read_image(tmp_path / name)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png' is no JPEG, PNG or TIFF"):
        read_image(tmp_path / "text.png")


def test_what_is_no_8_bit_rgb_is_refused(pixels, tmp_path):
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "deep.tif", pixels.astype(np.uint16) * 256, photometric="rgb")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    with pytest.raises(ValueError, match=r"grey.png' has shape \(30, 40\).*Convert it to RGB"):
        read_image(tmp_path / "grey.png")
    with pytest.raises(ValueError, match=r"holds uint16 instead of 8-bit values .*Rescale it to 8 bit"):
        read_image(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="is CMYK"):
        read_image(tmp_path / "cmyk.jpg")
    with pytest.raises(ValueError, match="holds float64"):
        check_is_rgb(pixels.shape, (pixels / 255).dtype, "array")


def test_large_images_are_read_and_the_guard_of_pillow_is_put_back(pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_previews_are_small_and_know_their_scale(tmp_path):
    Image.new("RGB", (400, 200), "purple").save(tmp_path / "slide.jpg")
    with open_slide(tmp_path / "slide.jpg") as slide:
        assert slide.thumbnail(100).shape == (50, 100, 3)
        assert slide.thumbnail(1000).shape == (200, 400, 3)


def test_a_png_of_16_bits_is_refused(tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 9, 3), dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    with pytest.raises(ValueError, match="16-bit instead of 8-bit"):
        read_image(tmp_path / "deep.png")


def tiff(path, pixels, **kwargs):
    tifffile.imwrite(path, pixels, photometric="rgb", **kwargs)
    with open_slide(path) as slide:
        return slide


def test_micrometres_come_from_what_the_file_says(pixels, tmp_path, caplog):
    inch = {"resolution": (25400 / 0.25, 25400 / 0.25), "resolutionunit": "INCH"}
    assert tiff(tmp_path / "a.tif", pixels, **inch).mpp == pytest.approx(0.25)
    screen = tiff(tmp_path / "b.tif", pixels, resolution=(72, 72), resolutionunit="INCH")
    assert np.isnan(screen.mpp)
    assert "no microscope's" in screen.mpp_source
    assert np.isnan(tiff(tmp_path / "c.tif", pixels).mpp)
    oblong = tiff(tmp_path / "d.tif", pixels, resolution=(20000, 10000), resolutionunit="CENTIMETER")
    assert "not square" in oblong.mpp_source
    aperio = tiff(tmp_path / "e.svs", pixels, description="Aperio|AppMag = 20|MPP = 0.4990", metadata=None)
    assert (aperio.mpp, aperio.mpp_source) == (pytest.approx(0.499), "the scanner's description")
    metadata = {"axes": "YXS", "PhysicalSizeX": 300, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.3}
    with caplog.at_level("WARNING", logger="bleep_sc"):
        ome = tiff(tmp_path / "f.ome.tif", pixels, metadata=metadata, **inch)
    assert (ome.mpp, ome.mpp_source) == (pytest.approx(0.3), "OME-XML")
    assert "contradicts itself: 0.3 µm per px (OME-XML), and 0.25 (resolution tags)" in caplog.text


def test_pages_of_the_same_size_are_ambiguous_and_the_largest_of_several_is_the_slide(pixels, tmp_path):
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([pixels] * 3), photometric="rgb")
    with pytest.raises(ValueError, match="has 3 pages of the same size"):
        open_slide(tmp_path / "pages.tif")
    with tifffile.TiffWriter(tmp_path / "label.tif") as file:
        file.write(pixels[:10, :10], photometric="rgb")
        file.write(pixels, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "label.tif"), pixels)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "deflate"}])
def test_axes_of_length_one_are_none(options, pixels, tmp_path):
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    for stored, planarconfig in ((pixels[None], "contig"), (pixels[None, None], "contig"), (planes[None], "separate")):
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planarconfig, **options)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    opaque = np.dstack([pixels, np.full((30, 40), 255, dtype=np.uint8)])[None]
    tifffile.imwrite(tmp_path / "a.tif", opaque, photometric="rgb", extrasamples=["unassalpha"], **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    tifffile.imwrite(tmp_path / "a.tif", pixels[None, ..., 0])
    with pytest.raises(ValueError, match="no red, green and blue"):
        open_slide(tmp_path / "a.tif")


def test_a_width_that_no_bytes_can_fill_is_refused_before_it_fills_the_memory(pixels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="deflate", rowsperstrip=16)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags["ImageWidth"].overwrite(2**24)
    with pytest.raises(ValueError, match=r"cannot hold \d+ px of a strip or tile"):
        open_slide(tmp_path / "a.tif")


def test_lzw_of_any_other_length_is_refused(pixels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="lzw", rowsperstrip=10)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        longer = imagecodecs.lzw_encode(np.concatenate([pixels[10:20], pixels[:1]]).tobytes())
        file.filehandle.seek(0, 2)
        end = file.filehandle.tell()
        file.filehandle.write(longer)
        for name, value in (("StripOffsets", end), ("StripByteCounts", len(longer))):
            tag = file.pages[0].tags[name]
            tag.overwrite([tag.value[0], value, tag.value[2]])
    with pytest.raises(ValueError, match=r"at x = 0, y = 10: 1320 instead of 1200 bytes are in it"):
        read_image(tmp_path / "a.tif")


def test_damage_of_a_png_that_decodes_is_refused(tmp_path):
    Image.new("RGB", (300, 300), "purple").save(tmp_path / "a.png")
    whole = bytearray((tmp_path / "a.png").read_bytes())
    place = whole.find(b"IDAT") + 60
    whole[place] ^= 1
    (tmp_path / "a.png").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.png' .*checksum of the chunk b'IDAT' is wrong"):
        read_image(tmp_path / "a.png")


def test_what_no_rgb_slide_is_is_said(pixels, tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", pixels[..., 0])
    with pytest.raises(ValueError, match=r"grey.tif' has shape \(30, 40\)"):
        open_slide(tmp_path / "grey.tif")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.tif")
    with pytest.raises(ValueError, match="is CMYK"):
        open_slide(tmp_path / "cmyk.tif")
    with pytest.raises(ValueError, match=r"is a folder\. Of a SpatialData store pass the image itself"):
        open_slide(tmp_path)
    (tmp_path / "a.ndpi").write_bytes(b"no slide")
    with pytest.raises((ImportError, ValueError), match="OpenSlide"):
        open_slide(tmp_path / "a.ndpi")


def test_a_broken_strip_is_named_when_it_is_read(pixels, tmp_path):
    smooth = np.repeat(np.repeat(pixels, 20, axis=0), 20, axis=1)
    tifffile.imwrite(tmp_path / "a.tif", smooth, photometric="rgb", compression="zlib", tile=(64, 64))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start, length = file.pages[0].dataoffsets[20], file.pages[0].databytecounts[20]
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    whole[start : start + length] = b"\x55" * length
    (tmp_path / "a.tif").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.tif' cannot be read as TIFF: it is truncated or broken"):
        read_image(tmp_path / "a.tif")


def test_what_does_not_fit_into_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 1000}[name])
    monkeypatch.setattr("bleep_sc.slides._picture.LARGE", 1000)
    monkeypatch.setattr("bleep_sc.slides._picture.has_vips", lambda: False)
    Image.new("RGB", (2000, 2000)).save(tmp_path / "bomb.png")
    with open_slide(tmp_path / "bomb.png") as slide, pytest.raises(ValueError, match="can only be decoded whole"):
        slide.read_region(0, 0, 1, 1)
