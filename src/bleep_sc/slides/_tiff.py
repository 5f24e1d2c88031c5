"""TIFF: strips or tiles, pyramids, OME-TIFF, BigTIFF, SVS; every strip or tile of a region is decoded once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc.slides._alpha import over_white, read_over_white
from bleep_sc.slides._channels import color_order, names_in_tiff
from bleep_sc.slides._colors import JPEG, PALETTE, check_colors
from bleep_sc.slides._plane import DEFLATE, LZW, Plane
from bleep_sc.slides._resolution import from_tiff
from bleep_sc.slides._rgb import UnusableImage, broken, check_is_rgb
from bleep_sc.slides._slide import Level, Slide
from bleep_sc.slides._unwritten import check_is_written
from bleep_sc.slides._vips import has_vips, open_vips, open_vips_once

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

PREMULTIPLIED, OPACITY = 1, 2
"""What a fourth channel is, where the file says it."""
BOUNDED, MOST_COMPRESSED = (LZW, *DEFLATE, 32773, *JPEG), 5000
"""Compressions that reach a thousandfold, and what none of them does: a width that is wrong would fill the memory."""
FEW_CORES = 2
"""Up to which libtiff, strip after strip, is quicker than imagecodecs on all cores, having half the work."""


def open_tiff(path: Path) -> Slide:
    """Open a TIFF as a slide: its largest series, with all levels."""
    import tifffile

    file = None
    try:
        file = tifffile.TiffFile(path)
        series = max(file.series, key=lambda each: each.size)
        if file.is_svs and series.keyframe.index != 0:
            raise broken(path, " as TIFF", "its first image, which is the scan, is not the largest")
        levels = [_planes(path, file, level) for level in series.levels]
        _check_is_complete(path, file, levels)
        check_is_written(path, levels)
        for planes in levels:
            check_colors(str(path), planes[0].keyframe, planes[0].first_segment())
        mpp, source = from_tiff(file, series.keyframe)
        return _slide(path, file, levels, mpp, source, is_first=series.keyframe.index == 0)
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, UnusableImage) or not isinstance(error, Exception):
            raise
        raise broken(path, " as TIFF", error) from error  # tifffile raises many kinds


def _slide(
    path: Path, file: tifffile.TiffFile, planes: list[list[Plane]], mpp: float, source: str, *, is_first: bool
) -> Slide:
    """Return the slide; ``is_first`` says that it is the image that pyvips opens."""
    first = planes[0][0]
    n_channels = len(planes[0]) if len(planes[0]) > 1 else first.samples
    premultiplied = first.opacity == PREMULTIPLIED
    is_told = n_channels == 3 or first.keyframe.photometric == PALETTE or first.opacity in (PREMULTIPLIED, OPACITY)
    by_vips = is_first and has_vips() and is_told and not premultiplied and first.keyframe.compression not in JPEG
    if first.is_one_large_strip and by_vips:
        file.close()
        return open_vips(path, mpp, source)
    levels = tuple(Level(each[0].width, each[0].height, first.width / each[0].width, each[0].chunk) for each in planes)
    pool = ThreadPoolExecutor(_n_cores())

    def read_channels(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return _region(planes[level], x, y, width, height, pool)

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return over_white(read_channels(level, x, y, width, height), premultiplied=premultiplied)

    def release() -> None:
        pool.shutdown()
        file.close()

    def reopen() -> Slide:
        return open_vips_once(path, mpp, source)

    is_plain = len(levels) == 1 and is_first and first.is_deflated_strips and n_channels == 3
    is_quicker_by_vips = is_plain and _n_cores() <= FEW_CORES and has_vips()
    return Slide(
        str(path),
        levels,
        mpp,
        source,
        read if is_told else read_over_white(read_channels, levels, str(path)),
        release=release,
        reopen=reopen if is_quicker_by_vips else None,
    )


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _region(
    planes: list[Plane], x: int, y: int, width: int, height: int, pool: ThreadPoolExecutor
) -> NDArray[np.uint8]:
    """Return a region with all its channels, (height, width, 3 or 4)."""
    if len(planes) > 1:
        region = np.empty((height, width, len(planes)), dtype=np.uint8)
        for channel, plane in enumerate(planes):
            plane.read_into(region[..., channel : channel + 1], x, y, pool)
        return region
    n_channels = 3 if planes[0].keyframe.photometric == PALETTE else planes[0].samples
    region = np.empty((height, width, n_channels), dtype=np.uint8)
    planes[0].read_into(region, x, y, pool)
    return region


def _planes(path: Path, file: tifffile.TiffFile, level: Any) -> list[Plane]:
    """Return what holds the pixels of a level: one plane with all channels, or one for each."""
    page, axes, shape = level.keyframe, level.axes, level.shape
    while len(shape) > 2 and shape[0] == 1 and axes[0] not in "YX":  # a single page, time or depth
        axes, shape = axes[1:], shape[1:]
    if axes == "YXS" or (axes == "YX" and page.photometric == PALETTE):
        height, width = shape[:2]
        check_is_rgb((height, width, shape[2] if axes == "YXS" else 3), page.dtype, str(path))
        return [Plane(path, page, page, height, width)]
    if axes == "SYX":
        n_channels, height, width = shape
        check_is_rgb((height, width, n_channels), page.dtype, str(path))
        return [Plane(path, page, page, height, width, sample=i) for i in range(n_channels)]
    if axes == "CYX":
        n_channels, height, width = shape
        names = names_in_tiff(file, n_channels)
        order = None if names is None else color_order(names, str(path))
        check_is_rgb((height, width, n_channels), page.dtype, str(path))
        pages = [level.pages[i] for i in order or range(n_channels)]
        if any(each is None or each.parent is not file for each in pages):
            raise UnusableImage(f"Image {str(path)!r} has its channels in several files. Save it as one.")
        return [Plane(path, page, each, height, width) for each in pages]
    if len(shape) > 2 and axes[-3:] in ("YXS", "SYX", "CYX"):
        raise UnusableImage(
            f"Image {str(path)!r} has {int(np.prod(shape[:-3]))} pages of the same size; which one is the slide is not "
            "known. Save that one as a file of its own."
        )
    check_is_rgb(shape, page.dtype, str(path))
    raise UnusableImage(f"Image {str(path)!r} has the axes {axes}; a slide has rows, columns and colours.")


def _check_is_complete(path: Path, file: tifffile.TiffFile, levels: list[list[Plane]]) -> None:
    size = file.filehandle.size
    for plane in (plane for planes in levels for plane in planes):
        extents = list(plane.extents())
        end = max(map(sum, extents))
        if end > size:
            raise broken(path, " as TIFF", f"{(end - size) / 2**20:.1f} MiB are missing at its end")
        n_bytes = plane.segment[0] * plane.segment[1] * plane.samples
        longest = max(length for _, length in extents)
        if plane.keyframe.compression in BOUNDED and n_bytes > MOST_COMPRESSED * longest > 0:
            raise broken(path, " as TIFF", f"{longest} bytes cannot hold {n_bytes} px of a strip or tile")
