from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bleep_sc._adata.checks import require_model
from bleep_sc.tl._models.in_uns import read_model

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.fitted import FittedModel


def load_model(
    reference: AnnData | str | Path, key: str = "bleep", *, encoder: str | nn.Module | None = None
) -> FittedModel:
    """Build the model that a ``tl.fit*`` function left in a reference, or that was saved in a folder.

    Parameters
    ----------
    reference
        The reference; or the folder that :func:`bleep_sc.tl.save_model` or :func:`bleep_sc.tl.share_reference` wrote.
    key
        Key of the model in ``uns``; a folder holds one.
    encoder
        Needed only where an encoder that was given as a module was trained: a module of the same architecture; or where
        one of a hub was, ``"hf-hub:owner/model"``: its name again, without which nothing is fetched from there.

    Returns
    -------
    The torch module in evaluation mode (``.module``) with its description (``.description``). Printed, or as the last
    line of a notebook's cell, it says what it is: method, settings, images, genes, slides, scores on held-out slides,
    version.

    Raises
    ------
    FileNotFoundError
        When the folder is no saved model.
    KeyError
        When the reference holds no model.
    ValueError
        When what was saved is damaged, or of a newer version.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> model = bs.tl.load_model(adata_ref)
    >>> model.description.recipe["use_rep"]
    ['X_stain_stats']
    >>> model.description.preset
    'FitConfig() with max_epochs=5'
    """
    from bleep_sc.models.saved import load

    if isinstance(reference, str | Path):
        return load(reference, encoder=encoder)
    return read_model(require_model(reference, key), key, encoder)
