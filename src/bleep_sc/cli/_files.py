"""The files that commands read and write."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bleep_sc._disk import appears

if TYPE_CHECKING:
    from anndata import AnnData

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT_FILE = click.Path(dir_okay=False, path_type=Path)
OUT_FOLDER = click.Path(file_okay=False, path_type=Path)


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse to write where something is."""
    if out.exists() and not overwrite:
        raise click.UsageError(f"{out} exists already. Pass another --out, or --overwrite.")


def write_h5ad(adata: AnnData, out: Path) -> None:
    """Write an h5ad file; it appears, or is replaced, when it is complete."""
    with appears(out) as draft:
        # HDF5 crashes where the disk turns out to be full, and says nothing.
        needed, free = adata.__sizeof__() + _nbytes(adata.uns), shutil.disk_usage(out.parent).free
        if needed > free:
            room = f"{out.name} takes some {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} are free"
            raise OSError(errno.ENOSPC, f"No space left on device: {room}")
        adata.write_h5ad(draft)


def _nbytes(part: Any) -> int:
    """Return the size of the arrays in ``uns``."""
    return sum(map(_nbytes, part.values())) if isinstance(part, Mapping) else int(getattr(part, "nbytes", 0))
