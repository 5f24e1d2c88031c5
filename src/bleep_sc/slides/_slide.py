"""A slide, wherever its pixels come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

IN_MEMORY = "array"
"""Name of a slide that is no file."""
THUMBNAIL_BYTES = 64 * 2**20
"""Of full-resolution pixels that are held at once for a thumbnail."""


@dataclass(frozen=True)
class Level:
    """One resolution of a slide."""

    width: int
    height: int
    downsample: float
    """Full-resolution px per px of this level."""
    chunk: tuple[int, int]
    """Height and width of what is decoded at once, px; regions on its grid cost least."""


@dataclass(frozen=True)
class Slide:
    """An H&E image of any size: its levels, µm per px, and regions of it as RGB arrays.

    Made by :func:`bleep_sc.slides.open_slide`; a context manager that closes the file.

    Examples
    --------
    >>> with bs.slides.open_slide(np.zeros((100, 120, 3), dtype=np.uint8)) as slide:
    ...     slide.width, slide.height, slide.read_region(0, 0, 20, 10).shape
    (120, 100, (10, 20, 3))
    """

    name: str
    """Path, or ``"array"``."""
    levels: tuple[Level, ...]
    """Full resolution first."""
    mpp: float
    """µm per full-resolution px, as the file says; NaN where it does not."""
    mpp_source: str
    """Where that is from, or why it is not known."""
    read: Callable[[int, int, int, int, int], NDArray[np.uint8]] = field(repr=False)
    """Of the file format: read a region (level, x, y, width, height) that lies inside."""
    release: Callable[[], None] = field(repr=False, default=lambda: None)
    """Of the file format: close the file."""
    reopen: Callable[[], Slide] | None = field(repr=False, default=None)
    """Of the file format: open the slide anew, to be read once from top to bottom in the cheapest way."""
    preview: Callable[[int], NDArray[np.uint8]] | None = field(repr=False, default=None)
    """Of the file format: a thumbnail that costs less than reading the slide."""

    @property
    def width(self) -> int:
        """Of the full resolution, px."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Of the full resolution, px."""
        return self.levels[0].height

    def read_region(self, x: int, y: int, width: int, height: int, level: int = 0) -> NDArray[np.uint8]:
        """Return a region as RGB, (height, width, 3); all four are px of the level, and the region lies inside it."""
        of = self.levels[level]
        if min(x, y) < 0 or min(width, height) < 1 or x + width > of.width or y + height > of.height:
            raise ValueError(
                f"The region x={x}, y={y}, width={width}, height={height} leaves level {level} of {self.name!r}, which "
                f"is {of.width} px wide and {of.height} px high."
            )
        return self.read(level, x, y, width, height)

    @contextmanager
    def top_to_bottom(self) -> Iterator[Slide]:
        """Give the slide as it is read cheapest when that is done once, from top to bottom."""
        if self.reopen is None:
            yield self
        else:
            with self.reopen() as opened:
                yield opened

    def thumbnail(self, longest: int = 1000) -> NDArray[np.uint8]:
        """Return the slide scaled down to a longest side in px, or as it is where it is smaller."""
        return _thumbnail(self, longest) if self.preview is None else self.preview(longest)

    def close(self) -> None:
        """Close the file."""
        self.release()

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def absolute(name: str) -> str:
    """Return the name of a slide as it can be opened from everywhere, or refuse one that no file could note."""
    if name == IN_MEMORY:
        return name
    path = str(Path(name).resolve())
    if any("\ud800" <= letter <= "\udfff" for letter in path):
        raise ValueError(
            f"The path '{path.encode('utf-8', 'backslashreplace').decode()}' holds bytes that are no text, which h5ad "
            "and zarr cannot note. Rename the file or its folder."
        )
    return path


def scaled_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Return width and height scaled down to a longest side; at least 1, and never enlarged."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _thumbnail(slide: Slide, longest: int) -> NDArray[np.uint8]:
    """Average boxes of the smallest level that is large enough, band by band."""
    from PIL import Image

    width, height = scaled_size(slide.width, slide.height, longest)
    index = max(
        i for i, level in enumerate(slide.levels) if i == 0 or (level.width >= width and level.height >= height)
    )
    level = slide.levels[index]
    box = max(1, min(level.width // width, level.height // height))
    rows_at_once = max(box, THUMBNAIL_BYTES // (3 * level.width) // box * box)
    parts = []
    with slide.top_to_bottom() as pass_:
        for top in range(0, level.height, rows_at_once):
            band = pass_.read_region(0, top, level.width, min(rows_at_once, level.height - top), index)
            parts.append(np.asarray(Image.fromarray(band).reduce(box)))
    return np.asarray(Image.fromarray(np.concatenate(parts)).resize((width, height), Image.Resampling.BOX))
