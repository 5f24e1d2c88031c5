"""The files that commands read and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
        adata.write_h5ad(draft)
