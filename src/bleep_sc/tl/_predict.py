from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.records import names_hash
from bleep_sc._output.messages import logger
from bleep_sc.tl._impute import impute
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import model_hash, read_model
from bleep_sc.tl._predictions.record import check_layer_is_free, write_prediction
from bleep_sc.tl._references.genes import columns_of
from bleep_sc.tl._references.leakage import warn_of_shared_slides

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.models.fitted import FittedModel


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
        The query: image features or patches like the reference's, and in ``var`` the genes to predict. HisToGene takes
        whole sections, with ``obs["array_row"]`` and ``obs["array_col"]``.
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
    model = read_model(ref, key, encoder)
    description = model.description
    if description.method == "bleep":
        return impute(adata, ref, key=key, encoder=encoder, key_added=key_added, copy=copy)
    check_layer_is_free(adata, key_added or key)
    warn_of_shared_slides(adata, [ref], description.params["library_key"])
    position = columns_of(description.genes, adata)
    shared = int((position >= 0).sum())
    if shared < len(position):
        logger.info("%d of the model's %d genes are in the query; the others are left out.", shared, len(position))
    values = _values(model, adata, encoder)
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


def _values(model: FittedModel, adata: AnnData, encoder: nn.Module | None) -> NDArray[np.float32]:
    """Predict the genes of the model, (n_obs, n_genes)."""
    from bleep_sc.models import histogene, ridge, stnet
    from bleep_sc.training.device import resolve_device

    description, device = model.description, resolve_device(None)
    if description.method == "histogene":
        positions = inputs.array_positions_for(adata, description.architecture["n_positions"])
        sections = libraries(adata, description.params["library_key"])
    images = inputs.images_for(adata, description.recipe, encoder, device)
    match description.method:
        case "ridge":
            return ridge.apply(model.module, images)
        case "stnet":
            return stnet.predict(model.module, images, device=device)
        case "histogene":
            max_spots = description.config["max_spots"]
            return histogene.predict(model.module, images, positions, sections, max_spots=max_spots, device=device)
    raise ValueError(f"The method {description.method!r} is not known to this version of bleep_sc.")
