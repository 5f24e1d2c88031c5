from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._records import names_hash
from bleep_sc.tl import _inputs
from bleep_sc.tl._impute import impute
from bleep_sc.tl._prediction import write_prediction
from bleep_sc.tl._store import model_hash, read_model

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn


def predict(
    adata: AnnData,
    ref: AnnData,
    *,
    key: str,
    encoder: nn.Module | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Predict expression with any fitted method: BLEEP as :func:`bleep_sc.tl.impute` does, or a baseline.

    Parameters
    ----------
    adata
        The query: image features like the reference's, and in ``var`` the genes to predict.
    ref
        The reference, fitted by one of the ``tl.fit*`` functions.
    key
        Name of the model.
    encoder
        A module that the reference was given by hand; it must have the same weights.
    key_added
        Name of the result; None is ``key``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        Predicted expression; NaN for genes that were not predicted. A regression predicts the genes it was trained on.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were predicted.
    ``uns["{key_added}_imputed"]`` : dict
        Units and provenance, as :func:`bleep_sc.tl.impute` writes them.

    Examples
    --------
    >>> import bleep_sc as bs, scanpy as sc
    >>> adata = bs.datasets.toy(n_slices=3)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> bs.pp.extract_patches(adata, size=32, size_um=112)
    >>> bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    >>> held_out = adata.obs["library_id"] == "slice3"
    >>> adata_ref, adata_query = adata[~held_out].copy(), adata[held_out].copy()
    >>> bs.tl.fit_ridge(adata_ref, use_rep="X_stain_stats")
    >>> bs.tl.predict(adata_query, ref=adata_ref, key="ridge")
    >>> bool(adata_query.var["ridge_predicted"].all())
    True
    """
    from bleep_sc.models.ridge import apply

    model = read_model(ref, key, encoder)
    description = model.description
    if description.method == "bleep":
        return impute(adata, ref, key=key, encoder=encoder, key_added=key_added, copy=copy)
    position = adata.var_names.get_indexer(description.genes)
    if not (position >= 0).any():
        raise ValueError(
            f"The query has none of the {len(description.genes)} genes of the model, such as {description.genes[0]!r}."
        )
    values = apply(model.module, _inputs.images_for(adata, description.recipe, encoder, "cpu"))
    predicted = np.zeros(adata.n_vars, dtype=bool)
    predicted[position[position >= 0]] = True
    in_query_order = np.argsort(position)[np.count_nonzero(position < 0) :]
    adata = adata.copy() if copy else adata
    record = {
        "method": description.method,
        **description.params["units"],
        "gene_key": "var_names",
        "model_hash": model_hash(ref, key),
        "reference_hash": names_hash(ref.obs_names),
        "n_reference": ref.n_obs,
        "params": json.dumps({"key": key}),
    }
    write_prediction(adata, key_added or key, values[:, in_query_order], predicted, record)
    return adata if copy else None
