from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc import _keys
from bleep_sc._checks import dense, listed, require_layer, require_obsm, stored_values
from bleep_sc._expression import units
from bleep_sc._records import names_hash
from bleep_sc.tl import _inputs
from bleep_sc.tl._genes import match_genes
from bleep_sc.tl._leakage import warn_of_shared_slides
from bleep_sc.tl._prediction import SPOTS, check_layer_is_free, store_layer, write_layer
from bleep_sc.tl._store import model_hash, read_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn


def impute(
    adata: AnnData,
    ref: AnnData | Sequence[AnnData],
    *,
    key: str = "bleep",
    genes: Sequence[str] | None = None,
    n_neighbors: int | None = None,
    layer: str | None = None,
    target_rep: str | None = None,
    gene_key: str | None = None,
    encoder: nn.Module | None = None,
    store: str | Path | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Read expression off the reference spots that look most alike.

    The patches of the query are placed in the joint embedding, the ``n_neighbors`` nearest **expression** embeddings of
    the reference are found, exactly, and the expression of those spots is averaged (Xie et al., NeurIPS 2023, section
    3.3). Every gene that the reference measured can be read, on the training panel or not; the measured expression of
    the query, if it has any, is not looked at.

    Parameters
    ----------
    adata
        The query: image features or patches like the reference's, and in ``var`` the genes to predict; no ``X`` needed.
    ref
        The reference, fitted by :func:`bleep_sc.tl.fit`; or several: the first fitted, the others embedded by
        ``tl.embed(other, first, expression=True)``.
    key
        Name of the model.
    genes
        Genes to predict; None is every gene that query and reference share.
    n_neighbors
        Reference spots behind every spot; None is what the model was configured with (the paper's 50).
    layer
        Layer of the reference to average; None is the one that the model was fitted on.
    target_rep
        Average ``obsm[target_rep]`` of the reference instead, as the paper does with Harmony's output.
    gene_key
        Column of ``var`` that identifies genes in query and reference, such as ``"gene_ids"``; where one of them lacks
        the column its ``var_names`` are taken. Versions of Ensembl ids are ignored. None compares ``var_names``.
    encoder
        A module that the reference was given by hand; it must have the same weights.
    store
        A folder for the predicted layer, which is then written block by block and never held in memory: a zarr array
        that ``layers[key_added]`` wraps as a dask array. It must not exist, and appears when it is complete.
    key_added
        Name of the result; None is ``key``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        Predicted expression, in the units of the reference; NaN for genes that were not predicted. A dask array with
        ``store=``.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were.
    ``obsm["X_{key}_image"]`` : float32, (n_obs, n_dims)
        Joint embedding of the query's images.
    ``obsm["{key_added}_weights"]`` : CSR float32, (n_obs, n_reference)
        Weight of every reference spot in every predicted spot; rows sum to one.
    ``uns["{key_added}_imputed"]`` : dict
        Units (``transform``, ``target_sum``, ``corrected``), ``gene_key``, ``model_hash``, ``reference_hash`` of the
        ordered names of the reference spots, ``n_reference``, ``method``, ``version`` and ``params``.

    Raises
    ------
    KeyError
        When the reference holds no model, or the query neither features nor patches.
    ValueError
        When query and reference share too few genes, features come from another encoder, or ``n_neighbors`` exceeds the
        reference.

    Warns
    -----
    UserWarning
        When a slide of the query is in the reference: such a prediction cannot be scored.

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
    >>> bs.tl.fit(adata_ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=5), show_progress_bar=False)
    >>> bs.tl.impute(adata_query, ref=adata_ref)
    >>> adata_query.layers["bleep"].shape == adata_query.shape
    True
    """
    from bleep_sc.models import retrieval
    from bleep_sc.training.device import resolve_device
    from bleep_sc.training.fit import embed_images

    refs = _references(ref)
    device = resolve_device(None)
    model = read_model(refs[0], key, encoder)
    config, params = model.description.config, model.description.params
    _check_same_model(refs, key)
    warn_of_shared_slides(adata, refs, params["library_key"])
    if layer is None and target_rep is None:
        layer = params["layer"]
        _check_same_units(refs, layer, params)
    predicted_genes, values = _values(adata, refs, genes, gene_key, layer, target_rep)
    keys = np.concatenate([_expression_embedding(each, key) for each in refs])
    n_neighbors = config["n_neighbors"] if n_neighbors is None else n_neighbors
    name = key_added or key
    check_layer_is_free(adata, name)
    if n_neighbors != int(n_neighbors) or not 1 <= n_neighbors <= len(keys):
        raise ValueError(
            f"n_neighbors={n_neighbors} must lie between 1 and the number of reference spots, {len(keys)}, and be "
            "whole. Pass a smaller n_neighbors=, or a larger reference."
        )
    n_neighbors = int(n_neighbors)
    images = _inputs.images_for(adata, model.description.recipe, encoder, device)
    embedding = embed_images(model.module.to(device), images, device=device)
    similarity, index = retrieval.nearest(embedding, keys, n_neighbors=n_neighbors, metric=config["metric"])
    weights = retrieval.neighbor_weights(similarity, config["weights"], config["softmax_temperature"])
    if store is None:
        layer_values: Any = np.full(adata.shape, np.nan, dtype=np.float32)
        layer_values[:, predicted_genes] = retrieval.average(index, weights, values)
    else:
        blocks = partial(retrieval.averages, index, weights, values, n_rows=SPOTS)
        layer_values = store_layer(store, adata.shape, predicted_genes, blocks)
    record = {
        "method": "bleep",
        **_common_units(refs, layer, target_rep),
        "gene_key": gene_key or "var_names",
        "model_hash": model_hash(refs[0], key),
        "reference_hash": names_hash(spot for each in refs for spot in each.obs_names),
        "n_reference": len(keys),
        "params": json.dumps({"key": key, "n_neighbors": n_neighbors, "layer": layer, "target_rep": target_rep}),
    }
    adata = adata.copy() if copy else adata
    adata.obsm[_keys.image_embedding(key)] = embedding
    adata.obsm[_keys.weights(name)] = retrieval.weight_matrix(index, weights, len(keys))
    write_layer(adata, name, layer_values, predicted_genes, record)
    return adata if copy else None


def _references(ref: AnnData | Sequence[AnnData]) -> list[AnnData]:
    from anndata import AnnData

    refs = list(ref) if isinstance(ref, list | tuple) else [ref]
    wrong = [type(each).__name__ for each in refs if not isinstance(each, AnnData)]
    if wrong or not refs:
        raise TypeError(f"ref= must be an AnnData, or a list of them, not {listed(wrong)}. Read a file first.")
    return refs


def _check_same_units(refs: list[AnnData], layer: str | None, params: dict[str, Any]) -> None:
    """Refuse a reference whose expression was changed after the fit: averages of it would be something else."""
    before = params["units"]["transform"]
    for each in refs:
        now = units(each, layer)["transform"]
        if now != before:
            name = "X" if layer is None else f"layers[{layer!r}]"
            raise ValueError(
                f"{name} of the reference holds {_meaning(now)}, but the model was fitted on {_meaning(before)}. "
                "Restore it, or pass layer=, the layer to average."
            )


def _common_units(refs: list[AnnData], layer: str | None, target_rep: str | None) -> dict[str, Any]:
    """Return the units of the references, which must be the same in all of them."""
    each = [units(ref, layer, target_rep) for ref in refs]
    if len({one["transform"] for one in each}) > 1:
        raise ValueError(
            f"The references hold different things: {', '.join(_meaning(one['transform']) for one in each)}. Pass "
            "layer=, one that means the same in all of them."
        )
    return each[0]


def _meaning(transform: str) -> str:
    return {"log1p": "logarithms", "counts": "counts"}.get(transform, "values that are neither logarithms nor counts")


def _check_same_model(refs: list[AnnData], key: str) -> None:
    hashes = {model_hash(each, key) for each in refs}
    if len(hashes) > 1:
        raise ValueError(
            f"The references were embedded by {len(hashes)} different models, so they cannot be searched together. Fit "
            "one and place the others in its embedding: bleep_sc.tl.embed(other, first, expression=True)."
        )


def _expression_embedding(ref: AnnData, key: str) -> NDArray[np.float32]:
    remedy = "Run bleep_sc.tl.fit(adata_ref) first, or bleep_sc.tl.embed(other, adata_ref, expression=True)."
    return np.asarray(require_obsm(ref, _keys.expression_embedding(key), remedy), dtype=np.float32)


def _values(
    adata: AnnData,
    refs: list[AnnData],
    genes: Sequence[str] | None,
    gene_key: str | None,
    layer: str | None,
    target_rep: str | None,
) -> tuple[NDArray[np.bool_], Any]:
    """Return which genes of the query are predicted, and the expression of just these in the references."""
    if layer is not None and target_rep is not None:
        raise ValueError(f"layer={layer!r} and target_rep={target_rep!r} both say what to average; pass one of them.")
    flags, blocks = [], []
    for each in refs:
        source = each if target_rep is None else _as_genes(each, target_rep)
        position = match_genes(adata, source, genes, gene_key)
        matrix = require_layer(source, layer, "Pass layer=, a layer of the reference.")
        block = matrix[:, position[position >= 0]]
        if not np.isfinite(stored_values(block)).all():
            raise ValueError("The expression of the reference holds NaN or infinite values, which would spread.")
        flags.append(position >= 0)
        blocks.append(block)
    if any(not np.array_equal(flag, flags[0]) for flag in flags):
        raise ValueError("The references do not measure the same of the query's genes; subset them to the shared ones.")
    if all(map(sparse.issparse, blocks)):
        return flags[0], sparse.vstack(blocks, format="csr")
    return flags[0], np.vstack([dense(block) for block in blocks])


def _as_genes(ref: AnnData, target_rep: str) -> AnnData:
    """Return the corrected expression in ``obsm`` as an AnnData of its genes."""
    from anndata import AnnData

    values, names = _inputs.expression(ref, None, target_rep)
    return AnnData(values, obs=ref.obs[[]], var=ref.var.reindex(names))
