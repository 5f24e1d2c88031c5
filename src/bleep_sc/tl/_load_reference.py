from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._output.damage import damaged
from bleep_sc._output.disk import is_there
from bleep_sc._output.messages import listed
from bleep_sc.tl._models.in_uns import model_record

if TYPE_CHECKING:
    from anndata import AnnData

REFERENCE_FILE, CARD_FILE = "reference.h5ad", "README.md"


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
        When a file is damaged, or a newer version of bleep_sc wrote it.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.share_reference`:

    >>> shared = bs.tl.load_reference("toy_reference")
    >>> bs.tl.impute(adata_query, ref=shared)
    >>> bs.tl.load_model(shared).description.genes == bs.tl.load_model(adata_ref).description.genes
    True
    """
    from bleep_sc.models.saved import read_folder

    path = require_reference(path)
    description, weights = read_folder(path)
    adata = read_h5ad(path / REFERENCE_FILE)
    named = [name for name, entry in adata.uns.items() if isinstance(entry, dict) and "history" in entry]
    if not named:
        raise damaged(repr(str(path / REFERENCE_FILE)), f"no model is named in its uns ({listed(adata.uns)})")
    key = named[0]
    adata.uns[key] = {**model_record(description, weights), **adata.uns[key]}
    return adata


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
