"""TIFF: strips or tiles, pyramids, OME-TIFF, BigTIFF, SVS; every strip or tile of a region is decoded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._resolution import from_tiff
from bleep_sc.slides._rgb import broken, check_fits_memory, check_is_rgb
from bleep_sc.slides._slide import Level, Slide
from bleep_sc.slides._vips import has_vips, open_vips, open_vips_once

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

WHITE = 255
"""Of a tile that a scanner left out."""
LARGE = 128 * 2**20
"""Decoded bytes of one strip or tile above which it is kept, not decoded again for every region."""
RAW_CHUNK = (64, 64)
"""What regions of uncompressed files may be aligned to; nothing is decoded there."""
RGB, PALETTE, SEPARATED, YCBCR = 2, 3, 5, 6
JPEG_COMPRESSIONS = (6, 7, 34892, 33007)
LZW_OR_DEFLATE = (5, 8, 32946)
FEW_CORES = 2
"""Up to which libtiff, strip after strip, is quicker than imagecodecs on all cores, having half the work."""


def open_tiff(path: Path) -> Slide:
    """Open a TIFF as a slide: its largest series, with all levels."""
    import tifffile

    file = None
    try:
        file = tifffile.TiffFile(path)
        series = max(file.series, key=lambda each: each.size)
    except Exception as error:  # tifffile raises many kinds
        if file is not None:
            file.close()
        raise broken(path, " as TIFF", error) from error
    try:
        planes = [_planes(path, level) for level in series.levels]
        _check_is_complete(path, file, planes)
        mpp, source = from_tiff(file, series.keyframe)
    except BaseException:
        file.close()
        raise
    width = planes[0][0].width
    levels = tuple(Level(each[0].width, each[0].height, width / each[0].width, each[0].chunk) for each in planes)
    is_first = series.keyframe.index == 0  # the image that pyvips opens
    if planes[0][0].is_one_large_strip and is_first and has_vips():
        file.close()
        return open_vips(path, mpp, source)
    pool = ThreadPoolExecutor(_n_cores())

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        region = np.empty((height, width, 3), dtype=np.uint8)
        for channels, plane in zip(_channels(len(planes[level])), planes[level], strict=True):
            plane.read_into(region[..., channels], x, y, pool)
        return region

    def release() -> None:
        pool.shutdown()
        file.close()

    def reopen() -> Slide:
        return open_vips_once(path, mpp, source)

    is_plain = len(levels) == 1 and is_first and planes[0][0].is_lossless_strips
    is_quicker_by_vips = is_plain and _n_cores() <= FEW_CORES and has_vips()
    return Slide(str(path), levels, mpp, source, read, release=release, reopen=reopen if is_quicker_by_vips else None)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _channels(n_planes: int) -> list[slice]:
    """Return where in RGB a plane belongs: the only one has all channels, else one each."""
    return [slice(0, 3)] if n_planes == 1 else [slice(i, i + 1) for i in range(n_planes)]


def _planes(path: Path, level: Any) -> list[_Plane]:
    """Return what holds the pixels of a level: one plane with all channels, or three."""
    page, axes, shape = level.keyframe, level.axes, level.shape
    if axes == "YXS" or (axes == "YX" and page.photometric == PALETTE):
        height, width = shape[:2]
        check_is_rgb((height, width, shape[2] if axes == "YXS" else 3), page.dtype, str(path))
        _check_colors(path, page)
        return [_Plane(path, page, page, height, width)]
    if axes in ("SYX", "CYX"):
        n_channels, height, width = shape
        check_is_rgb((height, width, n_channels), page.dtype, str(path))
        _check_colors(path, page)
        if axes == "SYX":
            return [_Plane(path, page, page, height, width, sample=i) for i in range(3)]
        return [_Plane(path, page, level.pages[i], height, width) for i in range(3)]
    if len(shape) > 2 and axes[-3:] in ("YXS", "SYX", "CYX"):
        raise ValueError(
            f"Image {str(path)!r} has {int(np.prod(shape[:-3]))} pages of the same size; which one is the slide is not "
            "known. Save that one as a file of its own."
        )
    check_is_rgb(shape, page.dtype, str(path))
    raise ValueError(f"Image {str(path)!r} has the axes {axes}; a slide has rows, columns and colours.")


def _check_colors(path: Path, page: Any) -> None:
    if page.photometric == SEPARATED:
        raise ValueError(f"Image {str(path)!r} is CMYK. Convert it to RGB first.")
    if page.photometric == YCBCR and page.compression not in JPEG_COMPRESSIONS and page.compression < 33000:
        raise ValueError(f"Image {str(path)!r} holds YCbCr without JPEG compression. Convert it to RGB first.")


def _check_is_complete(path: Path, file: tifffile.TiffFile, planes: list[list[_Plane]]) -> None:
    size = file.filehandle.size
    ends = [max(map(sum, plane.extents()), default=0) for level in planes for plane in level]
    if max(ends) > size:
        missing = (max(ends) - size) / 2**20
        raise broken(path, " as TIFF", f"{missing:.1f} MiB are missing at its end")


@dataclass
class _Plane:
    """One image in the file, or one colour of it, in strips or tiles."""

    path: Path
    keyframe: Any
    """Says how to decode."""
    page: Any
    """Says where the bytes are."""
    height: int
    width: int
    sample: int | None = None
    """Which colour, where every colour has strips or tiles of its own."""
    decoded: NDArray[np.uint8] | None = None
    """The whole plane, where it is one large strip."""

    @property
    def segment(self) -> tuple[int, int]:
        """Height and width of a strip or tile."""
        frame = self.keyframe
        if frame.is_tiled:
            return frame.tilelength, frame.tilewidth
        return min(frame.rowsperstrip, self.height), self.width

    @property
    def is_raw(self) -> bool:
        """Whether the pixels stand in the file as they are."""
        as_they_are = self.page.is_contiguous and self.keyframe.is_memmappable
        return bool(as_they_are and self.keyframe.photometric != PALETTE)

    @property
    def chunk(self) -> tuple[int, int]:
        return RAW_CHUNK if self.is_raw else self.segment

    @property
    def is_one_large_strip(self) -> bool:
        height, width = self.segment
        return not self.is_raw and 3 * height * width > LARGE

    @property
    def is_lossless_strips(self) -> bool:
        frame = self.keyframe
        is_rgb = frame.photometric == RGB and frame.planarconfig == 1
        return is_rgb and not frame.is_tiled and frame.compression in LZW_OR_DEFLATE

    def extents(self) -> Iterator[tuple[int, int]]:
        """Where every strip or tile begins in the file, and how long it is."""
        return zip(self.page.dataoffsets, self.page.databytecounts, strict=True)

    def read_into(self, region: NDArray[np.uint8], x: int, y: int, pool: ThreadPoolExecutor) -> None:
        """Fill a region (height, width, channels) whose upper left px is (x, y)."""
        height, width, n_channels = region.shape
        if self.is_raw:
            pixels = self._mapped()
            region[...] = pixels[y : y + height, x : x + width, :n_channels]
            return
        if self.is_one_large_strip:
            if self.decoded is None:
                self._decode_whole(n_channels, pool)
            region[...] = self.decoded[y : y + height, x : x + width]  # type: ignore[index]
            return
        self._decode_into(region, x, y, pool)

    def _mapped(self) -> NDArray[np.uint8]:
        """Return the raw pixels (height, width, samples), mapped from the file for as long as they are used."""
        offset = self.page.dataoffsets[0]
        if self.sample is not None:
            return np.memmap(
                self.path, np.uint8, "r", offset + self.sample * self.height * self.width, (self.height, self.width, 1)
            )
        samples = self.keyframe.samplesperpixel if self.keyframe.planarconfig == 1 else 1
        return np.memmap(self.path, np.uint8, "r", offset, (self.height, self.width, samples))

    def _decode_whole(self, n_channels: int, pool: ThreadPoolExecutor) -> None:
        n_bytes = self.height * self.width * n_channels
        remedy = "With pyvips it is read in bands (pip install 'bleep-sc[wsi]'); or convert it to a tiled TIFF."
        check_fits_memory(n_bytes, str(self.path), remedy)
        logger.warning("%s is one strip, and is decoded whole (%.1f GiB). %s", self.path.name, n_bytes / 2**30, remedy)
        whole = np.empty((self.height, self.width, n_channels), dtype=np.uint8)
        self._decode_into(whole, 0, 0, pool)
        self.decoded = whole

    def _decode_into(self, region: NDArray[np.uint8], x: int, y: int, pool: ThreadPoolExecutor) -> None:
        height, width, n_channels = region.shape
        tall, wide = self.segment
        n_across, n_down = -(-self.width // wide), -(-self.height // tall)
        rows, columns = range(y // tall, -(-(y + height) // tall)), range(x // wide, -(-(x + width) // wide))
        first = (self.sample or 0) * n_down * n_across
        places = {first + row * n_across + column: (row, column) for row in rows for column in columns}
        offsets = [self.page.dataoffsets[i] for i in places]
        counts = [self.page.databytecounts[i] for i in places]
        read = self.keyframe.parent.filehandle.read_segments(offsets, counts, list(places))

        def decode(segment: tuple[bytes | None, int]) -> None:
            pixels = self._decoded(*segment)
            row, column = places[segment[1]]
            top, left = max(y, row * tall), max(x, column * wide)
            bottom, right = min(y + height, (row + 1) * tall), min(x + width, (column + 1) * wide)
            place = region[top - y : bottom - y, left - x : right - x]
            if pixels is None:  # left out by the scanner
                place[...] = WHITE
            else:
                part = pixels[top - row * tall : bottom - row * tall, left - column * wide : right - column * wide]
                place[...] = part[..., :n_channels]

        try:
            for _ in pool.map(decode, read):
                pass
        except Exception as error:  # codecs raise many kinds
            raise broken(self.path, " as TIFF", error) from error

    def _decoded(self, data: bytes | None, index: int) -> NDArray[np.uint8] | None:
        """Return the pixels of a strip or tile, (height, width, samples)."""
        frame, tables = self.keyframe, {}
        if frame.compression in JPEG_COMPRESSIONS:
            tables = {"jpegtables": self.page.jpegtables, "jpegheader": frame.jpegheader}
        segment = frame.decode(data, index, **tables)[0]
        if segment is None:
            return None
        pixels = segment[0]  # (height, width, samples)
        if frame.photometric == PALETTE:
            return (frame.colormap[:, pixels[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
        return pixels
