import io
import logging

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from bleep_sc.slides import open_slide
from bleep_sc.slides._jpeg import block_size, color_space, complaint
from bleep_sc.slides._vips import has_vips, open_vips, open_vips_once

OPTIONS = [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"restart_marker_rows": 1}]


@pytest.fixture(scope="module")
def pixels():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(320, 400, 3)), (4, 4, 0))
    return np.clip(170 + 500 * smooth, 0, 255).astype(np.uint8)


def encoded(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", OPTIONS)
def test_a_sound_jpeg_draws_no_complaint_and_damaged_ones_do(options, pixels):
    jpeg = encoded(pixels, **options)
    assert complaint(jpeg) is None
    middle = len(jpeg) // 2
    for damaged in (
        jpeg[:middle] + jpeg[middle + 1000 :],
        jpeg[: middle + 500] + jpeg[-2:],
        jpeg[:middle] + bytes(700) + jpeg[middle + 700 :],
    ):
        assert complaint(damaged).startswith("Corrupt JPEG data")


def test_grey_is_read_too(pixels):
    grey = encoded(pixels[..., 0])
    assert complaint(grey) is None
    assert complaint(grey[:2000] + grey[2300:]) is not None


def test_blocks_and_colors(pixels):
    assert [block_size(encoded(pixels, **each)) for each in OPTIONS[:3]] == [(16, 16), (8, 8), (8, 16)]
    assert color_space(encoded(pixels)) == "YCbCr"
    assert color_space(encoded(pixels).replace(b"JFIF", b"FIJF", 1)) is None


def test_what_is_heard_stays_in_its_thread_and_other_messages_pass(pixels, caplog):
    logger = logging.getLogger("imagecodecs")
    with caplog.at_level("WARNING"):
        assert complaint(encoded(pixels)[:-300]) is not None
        assert not caplog.records
        logger.warning("of somebody else")
    assert caplog.text.count("of somebody else") == 1


def test_a_jpeg_that_misses_its_middle_is_refused_for_pixels_and_thumbnail(pixels, tmp_path):
    jpeg = encoded(pixels)
    (tmp_path / "a.jpg").write_bytes(jpeg[: len(jpeg) // 3] + jpeg[len(jpeg) // 2 :])
    for ask in (lambda slide: slide.read_region(0, 0, 9, 9), lambda slide: slide.thumbnail(100)):
        with open_slide(tmp_path / "a.jpg") as slide, pytest.raises(ValueError, match=r"a\.jpg' .*Corrupt JPEG data"):
            ask(slide)


@pytest.mark.skipif(not has_vips(), reason="pyvips is not installed")
@pytest.mark.parametrize("opened", [open_vips, open_vips_once])
def test_pyvips_refuses_it_too(opened, pixels, tmp_path):
    jpeg = encoded(pixels)
    (tmp_path / "a.jpg").write_bytes(jpeg[: len(jpeg) // 3] + jpeg[len(jpeg) // 2 :])
    with (
        pytest.raises(ValueError, match=r"(?s)a\.jpg' .*Corrupt JPEG data"),
        opened(tmp_path / "a.jpg", 0.5, "given") as slide,
    ):
        slide.read_region(0, 0, slide.width, slide.height)


@pytest.mark.parametrize("options", [{"tile": (64, 64)}, {"rowsperstrip": 16}])
def test_damage_of_a_strip_or_tile_is_refused_with_its_place(options, pixels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="jpeg", **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place, length = file.pages[0].dataoffsets[9], file.pages[0].databytecounts[9]
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    whole[place + length // 2 : place + length - 2] = bytes(length - 2 - length // 2)
    (tmp_path / "a.tif").write_bytes(whole)
    where = "x = 128, y = 64" if "tile" in options else "x = 0, y = 144"
    with open_slide(tmp_path / "a.tif") as slide:
        slide.read_region(0, 0, 64, 64)
        with pytest.raises(ValueError, match=rf"a\.tif' .*at {where}: Corrupt JPEG data"):
            slide.read_region(0, 0, slide.width, slide.height)
