"""Strips and tiles that were never written are refused or told, however many cores and whichever libraries there are."""

import numpy as np
import pytest
import tifffile

from bleep_sc.slides import open_slide

HEIGHT, WIDTH = 300, 400


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(80, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write(path, pixels, missing, **kwargs):
    """Write a TIFF in which ``missing`` says by number which strips or tiles were never written."""
    tifffile.imwrite(path, pixels, photometric="rgb", **kwargs)
    return without(path, missing)


def without(path, missing):
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags, kind = file.pages[0].tags, "Tile" if file.pages[0].is_tiled else "Strip"
        for tag in (tags[f"{kind}Offsets"], tags[f"{kind}ByteCounts"]):
            tag.overwrite([0 if missing(i) else value for i, value in enumerate(tag.value)])
    return path


@pytest.mark.parametrize("n_cores", [1, 8])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_strips_that_were_never_written_are_refused(compression, n_cores, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("bleep_sc.slides._tiff._n_cores", lambda: n_cores)
    path = write(tmp_path / "a.tif", pixels, lambda i: i >= 3, rowsperstrip=64, compression=compression)
    with pytest.raises(
        ValueError, match=r"a\.tif' .*2 of 5 strips \(between x = 0 and 400, y = 192 and 300\) were never"
    ):
        open_slide(path)


def test_a_tiled_file_that_was_not_finished_is_refused(pixels, tmp_path):
    path = write(tmp_path / "a.tif", pixels, lambda i: i > 20, tile=(64, 64), compression="zlib")
    with pytest.raises(
        ValueError, match=r"14 of 35 tiles \(between x = 0 and 400, y = 192 and 300\) were never written"
    ):
        open_slide(path)
    with pytest.raises(ValueError, match="35 of 35 tiles"):
        open_slide(write(tmp_path / "b.tif", pixels, lambda i: True, tile=(64, 64), compression="zlib"))


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_tiles_that_a_scanner_left_out_read_white_and_that_is_said(planarconfig, pixels, tmp_path, caplog):
    stored = pixels if planarconfig == "contig" else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    left_out = {0, 9, 17}
    path = write(
        tmp_path / "a.tif",
        stored,
        lambda i: i % 35 in left_out,
        tile=(64, 64),
        compression="zlib",
        planarconfig=planarconfig,
    )
    expected = pixels.copy()
    for tile in left_out:
        row, column = divmod(tile, 7)
        expected[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] = 255
    with caplog.at_level("WARNING", logger="bleep_sc"), open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, WIDTH, HEIGHT), expected)
    assert (
        "3 of 35 tiles (between x = 0 and 256, y = 0 and 192) of level 0 were never written, and read white"
        in caplog.text
    )


def test_glass_below_the_tissue_of_a_pyramid_is_left_out_by_a_scanner_and_reads_white(pixels, tmp_path, caplog):
    path, how = tmp_path / "a.tif", {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=1, **how)
        file.write(pixels[::2, ::2], subfiletype=1, **how)
    without(path, lambda i: i >= 28)
    expected = pixels.copy()
    expected[256:] = 255
    with caplog.at_level("WARNING", logger="bleep_sc"), open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, WIDTH, HEIGHT), expected)
    assert "7 of 35 tiles (between x = 0 and 400, y = 256 and 300) of level 0 were never written" in caplog.text
