from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bleep_sc._adata.h5ad import read_h5ad, values_bytes
from bleep_sc._output.damage import damaged
from bleep_sc._output.disk import is_there
from bleep_sc._output.messages import listed
from bleep_sc._published.references import NAME, published
from bleep_sc.tl._models.in_uns import model_record

if TYPE_CHECKING:
    from anndata import AnnData

REFERENCE_FILE, CARD_FILE = "reference.h5ad", "README.md"


def load_reference(path: str | Path, *, lazy: bool | None = None) -> AnnData:
    """Read a reference that :func:`bleep_sc.tl.share_reference` wrote, from its folder or by its published name.

    Parameters
    ----------
    path
        The folder; or the name of a reference that is published, of those that :func:`bleep_sc.datasets.references`
        lists. Its files are downloaded once, and checked. One on the Hugging Face Hub that is in no index is downloaded
        first: ``path = huggingface_hub.snapshot_download("owner/name")``.
    lazy
        Leave expression and embeddings on disk, from which :func:`bleep_sc.tl.impute` reads them block by block. None:
        where they would take more than half of the memory that is free.

    Returns
    -------
    An AnnData for ``ref=`` of :func:`bleep_sc.tl.impute` and :func:`bleep_sc.pp.tile_slide`. Nothing is unpickled: the
    model is read from safetensors and JSON, the rest from HDF5.

    Raises
    ------
    FileNotFoundError
        When the folder is not complete.
    OSError
        When there is no such folder, and the index or a file of the reference cannot be downloaded.
    ValueError
        When a file is damaged, a newer version of bleep_sc wrote it, or the index knows no reference of that name.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.share_reference`:

    >>> shared = bs.tl.load_reference("toy_reference")
    >>> bs.tl.impute(adata_query, ref=shared)
    >>> bs.tl.load_model(shared).description.genes == bs.tl.load_model(adata_ref).description.genes
    True

    One that is published:

    >>> shared = bs.tl.load_reference("mouse-olfactory-bulb")  # doctest: +SKIP
    """
    from bleep_sc.models.saved import read_folder

    folder = reference_folder(path)
    description, weights = read_folder(folder)
    file = folder / REFERENCE_FILE
    adata = read_h5ad(file, lazy=_is_large(file) if lazy is None else lazy)
    named = [name for name, entry in adata.uns.items() if isinstance(entry, Mapping) and "history" in entry]
    if not named:
        raise damaged(repr(str(file)), f"no model is named in its uns ({listed(adata.uns)})")
    key = named[0]
    adata.uns[key] = {**model_record(description, weights), **adata.uns[key]}
    return adata


def _is_name(path: str | Path) -> bool:
    """Tell whether the name of a published reference is meant: no folder is there, and none can be meant."""
    return isinstance(path, str) and NAME.fullmatch(path) is not None and not is_there(Path(path))


def _is_large(file: Path) -> bool:
    """Tell whether what is in a file takes more than half of the memory that is free."""
    return values_bytes(file) > psutil.virtual_memory().available / 2


def reference_folder(path: str | Path) -> Path:
    """Return the folder of a shared reference, downloaded where its name is given."""
    return require_reference(published(str(path)).folder() if _is_name(path) else path)


def require_reference(path: str | Path) -> Path:
    """Return the folder of a shared reference, or say what is missing."""
    from bleep_sc.models.saved import DESCRIPTION_FILE, WEIGHTS_FILE

    path = Path(path)
    is_there(path)
    expected = (REFERENCE_FILE, WEIGHTS_FILE, DESCRIPTION_FILE, CARD_FILE)
    missing = [name for name in expected if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{str(path)!r} is no shared reference: {', '.join(missing)} not found in it. "
            "bleep_sc.tl.share_reference(adata_ref, path) writes one; one on the Hugging Face Hub is downloaded by "
            'huggingface_hub.snapshot_download("owner/name"), which returns its folder.'
        )
    return path
