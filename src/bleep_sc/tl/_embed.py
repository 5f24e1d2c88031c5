from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.expression import record_of
from bleep_sc._adata.spots import Spots
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import model_hash, read_model

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.models.fitted import Description


def embed(
    adata: AnnData,
    ref: AnnData,
    *,
    key: str = "bleep",
    expression: bool = False,
    layer: str | None = None,
    encoder: nn.Module | None = None,
    device: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Place a slide in the joint embedding of a reference, without training.

    Parameters
    ----------
    adata
        The slide, with the same image features as the reference or the patches to make them from.
    ref
        The reference, fitted by :func:`bleep_sc.tl.fit`.
    key, encoder, copy
        As in :func:`bleep_sc.tl.impute`.
    expression
        Also embed the expression of ``adata`` and give it the model: it is then a reference too, and
        ``tl.impute(query, ref=[ref, adata])`` reads off both. The slide is log-normalised as the reference was. A few
        measured spots of the query slide may be such a reference, ``adata = query[measured].copy()``: ``tl.impute``
        sees that their slide is the query's, and takes their features in units of the whole of it.
    layer
        With ``expression=True``, the layer of ``adata`` that holds its expression; None is the one that the model was
        fitted on. It may be a prediction, such as ``"bleep"``, in which all genes of the panel were predicted; what is
        later read off it is marked (``obs["{key_added}_imputed_share"]`` of :func:`bleep_sc.tl.impute`).
    device
        Where to compute; None takes the best there is.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm["X_{key}_image"]`` : float32, (n_obs, n_dims)
        Joint embedding of the images.
    ``obsm["X_{key}_expression"]`` : float32, (n_obs, n_dims)
        Joint embedding of the expression, with ``expression=True``.
    ``uns[key]`` : dict
        The model of the reference, with ``expression=True``; its ``params`` say which ``reference_layer`` is this
        slide's.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`, make the query a reference too:

    >>> bs.tl.embed(adata_query, adata_ref, expression=True)
    >>> adata_query.obsm["X_bleep_expression"].shape[1]
    768
    """
    from bleep_sc.models.embed import embed_expression, embed_images
    from bleep_sc.training.device import resolve_device

    record = require_model(ref, key)
    model = read_model(record, encoder)
    params = model.description.params
    if model.description.method != "bleep":
        raise ValueError(f"uns[{key!r}] is a {model.description.method} model, which has no joint embedding.")
    if expression:
        own = _own_layer(layer, params)
        values = _expression(adata, record, key, own, model.description)
    elif layer is not None:
        raise ValueError(f"layer={layer!r} is expression, which is embedded with expression=True alone. Pass it, too.")
    resolved = resolve_device(device)
    module = model.module.to(resolved)
    spots = Spots.of(adata, params)
    images = inputs.images_for(spots, model.description.recipe, encoder, resolved)
    embedding = embed_images(module, images, spots.slides, device=resolved)
    embedded_expression = embed_expression(module, values, device=resolved) if expression else None
    adata = adata.copy() if copy else adata
    adata.obsm[keys.image_embedding(key)] = embedding
    if embedded_expression is not None:
        adata.obsm[keys.expression_embedding(key)] = embedded_expression
        adata.uns[key] = {**record, "params": json.dumps({**params, "reference_layer": own})}
    return adata if copy else None


def _own_layer(layer: str | None, params: dict[str, Any]) -> str | None:
    """Return the layer of the slide that holds its expression."""
    if layer is not None and params["target_rep"] is not None:
        raise ValueError(
            f"layer={layer!r} cannot be embedded: the model was fitted on obsm[{params['target_rep']!r}]. Fit one "
            "without target_rep=, or give adata that representation."
        )
    return params["layer"] if layer is None else layer


def _expression(
    adata: AnnData, record: dict[str, Any], key: str, layer: str | None, model: Description
) -> NDArray[np.float32]:
    """Return the expression of the model's genes, (n_obs, n_genes), in the units that the model was fitted on."""
    if key in adata.uns and model_hash(require_model(adata, key)) != model_hash(record):
        raise ValueError(f"adata holds another model in uns[{key!r}], which would be lost; pass adata without it.")
    values = inputs.panel_expression(adata, model.genes, layer, model.params["target_rep"])
    made = record_of(adata, layer)
    if made and (made["transform"] != model.params["units"]["transform"] or made["corrected"]):
        raise ValueError(
            f"The prediction in {'adata.X' if layer is None else f'layers[{layer!r}]'} holds "
            f"{'corrected values' if made['corrected'] else made['transform']}, and not what the model was fitted "
            "on. Impute it with the default layer= and target_rep= of bleep_sc.tl.impute."
        )
    return values
