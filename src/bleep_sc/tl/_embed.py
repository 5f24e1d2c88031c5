from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys, logs
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.expression import record_of, units
from bleep_sc._adata.spots import Spots
from bleep_sc._output.messages import logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import model_hash, model_record, read_model
from bleep_sc.tl._references.checksums import measured_by, spot_checksums
from bleep_sc.tl._references.values import fitted_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
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
    encoder: str | Sequence[str] | nn.Module | None = None,
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
        ``tl.impute(query, ref=[ref, adata])`` reads off both. The slide is log-normalised; logarithms to another base,
        or of another total, than those of the reference are converted, here and there. A few
        measured spots of the query slide may be such a reference, ``adata = query[measured].copy()``: ``tl.impute``
        finds that their slide is the query's, and takes their features as those of all of it.
    layer
        With ``expression=True``, the layer of ``adata`` that holds its expression; None is the one that the model was
        fitted on. It may be a prediction, such as ``"bleep"``, in which all genes of the panel were predicted; what is
        later read off it is marked (``obs["{key_added}_imputed_share"]`` of :func:`bleep_sc.tl.impute`).
    device
        Where to compute; None and ``"auto"`` take the best there is, and the CPU where that fails.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm["X_{key}_image"]`` : float32, (n_obs, n_dims)
        Joint embedding of the images.
    ``obsm["X_{key}_expression"]`` : float32, (n_obs, n_dims)
        Joint embedding of the expression, with ``expression=True``.
    ``obs["{key}_checksum"]`` : uint32
        By which :func:`bleep_sc.tl.impute` tells whether expression and embedding of a spot changed, with
        ``expression=True``.
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
    from bleep_sc.models.on_device import or_on_the_cpu
    from bleep_sc.training.device import resolve_device

    resolved = resolve_device(device)
    record = require_model(ref, key)
    model = read_model(record, key, encoder)
    params = model.description.params
    if model.description.method != "bleep":
        raise ValueError(f"uns[{key!r}] is a {model.description.method} model, which has no joint embedding.")
    if expression:
        own = _own_layer(layer, params)
        values = _expression(adata, ref, record, key, own, model.description)
    elif layer is not None:
        raise ValueError(f"layer={layer!r} is expression, which is embedded with expression=True alone. Pass it, too.")
    spots = Spots.of(adata, params)
    images = inputs.images_for(spots, model.description.recipe, encoder, resolved)

    def embedded(at: torch.device) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        module = model.module.to(at)
        return (
            embed_images(module, images, spots.slides, device=at),
            embed_expression(module, values, device=at) if expression else None,
        )

    named = device not in (None, "auto")
    embedding, embedded_expression = or_on_the_cpu(embedded, resolved, "Embedding", is_named=named)
    if embedded_expression is not None:
        described = replace(model.description, params={**params, "reference_layer": own, **measured_by(adata)})
        own_record = {**record, **model_record(described, np.asarray(record["model"]).tobytes())}
        checksums = spot_checksums(adata, own, embedded_expression)
    adata = adata.copy() if copy else adata
    with all_or_nothing(adata):
        adata.obsm[keys.image_embedding(key)] = embedding
        if embedded_expression is not None:
            adata.obsm[keys.expression_embedding(key)] = embedded_expression
            if key not in adata.uns:
                adata.obsm.pop(keys.held_out(key), None)  # by another model, which is gone
            adata.obs[keys.checksum(key)] = checksums
            adata.uns[key] = own_record
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
    adata: AnnData, ref: AnnData, record: dict[str, Any], key: str, layer: str | None, model: Description
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
    if model.params["target_rep"] is not None:
        return values
    wanted = fitted_units(ref, model)
    found = units(adata, layer, presumed=wanted["transform"])
    if logs.are_alike(found, wanted):
        return values
    if not logs.can_convert(found, wanted):
        raise ValueError(
            f"{'adata.X' if layer is None else f'layers[{layer!r}]'} holds {logs.named(found)}, but the model was "
            f"fitted on {logs.named(wanted)}. Normalise the counts as those of the reference were."
        )
    logger.info("The expression is embedded as %s, and not as %s.", logs.named(wanted), logs.named(found))
    return np.asarray(logs.converted(values, found, wanted), dtype=np.float32)
