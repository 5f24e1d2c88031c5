"""Cutting the patches of several slides one after another, into memory or into a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bleep_sc import slides
from bleep_sc.slides._lazy import StoredPatches
from bleep_sc.slides._patches import reading_order
from bleep_sc.slides._store import recipe_hash, write_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BLOCK = 64
"""Patches in a block of the dask array over a store."""
DECISIVE = ("size", "side_px", "pad", "level")
"""What of a record decides on the pixels of a patch; of stores, that of the full resolution is not said."""


@dataclass(frozen=True)
class Part:
    """The spots of one slide."""

    source: Any
    rows: NDArray[np.intp]
    side: int
    level: int


def cut(
    parts: list[Part], centers: NDArray[np.float64], *, size: int, pad: Literal["reflect", "constant"], done: int = 0
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
    """Cut slide after slide, leaving out the first ``done`` patches; give rows of the AnnData and their patches."""
    for part in parts:
        if done >= len(part.rows):
            done -= len(part.rows)
            continue
        with slides.open_slide(part.source) as slide:
            order = reading_order(slide, centers[part.rows], part.side, part.level)
            rows, done = part.rows[order[done:]], 0
            how: dict[str, Any] = {"side": part.side, "size": size, "pad": pad, "level": part.level}
            for chosen, patches in slides.read_patches(slide, centers[rows], **how):
                yield rows[chosen], patches


def write(
    store: Path,
    parts: list[Part],
    centers: NDArray[np.float64],
    cutting: Callable[..., Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]],
    records: dict[str, dict[str, Any]],
    size: int,
) -> NDArray[np.int64]:
    """Write the patches to a store, and return the row of every spot there; -1 for those without a patch."""
    stored_at = np.full(len(centers), -1, dtype=np.int64)
    order = []
    for part in parts:
        with slides.open_slide(part.source) as slide:
            order.append(part.rows[reading_order(slide, centers[part.rows], part.side, part.level)])
    joined = np.concatenate(order)
    stored_at[joined] = np.arange(len(joined))
    recipe = {
        "slides": {
            name: {key: record[key] for key in DECISIVE if record[key] != 0} for name, record in records.items()
        },
        "images": [_identity(part.source) for part in parts],
        "centers": recipe_hash([centers[joined]]),
    }
    write_store(
        store,
        lambda done: (patches for _, patches in cutting(done=done)),
        n=len(joined),
        size=size,
        recipe=recipe,
    )
    return stored_at


def _identity(source: Any) -> list[Any]:
    """Return what tells an image from another one that has its name."""
    if not isinstance(source, str | Path):
        return [str(getattr(source, "name", "array")), recipe_hash([slides.open_slide(source).thumbnail(256)])]
    status = Path(source).stat()
    return [str(source), status.st_size, status.st_mtime_ns]


def as_dask(store: str | Path, rows: NDArray[np.int64]) -> Any:
    import dask.array as da

    stored = StoredPatches((str(Path(store).resolve()),), np.zeros(len(rows), dtype=np.intp), rows)
    chunks = (BLOCK, *stored.shape[1:])
    return da.from_array(stored, chunks=chunks, name=False, meta=np.empty((0, 0, 0, 0), dtype=np.uint8))
