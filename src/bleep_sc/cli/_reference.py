"""``--ref`` of every command: a file, a folder that was shared, or the name of a reference that is published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import bleep_sc as bs
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._output.disk import is_there
from bleep_sc._published.references import NAME

if TYPE_CHECKING:
    from anndata import AnnData

GIVEN = "an h5ad file that bleep-sc fit trained, a folder of bleep-sc share, or the name of one that is published."


def reference(value: str) -> Path | str:
    """Return the path of what is here, or a name as it is where nothing is; which names there are is asked later."""
    if is_there(Path(value)):
        return Path(value)
    if not NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} does not exist.")
    return value


REFERENCE = click.types.FuncParamType(reference)


def read_reference(ref: Path | str) -> AnnData:
    """Read a reference, of which a name is downloaded first."""
    return read_h5ad(ref) if Path(ref).is_file() else bs.tl.load_reference(ref)


def files_of(ref: Path | str | None) -> list[Path]:
    """Return what is read of a reference that is here, and must not be replaced."""
    return [ref, *(ref.iterdir() if ref.is_dir() else ())] if isinstance(ref, Path) else []
