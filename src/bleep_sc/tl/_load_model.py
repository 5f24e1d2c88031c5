from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata.checks import require_model
from bleep_sc.tl._models.in_uns import read_model

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.fitted import FittedModel


def load_model(adata: AnnData, key: str = "bleep", *, encoder: str | nn.Module | None = None) -> FittedModel:
    """Build the model that a ``tl.fit*`` function left in a reference.

    Parameters
    ----------
    adata
        The reference.
    key
        Key of the model in ``uns``.
    encoder
        Needed only where an encoder that was given as a module was trained: a module of the same architecture; or where
        one of a hub was, ``"hf-hub:owner/model"``: its name again, without which nothing is fetched from there.

    Returns
    -------
    The torch module in evaluation mode (``.module``) with its description (``.description``). Printed, or as the last
    line of a notebook's cell, it says what it is: method, settings, images, genes, slides, scores on held-out slides,
    version. :func:`bleep_sc.models.save` writes it to a folder.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> model = bs.tl.load_model(adata_ref)
    >>> model.description.recipe["use_rep"]
    ['X_stain_stats']
    >>> model.description.preset
    'FitConfig() with max_epochs=5'
    """
    return read_model(require_model(adata, key), key, encoder)
