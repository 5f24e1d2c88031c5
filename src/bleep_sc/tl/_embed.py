from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc import _keys
from bleep_sc._checks import require_model
from bleep_sc.tl import _inputs
from bleep_sc.tl._store import model_hash, read_model

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn


def embed(
    adata: AnnData,
    ref: AnnData,
    *,
    key: str = "bleep",
    expression: bool = False,
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
    key
        Name of the model.
    expression
        Also embed the measured expression of ``adata`` and give it the model: it is then a reference too, and
        ``tl.impute(query, ref=[ref, adata])`` reads off both. The slide is log-normalised as the reference was.
    encoder
        A module that the reference was given by hand; it must have the same weights.
    device
        Where to compute; None takes the best there is.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm["X_{key}_image"]`` : float32, (n_obs, n_dims)
        Joint embedding of the images.
    ``obsm["X_{key}_expression"]`` : float32, (n_obs, n_dims)
        Joint embedding of the expression, with ``expression=True``.
    ``uns[key]`` : dict
        The model of the reference, with ``expression=True``.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`, make the query a reference too:

    >>> bs.tl.embed(adata_query, adata_ref, expression=True)
    >>> adata_query.obsm["X_bleep_expression"].shape[1]
    768
    """
    from bleep_sc.training.device import resolve_device
    from bleep_sc.training.fit import embed_expression, embed_images

    model = read_model(ref, key, encoder=encoder)
    if model.description.method != "bleep":
        raise ValueError(f"uns[{key!r}] is a {model.description.method} model, which has no joint embedding.")
    resolved = resolve_device(device)
    module = model.module.to(resolved)
    embedded = {
        _keys.image_embedding(key): embed_images(
            module,
            _inputs.images_for(adata, model.description.recipe, encoder, resolved),
            _inputs.slides_of(adata, model.description.params["library_key"]),
            device=resolved,
        )
    }
    if expression:
        if key in adata.uns and model_hash(adata, key) != model_hash(ref, key):
            raise ValueError(f"adata holds another model in uns[{key!r}], which would be lost; pass adata without it.")
        params = model.description.params
        values = _inputs.panel_expression(adata, model.description.genes, params["layer"], params["target_rep"])
        embedded[_keys.expression_embedding(key)] = embed_expression(module, values, device=resolved)
    adata = adata.copy() if copy else adata
    for name, values in embedded.items():
        adata.obsm[name] = values
    if expression:
        adata.uns[key] = dict(require_model(ref, key))
    return adata if copy else None
