"""Several things are written into an AnnData, or none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

FRAMES = ("obs", "var")
SLOTS = ("uns", "layers", "obsm", "varm", "obsp", "varp")


@contextmanager
def all_or_nothing(adata: AnnData) -> Iterator[None]:
    """Put everything back where the block fails or is interrupted; the block replaces values, and changes none."""
    attributes = dict(vars(adata))
    is_view = adata.is_view  # what is written to one makes it an object of its own, and its parent stays as it is
    frames = {} if is_view else {name: getattr(adata, name).copy(deep=False) for name in FRAMES}
    slots = {} if is_view else {name: dict(getattr(adata, name)) for name in SLOTS}
    try:
        yield
    except BaseException:
        vars(adata).clear()
        vars(adata).update(attributes)
        for name, frame in frames.items():
            setattr(adata, name, frame)
        for name, before in slots.items():
            slot = getattr(adata, name)
            for key in [key for key in slot if key not in before]:
                del slot[key]
            for key, value in before.items():
                if key not in slot or slot[key] is not value:
                    slot[key] = value
        raise
