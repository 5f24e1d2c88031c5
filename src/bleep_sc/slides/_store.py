"""Patches on disk: a sharded zarr array in the order in which they were cut, which is there when it is complete."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import slices
from bleep_sc._output.disk import RECIPE, complete, draft_of, is_complete, read_json, write_json
from bleep_sc._output.locks import held
from bleep_sc._output.messages import logger
from bleep_sc._output.room import room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SHARD = 256
"""Patches in a file."""
PROGRESS = "progress.json"


def write_store(
    path: str | Path,
    cut: Callable[[int], Iterator[NDArray[np.uint8]]],
    *,
    n: int,
    size: int,
    recipe: dict[str, Any],
) -> None:
    """Write patches to a store, or go on where an interrupted call was.

    They are written beside ``path``, which appears when all of them are there.

    Parameters
    ----------
    path
        The folder to make.
    cut
        Called with how many patches there are already; gives the others in order, in batches (b, size, size, 3).
    n, size
        How many patches, and their side in px.
    recipe
        What the patches depend on. A store, finished or not, of another recipe is never taken for this one.

    Raises
    ------
    FileExistsError
        When ``path`` is something else, patches of another recipe were begun there, or another process writes them.
    OSError
        When the disk is full; what was written is kept, and the next call goes on from there.
    """
    path = Path(path)
    if not is_complete(path, recipe, "patches"):
        with held(path):
            if not is_complete(path, recipe, "patches"):  # by now, since another process has written it
                _write(path, cut, n, size, recipe)
            return
    logger.info("The patches in %s are complete already.", path)


def _write(
    path: Path, cut: Callable[[int], Iterator[NDArray[np.uint8]]], n: int, size: int, recipe: dict[str, Any]
) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    def begin(draft: Path) -> None:
        shape, chunk = (n, size, size, 3), (1, size, size, 3)
        zarr.create_array(
            draft / "patches",
            shape=shape,
            chunks=chunk,
            shards=(SHARD, *chunk[1:]),
            dtype=np.uint8,
            compressors=ZstdCodec(level=1),
        )

    draft = draft_of(path, recipe, begin, "patches")
    done = int((read_json(draft / PROGRESS) or {"done": 0})["done"])
    if done:
        logger.info("Going on after %d of %d patches in %s.", done, n, draft)
    array = zarr.open_array(draft / "patches", mode="r+")

    def remedy() -> str:
        left = (n - done) * size * size * 3 / 2**20
        kept = f"{done} of {n} patches are kept in {str(draft)!r}"
        return f"{kept}: make room for {left:,.0f} MiB at most and call again, or remove that folder."

    with room(remedy):
        for shard in _shards(cut(done)):
            array[done : done + len(shard)] = shard
            done += len(shard)
            write_json(draft / PROGRESS, {"done": done})
    if done != n:
        raise RuntimeError(f"{done} of {n} patches were cut.")
    complete(path)


def open_store(path: str | Path) -> Any:
    """Open a finished store as a zarr array, (n, size, size, 3)."""
    import zarr

    path = Path(path)
    if not (path / RECIPE).is_file():
        raise FileNotFoundError(
            f"No store of patches at {str(path)!r}. If it was moved, set adata.uns['patches'][library]['store']; or "
            "cut the patches again with bleep_sc.pp.extract_patches(adata, store=...)."
        )
    return zarr.open_array(path / "patches", mode="r")


def recipe_hash(arrays: list[NDArray[Any]]) -> str:
    """Hash arrays for a recipe."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _shards(batches: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Collect batches into whole files, since a part of one is written as slowly as the whole."""
    waiting: list[NDArray[np.uint8]] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= SHARD:
            joined = np.concatenate(waiting)
            whole = len(joined) // SHARD * SHARD
            yield from (joined[part] for part in slices(whole, SHARD))
            waiting = [joined[whole:]]
    if sum(map(len, waiting)):
        yield np.concatenate(waiting)
