"""The files that commands read and write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bleep_sc._output.disk import appears, is_there, require_room

if TYPE_CHECKING:
    from anndata import AnnData

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT_FILE = click.Path(dir_okay=False, path_type=Path)
OUT_FOLDER = click.Path(file_okay=False, path_type=Path)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what is there.")
OF_STORES = ("zarr.json", ".zgroup", ".zattrs")
"""Files that tell a store from other folders."""
NUM_WORKERS = click.option(
    "--num-workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read ahead."
)
DEVICE = click.option(
    "--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1 or mps."
)
ENCODER = click.option(
    "--encoder",
    multiple=True,
    help="Name of the encoder of the reference, where it is one of a hub: nothing is fetched from there unless named. "
    "May be given several times.",
)


def require_ending(out: Path, ending: str) -> None:
    """Refuse a name that says another kind of file than is written."""
    if out.suffix.lower() != ending:
        right = out.with_suffix(ending).name
        raise click.BadParameter(f"{out} must end in {ending}, as {right}.", param_hint="--out")


def require_unread(*outs: Path, reads: Iterable[Path | None]) -> None:
    """Refuse to replace what is read, asked for or not: by its name, by a link, or as the folder that it lies in."""
    read: dict[Path | tuple[int, int], Path] = {}  # by path, by the folders above, and by number
    for each in reads:
        if each is not None:
            whole = each.resolve()
            read |= dict.fromkeys((whole, *whole.parents, *_number(each)), each)
    for out in outs:
        for place in (out.resolve(), *_number(out)):
            if place in read:
                raise click.UsageError(f"{out} would replace {read[place]}, which is read. Pass another --out.")


def _number(path: Path) -> list[tuple[int, int]]:
    """Return what a file system knows a file by, whatever its names are, where it is there."""
    if not path.exists():
        return []
    said = path.stat()
    return [(said.st_dev, said.st_ino)]


def require_free(*files: Path, store: Path | None = None, overwrite: bool) -> None:
    """Refuse to write where something is, unless it is to be replaced; then too, where it is of another kind."""
    for out in (*files, *([] if store is None else [store])):
        if is_there(out) and not overwrite:
            raise click.UsageError(f"{out} exists already. Pass another --out, or --overwrite.")
        if out.exists() and out.is_dir() != (out == store):
            kind = "folder" if out.is_dir() else "file"
            raise click.UsageError(f"{out} is a {kind}, and is not replaced. Pass another --out.")
        if out.is_dir() and any(out.iterdir()) and not any((out / name).is_file() for name in OF_STORES):
            raise click.UsageError(f"{out} is a folder and no zarr store, and is not replaced. Pass another --out.")


def beside(store: Path, *, geojson: bool) -> list[Path]:
    """Return the files beside the store of a slide: its page, its picture, its outlines, and what QuPath runs."""
    ends = (".html", ".png", ".geojson", ".groovy")[: 2 + 2 * geojson]
    return [store.with_name(store.name.removesuffix(".zarr") + end) for end in ends]


def write_h5ad(adata: AnnData, out: Path, *, replace: bool = True, **how: Any) -> None:
    """Write an h5ad file; it appears, or is replaced, when it is complete."""
    with appears(out, replace=replace) as draft:
        # HDF5 crashes where the disk turns out to be full, and says nothing.
        require_room(draft.parent, adata.__sizeof__() + _nbytes(adata.uns), out.name)
        adata.write_h5ad(draft, **how)


def _nbytes(part: Any) -> int:
    """Return the size of the arrays in ``uns``."""
    return sum(map(_nbytes, part.values())) if isinstance(part, Mapping) else int(getattr(part, "nbytes", 0))
