"""The same patch is cut from the same tissue, however it is stored."""

import logging
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from scipy import ndimage

from bleep_sc.slides import _patches as patches_module
from bleep_sc.slides import cut_patches, open_slide, read_patches
from bleep_sc.slides._vips import has_vips, open_vips

HEIGHT, WIDTH = 700, 900
MPP = 0.5
JPEG = {"compression": "jpeg", "compressionargs": {"level": 95}}


@pytest.fixture(scope="module")
def pixels():
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.normal(size=(HEIGHT, WIDTH, 3)), (6, 6, 0))
    return np.clip(170 + 900 * smooth, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def centers():
    inside = np.random.default_rng(1).uniform([0, 0], [WIDTH, HEIGHT], (60, 2))
    return np.vstack([inside, [[0, 0], [WIDTH - 1, HEIGHT - 1]]])


def write_pyramid(path, pixels, **kwargs):
    per_cm = 1e4 / MPP
    options = {"photometric": "rgb", "resolutionunit": "CENTIMETER", **kwargs}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels, subifds=2, resolution=(per_cm, per_cm), **options)
        for k in (2, 4):
            small = Image.fromarray(pixels).reduce(k)
            file.write(np.asarray(small), subfiletype=1, resolution=(per_cm / k, per_cm / k), **options)


TIFFS = {
    "raw": {},
    "raw strips": {"rowsperstrip": 16},
    "lzw, a row a strip": {"compression": "lzw", "predictor": True, "rowsperstrip": 1},
    "lzw, one strip": {"compression": "lzw", "rowsperstrip": HEIGHT},
    "deflate tiles": {"compression": "zlib", "tile": (64, 128)},
    "zstd": {"compression": "zstd"},
    "jpeg strips": {**JPEG, "rowsperstrip": 16},
    "jpeg tiles": {**JPEG, "tile": (128, 128)},
    "big": {"bigtiff": True, "tile": (256, 256)},
}


def cut(slide, centers, **kwargs):
    return cut_patches(slide, centers, **{"side": 56, "size": 56, **kwargs})


def check(slide, pixels, centers, tolerance=0.0):
    expected = cut(open_slide(pixels), centers)
    with slide:
        assert (slide.width, slide.height) == (WIDTH, HEIGHT)
        difference = np.abs(cut(slide, centers).astype(int) - expected)
        assert difference.mean() <= tolerance
        if not tolerance:
            np.testing.assert_array_equal(slide.read_region(3, 5, 40, 30), pixels[5:35, 3:43])
        half = np.asarray(slide.thumbnail(WIDTH // 2), dtype=int)
        assert np.abs(half - np.asarray(Image.fromarray(pixels).reduce(2), dtype=int)).mean() < 2.5


def check_file(path, pixels, centers, tolerance=0.0):
    slide = open_slide(path)
    assert slide.name == str(path)  # by which it is opened again
    check(slide, pixels, centers, tolerance)


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(name, pixels, centers, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **TIFFS[name])
    check_file(tmp_path / "a.tif", pixels, centers, 1.5 if "jpeg" in name else 0)


def test_planes_palette_and_alpha(pixels, centers, tmp_path):
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    for compression in (None, "zlib"):
        tifffile.imwrite(
            tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression=compression
        )
        check_file(tmp_path / "a.tif", pixels, centers)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX"}, tile=(64, 64))
    check_file(tmp_path / "a.ome.tif", pixels, centers)
    opaque = np.dstack([pixels, np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)])
    tifffile.imwrite(tmp_path / "b.tif", opaque, photometric="rgb", extrasamples=["unassalpha"], compression="lzw")
    check_file(tmp_path / "b.tif", pixels, centers)
    Image.fromarray(pixels // 32 * 32).quantize(256).save(tmp_path / "c.tif")
    with open_slide(tmp_path / "c.tif") as slide:
        expected = np.asarray(Image.open(tmp_path / "c.tif").convert("RGB"))
        np.testing.assert_array_equal(slide.read_region(0, 0, WIDTH, HEIGHT), expected)


def test_pictures(pixels, centers, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(25400 / MPP, 25400 / MPP))
    check_file(tmp_path / "a.png", pixels, centers)
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.mpp == pytest.approx(MPP, rel=1e-3)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    check_file(tmp_path / "a.jpg", pixels, centers, 1.5)


def test_arrays(pixels, centers):
    first = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    for source in (pixels, first, da.from_array(pixels, (256, 300, 3)), da.from_array(first, (3, 256, 300))):
        check(open_slide(source), pixels, centers)
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=pixels, chunks=(128, 128, 3))
    check(open_slide(stored), pixels, centers)
    slide = open_slide(pixels)
    assert open_slide(slide) is slide


def test_every_level_shows_the_same_place(pixels, centers, tmp_path):
    write_pyramid(tmp_path / "a.tif", pixels, tile=(128, 128))
    with open_slide(tmp_path / "a.tif") as slide:
        assert [level.downsample for level in slide.levels] == pytest.approx([1, 2, 4], rel=0.01)
        assert slide.mpp == pytest.approx(MPP)
        assert slide.mpp_source == "resolution tags"
        full = cut(slide, centers[:60], side=128, size=32).astype(int)
        for level in (1, 2):
            coarse = cut(slide, centers[:60], side=128, size=32, level=level)
            beside = cut(slide, centers[:60] + 16, side=128, size=32)
            assert np.abs(coarse - full).mean() < 0.3 * np.abs(beside - full).mean()


@pytest.mark.skipif(not has_vips(), reason="pyvips is not installed")
def test_pyvips_reads_the_same_and_in_any_order(pixels, centers, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="lzw", rowsperstrip=HEIGHT)
    check(open_vips(tmp_path / "a.tif", MPP, "given"), pixels, centers)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    check(open_vips(tmp_path / "a.jpg", MPP, "given"), pixels, centers, 1.5)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated or broken"), open_vips(tmp_path / "cut.jpg", MPP, "given") as slide:
        cut(slide, centers)


def test_openslide_reads_the_same(pixels, centers, tmp_path):
    pytest.importorskip("openslide")
    from bleep_sc.slides._openslide import open_openslide

    write_pyramid(tmp_path / "a.tif", pixels, tile=(128, 128), compression="jpeg", compressionargs={"level": 95})
    check(open_openslide(tmp_path / "a.tif"), pixels, centers, 1.5)
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read by OpenSlide"):
        open_openslide(tmp_path / "b.tif")


def test_large_strips_are_decoded_once_and_that_is_said(pixels, centers, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("bleep_sc.slides._plane.LARGE", 1000)
    monkeypatch.setattr("bleep_sc.slides._tiff.has_vips", lambda: False)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="lzw", rowsperstrip=HEIGHT)
    with caplog.at_level(logging.WARNING, logger="bleep_sc"):
        check_file(tmp_path / "a.tif", pixels, centers)
    assert caplog.text.count("is one strip, and is decoded whole") == 1
    assert "pip install 'bleep-sc[wsi]'" in caplog.text


class Counting:
    """A slide in tiles that counts how often each is read."""

    def __init__(self, pixels, chunk):
        from dataclasses import replace

        self.pixels, self.chunk = pixels, chunk
        self.times = np.zeros((-(-pixels.shape[0] // chunk[0]), -(-pixels.shape[1] // chunk[1])), dtype=int)
        self.largest = 0
        plain = open_slide(pixels)
        self.slide = replace(plain, levels=(replace(plain.levels[0], chunk=chunk),), read=self.read)

    def read(self, level, x, y, width, height):
        tall, wide = self.chunk
        self.times[y // tall : -(-(y + height) // tall), x // wide : -(-(x + width) // wide)] += 1
        self.largest = max(self.largest, width * height)
        return self.pixels[y : y + height, x : x + width]


@pytest.mark.parametrize("chunk", [(64, 64), (1, WIDTH), (16, WIDTH), (37, 53)])
@pytest.mark.parametrize("side", [10, 150])
def test_everything_is_decoded_once_and_only_what_is_needed(pixels, centers, chunk, side, monkeypatch):
    monkeypatch.setattr(patches_module, "BAND_ROWS", 64)
    counting = Counting(pixels, chunk)
    expected = cut(open_slide(pixels), centers, side=side, size=20)
    np.testing.assert_array_equal(cut(counting.slide, centers, side=side, size=20), expected)
    assert counting.times.max() == 1
    few = Counting(pixels, chunk)
    cut(few.slide, centers[:2], side=side, size=20)
    assert (few.times > 0).mean() < 0.7


def test_wide_slides_are_read_in_stripes_of_bounded_memory(pixels, centers, monkeypatch):
    monkeypatch.setattr(patches_module, "BAND_ROWS", 32)
    monkeypatch.setattr(patches_module, "LARGEST_BAND", 32 * 2 * 3 * 200)
    counting = Counting(pixels, (16, 16))
    order = []
    for rows, patches in read_patches(counting.slide, centers, side=30, size=30, batch_size=7):
        np.testing.assert_array_equal(patches, cut(open_slide(pixels), centers[rows], side=30, size=30))
        order += rows.tolist()
    assert sorted(order) == list(range(len(centers)))
    assert counting.largest <= 250 * 64
    assert counting.times.max() <= 2  # at the edges of stripes


def test_a_part_is_cut_in_the_order_of_the_whole(pixels, centers, monkeypatch):
    from bleep_sc.slides._patches import reading_order

    monkeypatch.setattr(patches_module, "LARGEST_BAND", 2**16)
    slide = Counting(pixels, (16, 16)).slide
    order = reading_order(slide, centers, 30)
    read = np.concatenate([rows for rows, _ in read_patches(slide, centers, side=30, size=30)])
    np.testing.assert_array_equal(read, order)
    rest = order[20:]
    again = np.concatenate([rows for rows, _ in read_patches(slide, centers[rest], side=30, size=30)])
    np.testing.assert_array_equal(rest[again], rest)


def test_regions_must_lie_inside(pixels):
    slide = open_slide(pixels)
    for region in ((-1, 0, 5, 5), (0, 0, WIDTH + 1, 5), (0, HEIGHT - 2, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(ValueError, match=r"leaves level 0 of 'array', which is 900 px wide"):
            slide.read_region(*region)


@pytest.mark.parametrize("compression", ["deflate", "jpeg"])
def test_of_a_large_strip_its_headers_alone_are_read_before_its_pixels_are(compression, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", noise, photometric="rgb", compression=compression, rowsperstrip=1600)
    assert (tmp_path / "a.tif").stat().st_size > 2 * 2**20
    tracemalloc.start()
    try:
        open_slide(tmp_path / "a.tif").close()
        assert tracemalloc.get_traced_memory()[1] < 1.5 * 2**20
    finally:
        tracemalloc.stop()
