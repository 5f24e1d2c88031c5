"""The files that commands read and write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bleep_sc._output.disk import appears, require_room

if TYPE_CHECKING:
    from anndata import AnnData

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT_FILE = click.Path(dir_okay=False, path_type=Path)
OUT_FOLDER = click.Path(file_okay=False, path_type=Path)
NUM_WORKERS = click.option(
    "--num-workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read ahead."
)

ENCODER = click.option(
    "--encoder",
    default=None,
    help="Name of the encoder of the reference, where it is one of a hub: nothing is fetched from there unless named.",
)


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse to write where something is."""
    if out.exists() and not overwrite:
        raise click.UsageError(f"{out} exists already. Pass another --out, or --overwrite.")


def write_h5ad(adata: AnnData, out: Path) -> None:
    """Write an h5ad file; it appears, or is replaced, when it is complete."""
    with appears(out) as draft:
        # HDF5 crashes where the disk turns out to be full, and says nothing.
        require_room(draft.parent, adata.__sizeof__() + _nbytes(adata.uns), out.name)
        adata.write_h5ad(draft)


def _nbytes(part: Any) -> int:
    """Return the size of the arrays in ``uns``."""
    return sum(map(_nbytes, part.values())) if isinstance(part, Mapping) else int(getattr(part, "nbytes", 0))
