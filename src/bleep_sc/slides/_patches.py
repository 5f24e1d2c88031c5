"""Cutting square patches around centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from bleep_sc._arrays.blocks import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from bleep_sc.slides._slide import Level, Slide

    Pad = Literal["reflect", "constant"]

WHITE = 255
BAND_ROWS = 512
"""Rows that are read at once, at least."""
LARGEST_BAND = 128 * 2**20
"""Bytes of pixels that may be held at once where a slide in tiles is read in stripes."""
OVERSAMPLED, ROUNDED = 2, 0.01
"""How many px of a level a px of a patch is made of, at least, and how far a level may be off its factor."""


def cut_patches(
    slide: Slide,
    centers: NDArray[np.float64],
    *,
    side: int,
    size: int,
    pad: Pad = "reflect",
    level: int = 0,
) -> NDArray[np.uint8]:
    """Cut a window around every centre; see :func:`read_patches`.

    Returns
    -------
    (n, size, size, 3) uint8, in the order of the centres.

    Examples
    --------
    >>> image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    >>> with bs.slides.open_slide(image) as slide:
    ...     patches = bs.slides.cut_patches(slide, np.array([[60.0, 50.0]]), side=40, size=20)
    >>> patches.shape
    (1, 20, 20, 3)
    """
    patches = np.empty((len(centers), size, size, 3), dtype=np.uint8)
    for rows, batch in read_patches(slide, centers, side=side, size=size, pad=pad, level=level):
        patches[rows] = batch
    return patches


def read_patches(
    slide: Slide,
    centers: NDArray[np.float64],
    *,
    side: int,
    size: int,
    pad: Pad = "reflect",
    level: int = 0,
    batch_size: int = 64,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
    """Cut a window around every centre, in bands from top to bottom: what is compressed is decoded once.

    Wide slides in tiles are read stripe by stripe, so that memory is bounded whatever the width.

    Parameters
    ----------
    slide
        From :func:`bleep_sc.slides.open_slide`.
    centers
        (x, y) in full-resolution px, (n, 2), all of them on the slide.
    side
        Side of the windows, full-resolution px.
    size
        Side of the patches, px; windows are resampled where they differ.
    pad
        What lies beyond the image: its reflection, or white.
    level
        Which level to read. Coarser ones are read faster; their px are averages, so patches are alike, not the same.
    batch_size
        Patches at once.

    Yields
    ------
    Rows of ``centers``, in the order of :func:`reading_order`, and their patches, (batch, size, size, 3) uint8.

    Examples
    --------
    >>> image, centers = np.zeros((100, 120, 3), dtype=np.uint8), np.array([[60.0, 90.0], [60.0, 10.0]])
    >>> with bs.slides.open_slide(image) as slide:
    ...     for rows, patches in bs.slides.read_patches(slide, centers, side=16, size=16):
    ...         rows.tolist(), patches.shape
    ([1, 0], (2, 16, 16, 3))
    """
    if not 0 <= level < len(slide.levels):
        raise ValueError(f"level={level} is not among the {len(slide.levels)} of {slide.name!r}; 0 is the full one.")
    side_px = max(1, round(side / slide.levels[level].downsample))
    order, stripes = _order(slide, centers, side, level)
    corners = _corners(np.asarray(centers) / slide.levels[level].downsample, side_px)
    for stripe in np.unique(stripes[order]):
        rows = order[stripes[order] == stripe]
        with slide.top_to_bottom() as opened:
            bands = _Bands(opened, level, corners[rows], side_px)
            for part in slices(len(rows), batch_size):
                batch = rows[part]
                patches = np.empty((len(batch), size, size, 3), dtype=np.uint8)
                for i, row in enumerate(batch):
                    left, top = corners[row]
                    window = bands.window(int(left), int(top), pad)
                    patches[i] = window if side_px == size else _resample(window, size)
                yield batch, patches


def coarsest_level(slide: Slide, side: int, size: int) -> int:
    """Return the coarsest level with two px or more, across and down, for every px of a patch.

    A level with just one px for each is sharper than the full resolution scaled down, and by more than tissue differs.
    """
    most = side / size / OVERSAMPLED * (1 + ROUNDED)
    return max(i for i, each in enumerate(slide.levels) if i == 0 or each.downsample <= most)


def reading_order(slide: Slide, centers: NDArray[np.float64], side: int, level: int = 0) -> NDArray[np.intp]:
    """Return the order in which :func:`read_patches` cuts; any part of it, given alone, is cut in the same order."""
    return _order(slide, centers, side, level)[0]


def _order(
    slide: Slide, centers: NDArray[np.float64], side: int, level: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows from top to bottom, stripe by stripe, and the stripe of every row."""
    of = slide.levels[level]
    side_px = max(1, round(side / of.downsample))
    corners = _corners(np.asarray(centers) / of.downsample, side_px)
    width = _stripe_width(of, side_px)
    stripes = np.clip(corners[:, 0], 0, of.width - 1) // width
    return np.lexsort((corners[:, 0], corners[:, 1], stripes)), stripes


def _stripe_width(level: Level, side: int) -> int:
    """Return how wide a stripe may be; strips and whole arrays are decoded over the whole width anyway."""
    if level.chunk[1] >= level.width:
        return level.width
    rows = 2 * _band_height(level, side)
    return max(4 * side, LARGEST_BAND // (3 * rows), level.chunk[1])


def _band_height(level: Level, side: int) -> int:
    """Return how many rows to read at once: as many as a window has, and whole chunks."""
    tall = level.chunk[0]
    return min(level.height, -(-max(side, BAND_ROWS) // tall) * tall)


class _Bands:
    """The rows of a slide that windows still need, read once, chunk by chunk, from top to bottom."""

    def __init__(self, slide: Slide, level: int, corners: NDArray[np.int64], side: int) -> None:
        self.slide, self.index, self.corners, self.side = slide, level, corners, side
        self.level = slide.levels[level]
        self.step = _band_height(self.level, side)
        self.bottom = 0
        self.regions: list[tuple[int, int, NDArray[np.uint8]]] = []  # left, top and pixels; of a row none overlap

    def window(self, left: int, top: int, pad: Pad) -> NDArray[np.uint8]:
        """Return the window with this corner; windows are asked for from top to bottom."""
        first, last = max(top, 0), min(top + self.side, self.level.height)
        if last > self.bottom:
            self._read_until(first, last)
        start, end = max(left, 0), min(left + self.side, self.level.width)
        parts = [
            pixels[max(first - y, 0) : last - y, start - x : end - x]
            for x, y, pixels in self.regions
            if x <= start < x + pixels.shape[1] and y < last and first < y + pixels.shape[0]
        ]
        inner = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if inner.shape[:2] == (self.side, self.side):
            return inner
        return _padded_window(inner, left - start, top - first, self.side, pad)

    def _read_until(self, first: int, last: int) -> None:
        """Drop what ends above the row ``first``, and read whole bands until ``last`` is there."""
        tall = self.level.chunk[0]
        self.regions = [region for region in self.regions if region[1] + len(region[2]) > first]
        top = self.bottom if first < self.bottom else first // tall * tall
        self.bottom = min(self.level.height, top + -(-(last - top) // self.step) * self.step)
        for left, right in self._columns(top, self.bottom):
            pixels = self.slide.read_region(left, top, right - left, self.bottom - top, self.index)
            self.regions.append((left, top, pixels))

    def _columns(self, top: int, bottom: int) -> list[tuple[int, int]]:
        """Return which columns of the rows from top to bottom any window needs, in whole chunks."""
        wide = self.level.chunk[1]
        touching = (self.corners[:, 1] < bottom) & (self.corners[:, 1] + self.side > top)
        lefts = np.clip(self.corners[touching, 0], 0, None) // wide
        rights = -(-np.clip(self.corners[touching, 0] + self.side, 0, self.level.width) // wide)
        needed = np.zeros(-(-self.level.width // wide) + 1, dtype=np.int64)
        np.add.at(needed, lefts, 1)
        np.add.at(needed, rights, -1)
        edges = np.flatnonzero(np.diff((np.cumsum(needed) > 0).astype(np.int8), prepend=0))
        pairs = edges.reshape(-1, 2) * wide
        return [(int(left), min(int(right), self.level.width)) for left, right in pairs]


def off_slide(shape: tuple[int, ...], centers: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Tell which windows leave the image, (n,)."""
    corners = _corners(centers, side)
    leaves = (corners < 0) | (corners + side > (shape[1], shape[0]))  # (n, 2)
    return np.asarray(leaves.any(axis=1))


def _corners(centers: NDArray[np.float64], side: int) -> NDArray[np.int64]:
    """Return the left and top of every window, (n, 2)."""
    return np.floor(np.asarray(centers) + 0.5).astype(np.int64) - side // 2


def _padded_window(image: NDArray[np.uint8], left: int, top: int, side: int, pad: str) -> NDArray[np.uint8]:
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    height, width = image.shape[:2]
    window = image[np.ix_(_reflected(rows, height), _reflected(columns, width))]
    if pad == "constant":
        beyond = ((rows < 0) | (rows >= height))[:, None] | ((columns < 0) | (columns >= width))[None, :]
        window[beyond] = WHITE
    return window


def _reflected(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Fold indices back into an axis, as often as they leave it; the border is repeated."""
    folded = index % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def _resample(window: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    from PIL import Image

    # Pillow's bilinear filter widens with the reduction, so that it does not alias.
    return np.asarray(Image.fromarray(window).resize((size, size), Image.Resampling.BILINEAR))
