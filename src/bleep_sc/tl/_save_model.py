from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.tl._load_model import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from torch import nn


def save_model(
    adata: AnnData,
    path: str | Path,
    key: str = "bleep",
    *,
    encoder: str | nn.Module | None = None,
    overwrite: bool = False,
) -> None:
    """Save the model that a ``tl.fit*`` function left in a reference as a folder of its own.

    A reference holds its model, so ``adata.write_h5ad`` keeps both; this is for the model alone.
    :func:`bleep_sc.tl.load_model` reads it back, and :func:`bleep_sc.tl.share_reference` gives it away with what
    predictions are read off.

    Parameters
    ----------
    adata
        The reference.
    path
        The folder, which appears when it is complete.
    key
        Key of the model in ``uns``.
    encoder
        As in :func:`bleep_sc.tl.load_model`.
    overwrite
        Replace a saved model that is there.

    Returns
    -------
    None. In the folder are ``model.safetensors``, the weights, and ``model.json``, what it is; nothing is pickled.

    Raises
    ------
    FileExistsError
        When there is such a folder, or one that holds something else.
    KeyError
        When ``adata`` holds no model.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.save_model(adata_ref, "liver_model", overwrite=True)
    >>> bs.tl.load_model("liver_model").description.method
    'bleep'
    """
    from bleep_sc.models.saved import save

    save(load_model(adata, key, encoder=encoder), path, overwrite=overwrite)
