"""Colours that the tags of a TIFF do not tell: as OpenSlide reads them where it does, or refused."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from bleep_sc.slides import open_slide

SIDE = 128
RGB, YCBCR = 2, 6
SUBSAMPLED = {(1, 1): 0, (2, 1): 1, (2, 2): 2}
"""What Pillow calls each."""
APERIO = "Aperio Image Library v12\r\n128x128 (128x128) Q=90|AppMag = 20|MPP = 0.5"
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


@pytest.fixture(scope="module")
def pixels():
    """Pink to purple, as smooth as subsampled chroma needs."""
    small = np.random.default_rng(0).integers([150, 60, 140], [230, 160, 210], (6, 6, 3))
    return np.asarray(Image.fromarray(small.astype(np.uint8)).resize((SIDE, SIDE)))


def adobe(transform):
    return b"\xff\xee" + struct.pack(">H5s3HB", 14, b"Adobe", 100, 0, 0, transform)


def bare(jpeg):
    """Return a JPEG without the markers that say what its colours are."""
    kept, place = jpeg[:2], 2
    while jpeg[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        kept += b"" if jpeg[place + 1] in (0xE0, 0xEE) else jpeg[place:end]
        place = end
    return kept + jpeg[place:]


def ycbcr_jpeg(pixels, subsampling=(1, 1), marker=b""):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=SUBSAMPLED[subsampling])
    jpeg = bare(file.getvalue())
    return jpeg[:2] + marker + jpeg[2:]


def rgb_jpeg(pixels, marker=b""):
    jpeg = bare(imagecodecs.jpeg8_encode(pixels, level=95, outcolorspace="RGB"))
    return jpeg[:2] + marker + jpeg[2:]


def write(path, segment, photometric, compression, subsampling=(1, 1)):
    """Write a TIFF of one tile that is encoded already, with any tags."""
    first = 7 if compression in (7, 33007) else compression
    tifffile.imwrite(
        path,
        iter([segment]),
        shape=(SIDE, SIDE, 3),
        dtype=np.uint8,
        photometric="ycbcr" if first == 7 else "rgb",
        tile=(SIDE, SIDE),
        compression=first,
        description=APERIO,
        metadata=None,
    )
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags = file.pages[0].tags
        tags[262].overwrite(photometric)
        tags[259].overwrite(compression)
        if 530 in tags:
            tags[530].overwrite(subsampling)
    return path


def error(path, pixels):
    with open_slide(path) as slide:
        return np.abs(slide.read_region(0, 0, SIDE, SIDE).astype(int) - pixels).mean()


def error_of_openslide(path, pixels):
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(path) as file:
        return np.abs(np.asarray(file.read_region((0, 0), 0, (SIDE, SIDE)))[..., :3].astype(int) - pixels).mean()


@pytest.mark.parametrize("subsampling", SUBSAMPLED)
@pytest.mark.parametrize("marker", [b"", JFIF, adobe(1)], ids=["bare", "JFIF", "Adobe"])
def test_ycbcr_jpeg(subsampling, marker, pixels, tmp_path):
    path = write(tmp_path / "a.svs", ycbcr_jpeg(pixels, subsampling, marker), YCBCR, 7, subsampling)
    assert error(path, pixels) < 1.5
    assert error_of_openslide(path, pixels) < 1.5


@pytest.mark.parametrize("marker", [b"", adobe(0)], ids=["bare", "Adobe"])
def test_rgb_jpeg(marker, pixels, tmp_path):
    path = write(tmp_path / "a.svs", rgb_jpeg(pixels, marker), RGB, 7)
    assert error(path, pixels) < 1.5
    assert error_of_openslide(path, pixels) < 1.5


def test_jpeg_under_the_tag_of_bioformats(pixels, tmp_path):
    assert error(write(tmp_path / "a.tif", ycbcr_jpeg(pixels, (2, 2), JFIF), YCBCR, 33007, (2, 2)), pixels) < 1.5


def test_jpeg_and_tag_that_contradict_each_other(pixels, tmp_path, caplog):
    for name, jpeg, tag in (
        ("tag YCbCr", rgb_jpeg(pixels, adobe(0)), YCBCR),
        ("tag YCbCr, by its components", rgb_jpeg(pixels), YCBCR),
        ("tag RGB", ycbcr_jpeg(pixels, marker=adobe(1)), RGB),
    ):
        path = write(tmp_path / f"{name}.svs", jpeg, tag, 7)
        with pytest.raises(
            ValueError, match=r"holds (RGB|YCbCr) by its tags, and (RGB|YCbCr) by its JPEG. Export it anew"
        ):
            open_slide(path)
    # Bio-Formats writes RGB into the tag, whatever the JPEG holds.
    path = write(tmp_path / "bioformats.tif", ycbcr_jpeg(pixels, (2, 2), JFIF), RGB, 7, (2, 2))
    with caplog.at_level("WARNING", logger="bleep_sc"):
        assert error(path, pixels) < 1.5
    assert "holds RGB by its tags, and YCbCr by its JPEG, which is believed" in caplog.text


def j2k(channels, mixed):
    return imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(channels), codecformat="j2k", mct=mixed, reversible=True, level=0, resolutions=4
    )


def as_ycbcr(pixels):
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def subsampled_j2k(pixels, across, down):
    """Return three codestreams as one, component by component, of which the last two are smaller."""
    ycbcr = as_ycbcr(pixels)
    chroma = ycbcr.reshape(SIDE // down, down, SIDE // across, across, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    streams = [j2k(plane, mixed=False) for plane in (ycbcr[..., 0], chroma[..., 1], chroma[..., 2])]
    headers, place = {}, 2
    while streams[0][place + 1] != 0x90:
        end = place + 2 + int.from_bytes(streams[0][place + 2 : place + 4], "big")
        headers[streams[0][place + 1]] = bytearray(streams[0][place:end])
        place = end
    packets = b"".join(stream[stream.find(b"\xff\x93") + 2 : stream.rfind(b"\xff\xd9")] for stream in streams)
    size, style = headers[0x51], headers[0x52]
    size[2:4], size[38:] = struct.pack(">H", 47), struct.pack(">H9B", 3, 7, 1, 1, *(7, across, down) * 2)
    style[5] = 4  # component by component
    part = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14 + len(packets), 0, 1)
    return b"\xff\x4f" + bytes(size + style + headers[0x5C]) + part + b"\xff\x93" + packets + b"\xff\xd9"


def test_aperio_jpeg_2000(pixels, tmp_path):
    for name, codestream, compression in (
        ("33003", j2k(as_ycbcr(pixels), mixed=False), 33003),
        ("33003, 4:2:2", subsampled_j2k(pixels, 2, 1), 33003),
        ("33003, 4:2:0", subsampled_j2k(pixels, 2, 2), 33003),
        ("33005, mixed", j2k(pixels, mixed=True), 33005),
        ("33005, as it is", j2k(pixels, mixed=False), 33005),
    ):
        path = write(tmp_path / f"{name}.svs", codestream, RGB, compression)
        assert error(path, pixels) < 2, name
        assert error_of_openslide(path, pixels) < 2, name


def test_other_jpeg_2000(pixels, tmp_path):
    for name, codestream, photometric, compression in (
        ("RGB", j2k(pixels, mixed=True), RGB, 33004),
        ("RGB, tagged YCbCr for its mixture", j2k(pixels, mixed=True), YCBCR, 34712),
        ("YCbCr", j2k(as_ycbcr(pixels), mixed=False), YCBCR, 34712),
    ):
        assert error(write(tmp_path / f"{name}.tif", codestream, photometric, compression), pixels) < 2, name
    path = write(tmp_path / "both.svs", j2k(pixels, mixed=True), RGB, 33003)
    with pytest.raises(ValueError, match=r"YCbCr by its compression \(33003\), and RGB by its JPEG 2000"):
        open_slide(path)


@pytest.mark.parametrize(
    ("photometric", "name"), [("miniswhite", "inverted"), ("separated", "CMYK"), ("cielab", "CIELab")]
)
def test_other_colors_are_refused_by_name(photometric, name, pixels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[262].overwrite({"miniswhite": 0, "separated": 5, "cielab": 8}[photometric])
    with pytest.raises(ValueError, match=rf"a\.tif' is {name}\. Convert it to RGB"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("scale", [1, 257])
def test_palettes_of_8_and_of_16_bits(scale, tmp_path):
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colors = np.random.default_rng(0).integers(0, 256, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=colors * scale)
    with open_slide(tmp_path / "a.tif") as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 16, 16), np.moveaxis(colors[:, index], 0, -1))
