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
from bleep_sc.tl._intervals import Panel, blocks_of, check_interval, spot_confidence
from bleep_sc.tl._leakage import warn_of_shared_slides
from bleep_sc.tl._prediction import SPOTS, check_layer_is_free, store_layer, write_layer
from bleep_sc.tl._store import model_hash, read_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bleep_sc.models.fitted import FittedModel


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
    interval: float | None = None,
    encoder: nn.Module | None = None,
    store: str | Path | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Read expression off the reference spots that look most alike.

    The patches of the query are placed in the joint embedding, the ``n_neighbors`` nearest **expression** embeddings of
    the reference are found, exactly, and the expression of those spots is averaged (Xie et al., NeurIPS 2023, section
    3.3). With ``FitConfig(regression=True)`` this mean is then moved towards a ridge regression on the embedding, each
    gene as far as held-out slides of the reference support it. Every gene that the reference measured can be read, on
    the training panel or not; the measured expression of the query, if it has any, is not looked at.

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
    interval
        Also write intervals that are to hold this share of the measured values, such as 0.9, for the genes of the
        panel. They are calibrated on slides of the reference that were held out when it was fitted, so they hold for
        slides like these; with few slides, take them as a guide.
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
    ``layers["{key_added}_retrieved"]`` : float32, (n_obs, n_vars)
        With a regression and without ``store=``: the plain mean, which is what the weights explain.
    ``layers["{key_added}_lower"]``, ``layers["{key_added}_upper"]`` : float32, (n_obs, n_vars)
        With ``interval=``: its ends.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were.
    ``var["{key_added}_predictability"]`` : float32
        Pearson r of a gene on slides that the reference held out, mean over slides; NaN outside the panel. Look here
        before looking at the predictions. Where slides of the reference were held out, as the next.
    ``obs["{key_added}_confidence"]`` : float32
        Share of the reference's own held-out spots whose expected error is larger, from how similar the neighbours of
        a spot are and how much they agree: 0 for the least certain. Where slides of the reference were held out.
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
        When query and reference share too few genes, features come from another encoder, ``n_neighbors`` exceeds the
        reference, or nothing was held out from which an ``interval`` could be calibrated.

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
    from bleep_sc.models.regression import EmbeddingRegression
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
    predicted_genes, values, names = _values(adata, refs, genes, gene_key, layer, target_rep)
    keys = np.concatenate([_embedding(each, _keys.expression_embedding(key)) for each in refs])
    n_neighbors = config["n_neighbors"] if n_neighbors is None else n_neighbors
    name = key_added or key
    check_layer_is_free(adata, name)
    if n_neighbors != int(n_neighbors) or not 1 <= n_neighbors <= len(keys):
        raise ValueError(
            f"n_neighbors={n_neighbors} must lie between 1 and the number of reference spots, {len(keys)}, and be "
            "whole. Pass a smaller n_neighbors=, or a larger reference."
        )
    n_neighbors = int(n_neighbors)
    if interval is not None:
        check_interval(interval, model, store=store, layer=layer, target_rep=target_rep)
    images = _inputs.images_for(adata, model.description.recipe, encoder, device)
    slides = _inputs.slides_of(adata, params["library_key"])
    embedding = embed_images(model.module.to(device), images, slides, device=device)
    similarity, index = retrieval.nearest(embedding, keys, n_neighbors=n_neighbors, metric=config["metric"])
    weights = retrieval.neighbor_weights(similarity, config["weights"], config["softmax_temperature"])
    panel = Panel(model, names)
    correct: Any = iter
    if config["regression"]:
        images_of_refs = np.concatenate([_embedding(each, _keys.image_embedding(key)) for each in refs])
        regression = EmbeddingRegression.fit(images_of_refs, config["regression_penalty"])
        correct = partial(regression.correct, embedding=embedding, values=values, shrinkage=panel.shrinkage)
    layers: dict[str, Any] = {}
    if store is None:
        retrieved = retrieval.average(index, weights, values)
        layers[name] = retrieved
        if config["regression"]:
            whole = [(slice(None), block, retrieved[:, block]) for block in blocks_of(len(names))]
            layers[name] = np.concatenate([values for _, _, values in correct(whole)], axis=1)
            layers[_keys.retrieved(name)] = retrieved
        if interval is not None:
            ends = panel.interval(interval, index, weights, values, retrieved, layers[name])
            layers |= dict(zip((_keys.lower(name), _keys.upper(name)), ends, strict=True))
        layers = {each: _among(predicted_genes, part) for each, part in layers.items()}
    else:
        layers[name] = store_layer(
            store,
            adata.shape,
            predicted_genes,
            lambda edges: correct(retrieval.averages(index, weights, values, edges, n_rows=SPOTS)),
        )
    confidence = _confidence(model, refs, similarity, index, weights)
    record = {
        "method": "bleep",
        **_common_units(refs, layer, target_rep),
        "gene_key": gene_key or "var_names",
        "model_hash": model_hash(refs[0], key),
        "reference_hash": names_hash(spot for each in refs for spot in each.obs_names),
        "n_reference": len(keys),
        "params": json.dumps({"key": key, "n_neighbors": n_neighbors, "layer": layer, "target_rep": target_rep}),
    }
    if interval is not None:
        record["interval"] = float(interval)
    adata = adata.copy() if copy else adata
    adata.obsm[_keys.image_embedding(key)] = embedding
    adata.obsm[_keys.weights(name)] = retrieval.weight_matrix(index, weights, len(keys))
    if confidence is not None:
        adata.obs[_keys.confidence(name)] = confidence
    if model.calibration is not None:
        adata.var[_keys.predictability(name)] = np.full(adata.n_vars, np.nan, dtype=np.float32)
        adata.var.loc[predicted_genes, _keys.predictability(name)] = panel.predictability
    for each in (_keys.retrieved(name), _keys.lower(name), _keys.upper(name)):
        if each in adata.layers and each not in layers and _keys.imputed(name) in adata.uns:
            del adata.layers[each]  # of an earlier prediction
    for each, part in layers.items():
        adata.layers[each] = part
    write_layer(adata, name, layers[name], predicted_genes, record)
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


def _among(genes: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return predicted genes (n_obs, n_predicted) among all (n_obs, n_vars); the others are NaN."""
    result = np.full((len(values), len(genes)), np.nan, dtype=np.float32)
    result[:, genes] = values
    return result


def _confidence(
    model: FittedModel, refs: list[AnnData], similarity: Tensor, index: Tensor, weights: Tensor
) -> NDArray[np.float32] | None:
    """Return the confidence of every spot, judged by the most variable genes of the panel, where that can be known."""
    if model.calibration is None:
        return None
    params, genes = model.description.params, np.array(model.description.genes)
    present = [set(each.var_names) if params["target_rep"] is None else set(genes) for each in refs]
    judges = model.calibration.monitored & np.isin(genes, list(set.intersection(*present)))
    if not judges.any():
        return None
    values = [
        _inputs.panel_expression(each, genes[judges].tolist(), params["layer"], params["target_rep"]) for each in refs
    ]
    return spot_confidence(model.calibration, judges, np.concatenate(values), similarity, index, weights)


def _embedding(ref: AnnData, name: str) -> NDArray[np.float32]:
    remedy = "Run bleep_sc.tl.fit(adata_ref) first, or bleep_sc.tl.embed(other, adata_ref, expression=True)."
    return np.asarray(require_obsm(ref, name, remedy), dtype=np.float32)


def _values(
    adata: AnnData,
    refs: list[AnnData],
    genes: Sequence[str] | None,
    gene_key: str | None,
    layer: str | None,
    target_rep: str | None,
) -> tuple[NDArray[np.bool_], Any, list[str]]:
    """Return which genes of the query are predicted, their expression in the references, and their names there."""
    if layer is not None and target_rep is not None:
        raise ValueError(f"layer={layer!r} and target_rep={target_rep!r} both say what to average; pass one of them.")
    flags, blocks, names = [], [], []
    for each in refs:
        source = each if target_rep is None else _as_genes(each, target_rep)
        position = match_genes(adata, source, genes, gene_key)
        matrix = require_layer(source, layer, "Pass layer=, a layer of the reference.")
        block = matrix[:, position[position >= 0]]
        if not np.isfinite(stored_values(block)).all():
            raise ValueError("The expression of the reference holds NaN or infinite values, which would spread.")
        flags.append(position >= 0)
        blocks.append(block)
        names.append(source.var_names[position[position >= 0]].tolist())
    if any(not np.array_equal(flag, flags[0]) for flag in flags):
        raise ValueError("The references do not measure the same of the query's genes; subset them to the shared ones.")
    if all(map(sparse.issparse, blocks)):
        return flags[0], sparse.vstack(blocks, format="csr"), names[0]
    return flags[0], np.vstack([dense(block) for block in blocks]), names[0]


def _as_genes(ref: AnnData, target_rep: str) -> AnnData:
    """Return the corrected expression in ``obsm`` as an AnnData of its genes."""
    from anndata import AnnData

    values, names = _inputs.expression(ref, None, target_rep)
    return AnnData(values, obs=ref.obs[[]], var=ref.var.reindex(names))
