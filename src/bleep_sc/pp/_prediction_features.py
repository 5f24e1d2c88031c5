from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import holds_counts, record_of
from bleep_sc._adata.records import names_hash, read_recipe
from bleep_sc._arrays.blocks import dense

if TYPE_CHECKING:
    from anndata import AnnData


def prediction_features(
    adata: AnnData, layer: str, model: str, *, key_added: str | None = None, copy: bool = False
) -> AnnData | None:
    """Take expression that a model trained elsewhere predicts from images as features of these images.

    A model that predicts without having seen the reference (zero-shot) is an encoder whose features are genes: beside
    others, ``use_rep=["X_uni2", "X_deepspot-m"]``, :func:`bleep_sc.tl.fit` and :func:`bleep_sc.tl.fit_ridge` learn what
    they are worth on this tissue. They must come from images alone: that is declared here, for reference and query
    alike, and :func:`bleep_sc.bm.cross_validate` measures whether they tell more of expression than images do. A torch
    module is taken by :func:`bleep_sc.pp.image_features` itself.

    Parameters
    ----------
    adata
        Spots with the prediction; genes that it lacks are NaN.
    layer
        The layer that holds it, in any unit.
    model
        What the model is called, by which features of reference and query are compared.
    key_added
        Key under which the features are written; None is ``X_`` and the model's name.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : float32, (n_obs, n_predicted)
        Predictions of the genes that are not NaN.
    ``uns[key_added]`` : dict
        The recipe: ``encoder``, the model's name, and ``genes``, a hash of the names of its columns; ``fingerprint``
        and ``patches_key`` are empty.

    Raises
    ------
    KeyError
        Without the layer.
    ValueError
        When the layer was predicted by ``bleep_sc``, which learns from measured spots; when it holds whole counts, as
        measurements do; or when a gene is predicted for some spots alone.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.extract_patches`, with a model that knows how red a patch is:

    >>> red = adata.obsm["patches"][..., 0].mean(axis=(1, 2))
    >>> adata.layers["theirs"] = np.full(adata.shape, np.nan, dtype=np.float32)
    >>> adata.layers["theirs"][:, 0] = red / 255
    >>> bs.pp.prediction_features(adata, "theirs", "redness")
    >>> adata.obsm["X_redness"].shape[1]
    1
    """
    values = dense(require_layer(adata, layer, "It holds what the model predicts, NaN for genes that it does not."))
    if record_of(adata, layer) is not None:
        raise ValueError(
            f"layers[{layer!r}] was predicted by bleep_sc, which learns from the expression of measured spots; it is "
            "no feature of images alone. Pass the prediction of a model that has not seen these slides."
        )
    if holds_counts(values[:, ~np.isnan(values).all(axis=0)]):
        raise ValueError(
            f"layers[{layer!r}] holds whole counts, as measurements do. Pass what a model predicted from images."
        )
    known = np.isfinite(values).all(axis=0)
    torn = ~known & ~np.isnan(values).all(axis=0)
    if torn.any() or not known.any():
        what = f"predicts {int(torn.sum())} genes for some spots alone" if torn.any() else "predicts no gene"
        raise ValueError(f"layers[{layer!r}] {what}. A gene is finite in all spots, or NaN in all.")
    adata = adata.copy() if copy else adata
    key = key_added or keys.features(model)
    with all_or_nothing(adata):
        adata.obsm[key] = values[:, known].astype(np.float32)
        adata.uns[key] = {**read_recipe(model, 0, {}), "genes": names_hash(adata.var_names[known])}
    return adata if copy else None
