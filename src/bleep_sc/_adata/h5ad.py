"""An h5ad file of others, read whole or refused with one message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bleep_sc._output.damage import damaged, undamaged
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from anndata import AnnData

HDF5, H5AD = b"\x89HDF\r\n\x1a\n", (".h5ad", ".h5")
"""How HDF5 begins, and how names of h5ad files end; what ends so, and does not begin so, is damaged."""
KINDS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "a TIFF image"),
    b"\x1f\x8b": "a compressed file (gzip)",
    b"PK\x03\x04": "a ZIP archive, or a document of Office",
    b"%PDF": "a PDF",
    b"<!doctype html": "a web page",
}
"""What else a file is, by how it begins."""
MOST = 5000
"""How many times smaller than its values compression makes an array, at most."""
SMALL = 2**26
"""Bytes below which an array may be of any shape."""


def read_h5ad(path: str | Path, *, lazy: bool = False) -> AnnData:
    """Read an h5ad file, or say that it is damaged: before memory is taken for what its headers claim to hold.

    With ``lazy`` arrays stay on disk, and are read when they are asked for; columns of obs and var are read.
    """
    from anndata import read_h5ad as read
    from anndata.experimental import read_lazy

    place = repr(str(path))
    if kind := _other_kind(Path(path)):
        raise ValueError(f"{place} is {kind}, and no h5ad file. Were two files given in each other's place?")
    try:
        with undamaged(place, "the file", Exception):
            claims = _claims(Path(path))
    except BlockingIOError as error:
        raise BlockingIOError(f"{place} is open for writing in another process. Wait until it is closed.") from error
    if claims:
        raise damaged(place, f"{listed(claims, 3)} claim more values than the file can hold")
    with undamaged(place, "the file", Exception):  # of HDF5 and of anndata
        if not lazy:
            return read(path)
        adata = read_lazy(path)
        adata.obs, adata.var = adata.obs.to_memory(), adata.var.to_memory()
        return adata


def values_bytes(path: str | Path) -> int:
    """Return how many bytes the arrays of an h5ad file take in memory; 0 of what is none."""
    import h5py

    sizes: list[int] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems(lambda _, part: sizes.append(part.nbytes) if isinstance(part, h5py.Dataset) else None)
    except OSError:  # which is said by who reads it
        return 0
    return sum(sizes)


def _other_kind(path: Path) -> str:
    """Return what a file is by how it begins, or by how its name ends, where that is something else; else nothing."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        begin = file.read(16)
    if begin.startswith(HDF5):
        return ""
    known = (kind for start, kind in KINDS.items() if begin.startswith(start))
    ending = path.suffix.lower()
    return next(known, "" if ending in H5AD else f"a {ending or 'nameless kind of'} file")


def _claims(path: Path) -> list[str]:
    """Return the arrays whose shapes are far larger than what is stored of them."""
    import h5py

    size, found = path.stat().st_size, []

    def look(name: str, part: object) -> None:
        if isinstance(part, h5py.Dataset) and part.shape is not None and part.nbytes > SMALL:
            stored = part.id.get_storage_size()
            if stored > size or part.nbytes > MOST * stored:
                found.append(name)

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return found
