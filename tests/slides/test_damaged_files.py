"""Damaged files are refused, warned of or right: 200 of every format, and a few of each every day."""

import logging
import resource
import time

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from bleep_sc.slides import open_slide

HEIGHT, WIDTH = 480, 640
RIGHT = 3.0
"""Grey values by which pixels may be off in the mean."""
LONGEST_S, MOST_BYTES = 30, 2**30
UNSEEN = {"JPEG": 0.03}
"""Share that may go unseen: a JPEG has no checksum, so a change of as many bits is one if it still decodes."""


def painted():
    """Smooth colours with the noise of a camera."""
    random = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(random.normal(size=(HEIGHT, WIDTH, 3)), (4, 4, 0))
    return np.clip(190 + 500 * smooth + 4 * random.normal(size=(HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def write_strips(folder, pixels):
    options = {"lzw": {"compression": "lzw", "predictor": True}, "deflate": {"compression": "zlib"}}
    for name, option in options.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, photometric="rgb", rowsperstrip=16, **option)


def write_tiles(folder, pixels):
    options = {"lzw": {"compression": "lzw"}, "deflate": {"compression": "zlib"}}
    for name, option in options.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, photometric="rgb", tile=(64, 64), **option)


def write_jpeg(folder, pixels):
    Image.fromarray(pixels).save(folder / "a.jpg", quality=90)


def write_png(folder, pixels):
    Image.fromarray(pixels).save(folder / "a.png")


def write_svs(folder, pixels):
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(folder / "a.svs") as file:
        file.write(pixels, description="Aperio Image Library v12|AppMag = 20|MPP = 0.5", **options)
        file.write(pixels[::4, ::4], description="Aperio", **options)


FORMATS = {
    "TIFF strips": write_strips,
    "TIFF tiles": write_tiles,
    "JPEG": write_jpeg,
    "PNG": write_png,
    "SVS": write_svs,
}


def flip_a_bit(data, place, random):
    data[place] ^= 1 << int(random.integers(8))


def change_a_byte(data, place, random):
    data[place] = int(random.integers(256))


def write_zeros(data, place, random):
    length = len(data[place : place + int(random.integers(16, 2048))])
    data[place : place + length] = bytes(length)


def write_noise(data, place, random):
    length = len(data[place : place + int(random.integers(16, 2048))])
    data[place : place + length] = random.bytes(length)


def lose_a_part(data, place, random):
    del data[place : place + int(random.integers(1, 4096))]


def lose_the_end(data, place, random):
    del data[max(place, 20) :]


DAMAGES = (flip_a_bit, change_a_byte, write_zeros, write_noise, lose_a_part, lose_the_end)


def read_whole(path):
    with open_slide(path) as slide:
        return slide.read_region(0, 0, WIDTH, HEIGHT)


def outcome(path, pixels, caplog):
    """Say what becomes of a damaged file."""
    try:
        with open_slide(path) as slide:
            if (slide.width, slide.height) != (WIDTH, HEIGHT):
                slide.read_region(slide.width // 2, slide.height // 2, 1, 1)
                return "another size"
            read = slide.read_region(0, 0, WIDTH, HEIGHT)
            slide.thumbnail(100)
    except ValueError as error:
        return "refused" if str(path) in str(error) else f"another library's error: {error!r}"
    except Exception as error:  # noqa: BLE001, what must not happen is counted
        return f"another library's error: {error!r}"
    if any(record.name == "bleep_sc" for record in caplog.records):
        return "warned"
    return "right" if np.abs(read.astype(int) - pixels).mean() <= RIGHT else "silently wrong"


def outcomes(folder, name, n, caplog, places=1.0):
    """Damage files of a format ``n`` times in their first share of ``places``, and count what becomes of them."""
    random, pixels = np.random.default_rng(sorted(FORMATS).index(name)), painted()
    FORMATS[name](folder, pixels)
    files = sorted(folder.iterdir())
    whole = {file: file.read_bytes() for file in files}
    expected = {file: read_whole(file) for file in files}
    counts = {}
    for number in range(n):
        file = files[number % len(files)]
        data = bytearray(whole[file])
        DAMAGES[number % len(DAMAGES)](data, int(random.integers(places * len(data))), random)
        damaged = folder / f"damaged{file.suffix}"
        damaged.write_bytes(data)
        caplog.clear()
        start = time.perf_counter()
        with caplog.at_level(logging.WARNING, logger="bleep_sc"):
            said = outcome(damaged, expected[file], caplog)
        assert time.perf_counter() - start < LONGEST_S
        counts[said] = counts.get(said, 0) + 1
    return counts


def check(counts, name):
    n = sum(counts.values())
    assert counts.get("silently wrong", 0) <= UNSEEN.get(name, 0) * n, counts
    assert set(counts) <= {"refused", "warned", "right", "silently wrong"}, counts


@pytest.mark.parametrize("name", FORMATS)
def test_a_few_damaged_files(name, tmp_path, caplog):
    check(outcomes(tmp_path, name, 12, caplog), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_damaged_files(name, tmp_path, caplog, capsys):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = outcomes(tmp_path, name, 200, caplog)
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    with capsys.disabled():
        print(f"\n{name}: {counts}", end=" ")  # noqa: T201
    check(counts, name)
    assert kibibytes * 1024 < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_headers_raise_no_error_of_another_library(name, tmp_path, caplog):
    size = {"PNG": 0.0005, "JPEG": 0.008, "SVS": 0.01}.get(name, 0.001)
    counts = outcomes(tmp_path, name, 200, caplog, size)
    assert not [said for said in counts if "another library" in said], counts
    assert counts["refused"] > 100
