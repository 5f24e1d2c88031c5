import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from bleep_sc.slides import as_rgb, open_slide


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


def test_alpha_is_dropped_and_a_palette_is_resolved(pixels, tmp_path):
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
    with pytest.raises(ValueError, match="four channels, of which the last is no opacity"):
        read_image(tmp_path / "cmyk.jpg")
    with pytest.raises(ValueError, match="holds float64"):
        as_rgb(pixels / 255)


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


def test_a_png_of_16_bits_is_refused_and_transparency_is_dropped(tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 9, 3), dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    with pytest.raises(ValueError, match="16-bit instead of 8-bit"):
        read_image(tmp_path / "deep.png")
    clear = np.random.default_rng(0).integers(0, 256, (8, 9, 4), dtype=np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png"), clear[..., :3])
