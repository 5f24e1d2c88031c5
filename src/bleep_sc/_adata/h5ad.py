"""An h5ad file of others, read whole or refused with one message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bleep_sc._output.damage import damaged, undamaged
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from anndata import AnnData

MOST = 5000
"""How many times smaller than its values compression makes an array, at most."""
SMALL = 2**26
"""Bytes below which an array may be of any shape."""


def read_h5ad(path: str | Path) -> AnnData:
    """Read an h5ad file, or say that it is damaged: before memory is taken for what its headers claim to hold."""
    from anndata import read_h5ad as read

    place = repr(str(path))
    try:
        with undamaged(place, "the file", Exception):
            claims = _claims(Path(path))
    except BlockingIOError as error:
        raise BlockingIOError(f"{place} is open for writing in another process. Wait until it is closed.") from error
    if claims:
        raise damaged(place, f"{listed(claims, 3)} claim more values than the file can hold")
    with undamaged(place, "the file", Exception):  # of HDF5 and of anndata
        return read(path)


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
