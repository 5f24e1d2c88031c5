from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.checks import require_model
from bleep_sc._adata.records import names_hash
from bleep_sc._adata.spots import Spots
from bleep_sc._output.messages import logger
from bleep_sc.tl._impute import impute
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import model_hash, read_model
from bleep_sc.tl._predictions.record import among_all, check_layer_is_free, write_prediction
from bleep_sc.tl._references.genes import columns_of
from bleep_sc.tl._references.same_slide import same_spots, warn_of_learnt_slides, warn_of_shared_slides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from torch import nn


def predict(
    adata: AnnData,
    ref: AnnData,
    *,
    key: str,
    encoder: str | Sequence[str] | nn.Module | None = None,
    device: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Predict expression with any fitted method: BLEEP as :func:`bleep_sc.tl.impute` does, or a baseline.

    Parameters
    ----------
    adata
        The query: image features or patches like the reference's, and in ``var`` the genes to predict. HisToGene and
        Hist2ST take whole sections, with ``obs["array_row"]`` and ``obs["array_col"]``.
    ref
        The reference, fitted by one of the ``tl.fit*`` functions.
    key, encoder, device, key_added, copy
        As in :func:`bleep_sc.tl.impute`.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        Predicted expression; NaN for genes that were not predicted. A regression predicts the genes it was trained on.
        HE2RNA and hist2RNA, which learnt from slides as a whole, predict in units of the profile of a slide: where a
        gene is higher and lower, and not how much a tile holds.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were predicted.
    ``uns["{key_added}_imputed"]`` : dict
        Units and provenance, as :func:`bleep_sc.tl.impute` writes them.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit_ridge`:

    >>> bs.tl.predict(adata_query, ref=adata_ref, key="ridge")
    >>> bool(adata_query.var["ridge_predicted"].all())
    True
    """
    from bleep_sc.models.methods import METHODS
    from bleep_sc.models.on_device import or_on_the_cpu
    from bleep_sc.training.device import resolve_device

    stored = require_model(ref, key)
    model = read_model(stored, key, encoder)
    description = model.description
    method, params = METHODS[description.method], description.params
    predict_with = method.load("predict")
    if predict_with is None:
        return impute(adata, ref, key=key, encoder=encoder, device=device, key_added=key_added, copy=copy)
    at = resolve_device(device)
    check_layer_is_free(adata, key_added or key)
    query = Spots.of(adata, params)
    if params.get("is_bulk", False):
        warn_of_learnt_slides(query, description.slides)
    else:
        reference = Spots.of(ref, params)
        warn_of_shared_slides(query, [reference], [same_spots(query, reference)])
    position = columns_of(description.genes, adata)
    shared = int((position >= 0).sum())
    if shared < len(position):
        logger.info("%d of the model's %d genes are in the query; the others are left out.", shared, len(position))
    how: dict[str, Any] = {"config": description.config}
    if method.in_sections:
        config = method.load("config").__name__
        how["positions"] = inputs.array_positions_for(adata, description.architecture["n_positions"], config)
        how["sections"] = query.slides
    if method.with_neighbors:
        how["centers"] = query.centers
    images, named = inputs.images_for(query, description.recipe, encoder, at), device not in (None, "auto")
    values = or_on_the_cpu(
        lambda at: predict_with(model.module, images, **how, device=at), at, "The prediction", is_named=named
    )
    predicted = np.zeros(adata.n_vars, dtype=bool)
    predicted[position[position >= 0]] = True
    in_query_order = np.argsort(position)[np.count_nonzero(position < 0) :]
    record = {
        "method": description.method,
        **params["units"],
        "gene_key": "var_names",
        "model_hash": model_hash(stored),
        "reference_hash": names_hash(ref.obs_names),
        "n_reference": ref.n_obs,
        "params": json.dumps({"key": key, **query.params}),
    }
    layers = {key_added or key: among_all(values[:, in_query_order], predicted)}
    adata = adata.copy() if copy else adata
    write_prediction(adata, key_added or key, record, predicted, {"layers": layers})
    return adata if copy else None
