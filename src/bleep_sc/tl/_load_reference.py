from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.tl._models.in_uns import model_record
from bleep_sc.tl._sharing.files import REFERENCE_FILE, require_reference

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def load_reference(path: str | Path) -> AnnData:
    """Read a reference that :func:`bleep_sc.tl.share_reference` wrote.

    Parameters
    ----------
    path
        The folder. One on the Hugging Face Hub is downloaded first:
        ``path = huggingface_hub.snapshot_download("owner/name")``.

    Returns
    -------
    An AnnData for ``ref=`` of :func:`bleep_sc.tl.impute` and :func:`bleep_sc.pp.tile_slide`. Nothing is unpickled: the
    model is read from safetensors and JSON, the rest from HDF5.

    Raises
    ------
    FileNotFoundError
        When the folder is not complete.
    ValueError
        When a newer version of bleep_sc wrote it.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.share_reference`:

    >>> shared = bs.tl.load_reference("toy_reference")
    >>> bs.tl.impute(adata_query, ref=shared)
    >>> bs.tl.load_model(shared).description.genes == bs.tl.load_model(adata_ref).description.genes
    True
    """
    from anndata import read_h5ad

    from bleep_sc.models.saved import read_folder

    path = require_reference(path)
    description, weights = read_folder(path)
    adata = read_h5ad(path / REFERENCE_FILE)
    key = next(name for name, entry in adata.uns.items() if isinstance(entry, dict) and "history" in entry)
    adata.uns[key] = {**model_record(description, weights), **adata.uns[key]}
    return adata
