"""Features of a frozen encoder on disk, computed block by block, by one process or by several."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import slices
from bleep_sc._arrays.unread import subset
from bleep_sc._output.disk import complete, draft_of, draft_path, is_complete
from bleep_sc._output.locks import held
from bleep_sc._output.messages import logger, progress
from bleep_sc._output.room import room
from bleep_sc.models.encode import encode
from bleep_sc.training.processes.shares import require_meeting, together

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

    from bleep_sc._arrays.unread import Unread
    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.processes.group import Processes

BLOCK = 4096
"""Rows in a file: what is computed again after a process was killed, at most."""
FEATURES, DONE = "features", "done"


def store_features(
    path: str | Path,
    encoder: Encoder,
    patches: NDArray[np.uint8] | Unread,
    *,
    recipe: dict[str, Any],
    device: str | torch.device = "cpu",
    show_progress_bar: bool = True,
    **how: Any,
) -> Path:
    """Write features (n, d) to a store, or go on where an interrupted call was.

    They are written beside ``path``, which appears when all of them are there. Processes that a launcher started call
    this with the same arguments; each computes every n-th block, and all return when the last one is written.

    Parameters
    ----------
    path
        The folder to make.
    encoder, patches, device, **how
        As in :func:`bleep_sc.models.encode.encode`.
    recipe
        What the features depend on. A store, finished or not, of another recipe is never taken for this one.
    show_progress_bar
        Whether to show a bar.

    Returns
    -------
    Where the zarr array of the features is.

    Raises
    ------
    FileExistsError
        When ``path`` is something else, features of another recipe were begun there, or others are writing them.
    ValueError
        When processes were given different things.
    OSError
        When the disk is full; what was written is kept, and the next call goes on from there.
    """
    require_meeting()
    path = Path(path)
    with together() as (processes, wait):
        processes.require_same({"store": str(path), **recipe})
        if processes.first_says(is_complete(path, recipe, "features")):
            logger.info("The features in %s are complete already.", path)
            return path / FEATURES
        with held(path) if processes.is_first else nullcontext():
            if not processes.first_says(is_complete(path, recipe, "features")):  # by now, by others
                how = {"device": device, **how}
                _write(path, encoder, patches, recipe, processes, wait, show_progress_bar, how)
    return path / FEATURES


def _write(
    path: Path,
    encoder: Encoder,
    patches: NDArray[np.uint8] | Unread,
    recipe: dict[str, Any],
    processes: Processes,
    wait: Callable[[], None],
    show_progress_bar: bool,
    how: dict[str, Any],
) -> None:
    import zarr

    n = len(patches)
    blocks = slices(n, BLOCK)
    device = how["device"]

    def begin(draft: Path) -> None:
        width = encode(encoder, subset(patches, np.arange(min(1, n))), device=device, show_progress_bar=False).shape[1]
        zarr.create_array(draft / FEATURES, shape=(n, width), chunks=(min(BLOCK, n), width), dtype=np.float32)
        (draft / DONE).mkdir()

    if processes.is_first:
        draft_of(path, recipe, begin, "features")
    wait()
    draft = draft_path(path)
    array = zarr.open_array(draft / FEATURES, mode="r+")
    mine = range(processes.rank, len(blocks), processes.n)
    left = [block for block in mine if not (draft / DONE / str(block)).exists()]
    if len(left) < len(mine):
        logger.info("%d of %d blocks of features are in %s.", len(mine) - len(left), len(mine), draft)
    placed = copy.deepcopy(encoder).eval().to(device)  # once for all blocks
    needed = f"{len(left) * BLOCK * array.shape[1] * 4 / 2**20:,.0f} MiB at most"
    with room(lambda: f"Blocks that are done are kept in {str(draft)!r}: make room for {needed} and call again."):
        for block in progress(left, "Encoding patches", show=show_progress_bar and processes.is_first):
            some = subset(patches, np.arange(n)[blocks[block]])
            array[blocks[block]] = encode(placed, some, show_progress_bar=False, **how)
            (draft / DONE / str(block)).touch()  # last: a block with such a file is whole
    wait()
    if processes.is_first:
        complete(path)
