"""Patches that are not in memory: in a zarr store, or still in their slides. They are read in the cheapest order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import slices
from bleep_sc.slides._open import open_slide
from bleep_sc.slides._patches import read_patches
from bleep_sc.slides._stains import restain
from bleep_sc.slides._store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from bleep_sc.slides._patches import Pad
    from bleep_sc.slides._stains import Stains


@dataclass(frozen=True)
class StoredPatches:
    """Rows of stores that :func:`bleep_sc.slides._store.write_store` wrote; plain data, so that workers can have it."""

    paths: tuple[str, ...]
    """The stores."""
    which: NDArray[np.intp]
    """Store of every patch, (n,)."""
    rows: NDArray[np.intp]
    """Its row there, (n,)."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    @cached_property
    def _arrays(self) -> list[Any]:
        return [open_store(path) for path in self.paths]

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "which": self.which, "rows": self.rows}  # every process opens its own files

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        size = self._arrays[0].shape[1]
        return len(self), size, size, 3

    def take(self, rows: NDArray[Any]) -> StoredPatches:
        """Return some of the patches, unread; ``rows`` are indices or a mask."""
        return replace(self, which=self.which[rows], rows=self.rows[rows])

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        rows, *inside_patches = index if isinstance(index, tuple) else (index,)  # dask asks for all axes
        which, wanted = np.atleast_1d(self.which[rows]), np.atleast_1d(self.rows[rows])
        patches = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        for store, array in enumerate(self._arrays):
            inside = np.flatnonzero(which == store)
            inside = inside[np.argsort(wanted[inside], kind="stable")]
            # zarr's own fancy indexing takes ten times as long as one by one; neighbours are read together.
            for run in np.split(inside, np.flatnonzero(np.diff(wanted[inside]) != 1) + 1):
                if len(run):
                    patches[run] = array[int(wanted[run[0]]) : int(wanted[run[-1]]) + 1]
        return patches[(slice(None), *inside_patches)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return self[:]

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Give positions and patches in the order in which they are stored."""
        order = np.lexsort((self.rows, self.which))
        for part in slices(len(order), batch_size):
            yield order[part], self[order[part]]


@dataclass(frozen=True)
class CutPatches:
    """Windows of slide files, which are cut whenever they are read."""

    paths: tuple[str, ...]
    """The slides."""
    sides: tuple[int, ...]
    """Side of the windows on each, full-resolution px."""
    which: NDArray[np.intp]
    """Slide of every patch, (n,)."""
    centers: NDArray[np.float64]
    """(x, y), full-resolution px, (n, 2)."""
    size: int
    """Side of the patches, px."""
    pad: Pad
    """What lies beyond the slide."""
    levels: tuple[int, ...]
    """Which level of each slide the windows are read from."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __len__(self) -> int:
        return len(self.centers)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        return len(self), self.size, self.size, 3

    def take(self, rows: NDArray[Any]) -> CutPatches:
        """Return some of the patches, uncut; ``rows`` are indices or a mask."""
        return replace(self, which=self.which[rows], centers=self.centers[rows])

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        some = self.take(np.atleast_1d(np.arange(len(self))[rows]))
        patches = np.empty(some.shape, dtype=np.uint8)
        for positions, batch in some.batches(64):
            patches[positions] = batch
        return patches

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return self[:]

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Give positions and patches, slide by slide from top to bottom."""
        for number, (path, side, level) in enumerate(zip(self.paths, self.sides, self.levels, strict=True)):
            inside = np.flatnonzero(self.which == number)
            if not len(inside):
                continue
            with open_slide(path) as slide:
                how: dict[str, Any] = {"side": side, "size": self.size, "pad": self.pad, "level": level}
                for rows, patches in read_patches(slide, self.centers[inside], batch_size=batch_size, **how):
                    yield inside[rows], patches


@dataclass(frozen=True)
class ComputedPatches:
    """Patches in a dask array that nothing is known of."""

    array: Any
    """(n, size, size, 3) uint8."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        return tuple(self.array.shape)

    def take(self, rows: NDArray[Any]) -> ComputedPatches:
        """Return some of the patches, not computed yet; ``rows`` are indices or a mask."""
        return ComputedPatches(self.array[rows])

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        return np.asarray(self.array[rows])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return self[:]

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Give positions and patches in their order."""
        for part in slices(len(self), batch_size):
            yield np.arange(part.start, part.stop), self[part]


@dataclass(frozen=True)
class RestainedPatches:
    """Patches that are carried to other stains whenever they are read."""

    source: Any
    """The patches as they are, unread."""
    which: NDArray[np.intp]
    """Slide of every patch, (n,)."""
    own: tuple[Stains, ...]
    """The stains of each slide."""
    target: Stains
    """Those that the patches get."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __len__(self) -> int:
        return len(self.which)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        n, height, width, channels = self.source.shape
        return n, height, width, channels

    def take(self, rows: NDArray[Any]) -> RestainedPatches:
        """Return some of the patches, unread; ``rows`` are indices or a mask."""
        return replace(self, source=self.source.take(rows), which=self.which[rows])

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        rows, *inside_patches = index if isinstance(index, tuple) else (index,)  # dask asks for all axes
        rows = np.atleast_1d(np.arange(len(self))[rows])
        return self._restained(rows, self.source[rows])[(slice(None), *inside_patches)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return self[:]

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Give positions and patches in the order of the source."""
        for rows, patches in self.source.batches(batch_size):
            yield rows, self._restained(rows, patches)

    def _restained(self, rows: NDArray[np.intp], patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
        result, slides = np.empty_like(patches), self.which[rows]
        for part in slices(len(patches), 64):  # bounds the memory for decimals
            for slide in np.unique(slides[part]):
                inside = part.start + np.flatnonzero(slides[part] == slide)
                result[inside] = restain(patches[inside], self.own[slide], self.target)
        return result
