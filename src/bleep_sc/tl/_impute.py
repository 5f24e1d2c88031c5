from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.donors import donor_column, donors
from bleep_sc._adata.spots import Spots
from bleep_sc._output.messages import logger, warn
from bleep_sc.tl._models import inputs
from bleep_sc.tl._predictions.intervals import check_interval, spot_confidence
from bleep_sc.tl._predictions.layers import correction, predicted_layers
from bleep_sc.tl._predictions.promise import Promise
from bleep_sc.tl._predictions.record import among_all, check_layer_is_free, check_store_is_free, write_prediction
from bleep_sc.tl._predictions.typicality import foreign_slides, typicality_of, warn_of_foreign_slides
from bleep_sc.tl._references.depth import without_shallow_slides
from bleep_sc.tl._references.on_disk import opened
from bleep_sc.tl._references.read import as_references, read_references
from bleep_sc.tl._references.same_slide import place_images, same_spots, warn_of_shared_slides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse
    from torch import Tensor, nn

    from bleep_sc.models.exact_search import Neighbors
    from bleep_sc.models.fitted import FittedModel
    from bleep_sc.models.search import Index
    from bleep_sc.tl._references.read import Reference
    from bleep_sc.training.config import NeighborWeights


def impute(
    adata: AnnData,
    ref: AnnData | Sequence[AnnData],
    *,
    ref_weights: Sequence[float] | None = None,
    key: str = "bleep",
    genes: str | Sequence[str] | None = None,
    n_neighbors: int | None = None,
    neighbor_weights: NeighborWeights | None = None,
    layer: str | None = None,
    target_rep: str | None = None,
    gene_key: str | None = None,
    donor_key: str | None = None,
    interval: float | None = None,
    index: Index = "exact",
    encoder: str | Sequence[str] | nn.Module | None = None,
    device: str | None = None,
    store: str | Path | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Read expression off the reference spots that look most alike.

    The patches of the query are placed in the joint embedding, the ``n_neighbors`` nearest **expression** embeddings of
    the reference are found, and the expression of those spots is averaged (Xie et al., NeurIPS 2023, section
    3.3). A spot is looked for at the mean of the embeddings around it, as far as that predicted held-out slides of the
    reference best (``FitConfig.smoothing_um``), which needs to know places in µm. With ``FitConfig(regression=True)``
    the mean is then moved towards a ridge regression on the embedding, each gene as far as held-out slides of the
    reference support it. Every gene that the reference measured can be read, on the training panel or not; the measured
    expression of the query, if it has any, is not looked at.

    Parameters
    ----------
    adata
        The query: image features or patches like the reference's, and in ``var`` the genes to predict; no ``X`` needed.
    ref
        The reference, fitted by :func:`bleep_sc.tl.fit`; or several: the first fitted, the others embedded by
        ``tl.embed(other, first, expression=True)``. Among the others may be measured spots of the query's own slide,
        named as it is in ``obs[library_key]``: their features and the query's are seen as those of all spots of that
        slide. So a few spots land where they land within the whole slide. A reference may be on disk, opened by
        ``anndata.experimental.read_lazy`` or ``anndata.read_h5ad(backed="r")``: its embeddings and expression pass by
        in blocks, and only names and slides of its spots are held (see the page *Large references*).
    ref_weights
        How much a spot of every reference counts, with a list of references: multiplies the weights of the neighbours,
        whose sum stays one, and the spots' part in the regression. ``[1, 5]`` for measured spots of the query slide,
        ``[1, 0.5]`` for an imputed slide, are sensible. None: all count the same.
    key
        Name of the model.
    genes
        Genes to predict; None is every gene that query and reference share.
    n_neighbors
        Reference spots behind every spot; None is what the model was configured with (the paper's 50), and all spots of
        a reference that has fewer.
    neighbor_weights
        What every one of them counts: ``"uniform"``, the same, as in the paper; ``"distance"``, more the nearer it is;
        ``"anchors"``, by pairs of spots that are each other's nearest (:func:`bleep_sc.models.anchor_weights`), where
        a spot is predicted with all others of its slide that are in ``adata``, and changes with them. None is what the
        model was configured with (``FitConfig.neighbor_weights``). With others nothing is promised of genes, since
        held-out tissue was predicted without them; how far to move towards the regression is taken from there all the
        same.
    layer
        Layer of all references to average; None is each one's own: that which the model was fitted on, or which
        ``tl.embed(layer=)`` was told. Genes that were not predicted in a reference that is a prediction are left out.
    target_rep
        Average ``obsm[target_rep]`` of the reference instead, as the paper does with Harmony's output.
    gene_key
        Column of ``var`` that identifies genes in query and reference, such as ``"gene_ids"``; where one of them lacks
        the column its ``var_names`` are taken. Versions of Ensembl ids are ignored. None compares ``var_names``.
    donor_key
        Column of ``obs`` that names the donor of the query's spots; None is that of the reference, or the first that
        names all of ``patient``, ``donor``, ``animal``, ``donor_id``, ``patient_id``, ``individual``, ``subject``.
        With a reference of one donor, predictability is that of other sections of this donor, and given for no other.
    interval
        Also write intervals that are to hold this share of the measured values, such as 0.9, for the genes of the
        panel. They are calibrated on donors of the reference that were held out when it was fitted, or on slides where
        it has one donor or was not told, so they hold for such as these; with few of them, take them as a guide. For
        a query of another donor than the only one, or mostly foreign, they are written, and what they hold there is
        not known: the log says so, and ``interval_of``.
        Imputed spots agree more than measured ones do: with such a reference intervals are too narrow, and confidence
        is too high.
    index
        How neighbours are found. ``"exact"`` compares every spot with every reference spot. ``"faiss"`` holds the
        embeddings of the reference in an index of FAISS (``pip install 'bleep-sc[faiss]'``), which is exact up to
        100,000 reference spots. Beyond it is an inverted file, quicker with many spots and approximate: it is made to
        find 95 % of the exact neighbours of 256 spots, and ``recall`` says how many it found.
    encoder
        A module that the reference was given by hand; it must have the same weights. Or the name of an encoder on a hub
        (timm's, ``"hf-hub:owner/model"``), as the reference names it, where the query has no features yet: its weights
        are fetched from there only where you name it. A list names several, where features of several were trained on.
    device
        Where to compute: the query's embedding, the exact search, weights, sums over the neighbours' expression where
        that is in memory, and the regression. None and ``"auto"`` take the best there is, ``"cuda"``, ``"mps"``,
        ``"cpu"``, and the CPU where that fails; of these ``"mps"`` embeds alone. Other devices differ in the last bits,
        and patches are embedded with 16 bits on a GPU, by an encoder that was trained.
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
        Pearson r within a slide that can be expected of a gene on this query: what donors of the reference reached
        that were held out when it was fitted; slides, where it was not told whose they are. NaN outside the panel. All
        of it is NaN where nothing is known of such a query: most of a slide of it looks unlike the reference, or the
        reference is of one donor and the query not known to be of the same, or has one slide. Look here before looking
        at the predictions. Where donors, slides, or parts of the only slide were held out, as the next.
    ``obs["{key_added}_confidence"]`` : float32
        Share of the reference's own held-out spots whose expected error is larger, from how similar the neighbours of
        a spot are and how much they agree: 0 for the least certain. A rank, and not an error that can be expected of
        tissue unlike what was held out, which ``confidence_of`` names.
    ``obs["{key_added}_typicality"]`` : float32
        Share of the reference's held-out spots around which the tissue is less like that of the (first) reference,
        within 500 µm and in the colours in which it is: below .05 a spot counts as foreign. Of a stain, scanner,
        magnification or compartment that the reference does not know, confidence knows nothing. Where slides of the
        reference were held out and places are known in µm; not for encoders that were trained.
    ``obs["{key_added}_imputed_share"]`` : float32
        Share of a spot's weight that comes from reference spots whose expression is itself a prediction. Where a
        reference is such.
    ``obsm["X_{key}_image"]`` : float32, (n_obs, n_dims)
        Joint embedding of the query's images.
    ``obsm["{key_added}_weights"]`` : CSR float32, (n_obs, n_reference)
        Weight of every reference spot in every predicted spot; rows sum to one.
    ``uns["{key_added}_imputed"]`` : dict
        Units (``transform``, ``target_sum``, ``corrected``), ``gene_key``, ``model_hash``, ``reference_hash`` of the
        ordered names of the reference spots, ``n_reference``, ``shares`` (JSON: the share of every reference slide in
        all weights; slides of the same name have the number of their reference), ``method``, ``version`` and
        ``params``; ``predictability_of``, what predictability was learnt from (``"donors"``, ``"slides of one donor"``
        or ``"slides"``, whose donors were not told) or a sentence that says why there is none; ``confidence_of``, with
        confidence, the same or ``"parts of one slide"``, and why that is not like the query; ``interval`` and
        ``interval_of``, the same of intervals, where ends were asked for; ``recall``, the share of exact neighbours
        that were found, where the search was approximate.

    What an earlier prediction of this name wrote beside, and this one does not, is removed.

    Raises
    ------
    ImportError
        When ``index="faiss"`` and FAISS is not installed.
    KeyError
        When a reference holds no model, or the query neither features nor patches.
    ValueError
        When there is no such ``device``, query and reference share too few genes, features come from another encoder,
        ``n_neighbors`` exceeds the reference, nothing was held out, or too few spots, from which an ``interval`` could
        be calibrated, or references were embedded by different models, measure different genes or hold different units.
        When the expression of a reference on disk is stored by columns, or one has spots on a slide of the query.

    Warns
    -----
    UserWarning
        When spots of the query are in the reference: they find themselves, and cannot be scored. When others of their
        slide are: scores do not compare with those of held-out slides. When slides of the reference were sequenced at
        less than a fifth of the depth of the others: nothing is read off them.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit`:

    >>> bs.tl.impute(adata_query, ref=adata_ref)
    >>> adata_query.layers["bleep"].shape == adata_query.shape
    True
    """
    from bleep_sc.models import retrieval
    from bleep_sc.models.exact_search import kept_on_device, on_device
    from bleep_sc.models.on_device import or_on_the_cpu
    from bleep_sc.models.search import check_index
    from bleep_sc.models.smoothing import smoothed
    from bleep_sc.models.weighing import check_weights, found_and_weighed
    from bleep_sc.training.device import resolve_device

    at = resolve_device(device)
    reference = read_references(
        adata,
        [opened(each, key) for each in as_references(ref, ref_weights)],
        key=key,
        encoder=encoder,
        genes=genes,
        gene_key=gene_key,
        layer=layer,
        target_rep=target_rep,
        weights=ref_weights,
    )
    reference = without_shallow_slides(reference)
    model, name = reference.model, key_added or key
    config, params = model.description.config, model.description.params
    layer = params["layer"] if layer is None and target_rep is None else layer
    check_layer_is_free(adata, name)
    check_store_is_free(store)
    check_index(index)
    neighbor_weights = neighbor_weights or config.get("neighbor_weights", "uniform")
    check_weights(neighbor_weights)
    among = None if reference.weights is None else reference.weights > 0
    n_reference = len(reference.keys) if among is None else int(among.sum())
    n_neighbors = _n_neighbors(n_neighbors, config["n_neighbors"], n_reference)
    if interval is not None:
        check_interval(interval, model, store=store, layer=layer, target_rep=target_rep)
    query, own_donor_key = Spots.of(adata, params), donor_column(adata, donor_key, params.get("donor_key"))
    twins = [same_spots(query, each) for each in reference.spots]
    warn_of_shared_slides(query, reference.spots, twins)

    images = inputs.images_for(query, model.description.recipe, encoder, at)
    smoothing = _smoothing(query, model)

    def found_on(at: torch.device) -> tuple[Any, ...]:
        placed: dict[str, Any] = {"key": key, "encoder": encoder, "device": at}
        embedding, of_refs = place_images(query, reference.spots, twins, model, images, **placed)
        looked_for = smoothed(embedding, query.slides, *smoothing)
        found = found_and_weighed(
            on_device(looked_for if config["metric"] == "cosine" else embedding, at),
            kept_on_device(reference.keys, at) if index == "exact" else reference.keys,
            weights=neighbor_weights,
            embedding=embedding,
            images=of_refs,
            slides=query.slides,
            n_neighbors=n_neighbors,
            metric=config["metric"],
            index=index,
            among=among,
        )
        return embedding, of_refs, looked_for, *found

    named = device not in (None, "auto")
    embedding, of_refs, looked_for, found, weights = or_on_the_cpu(found_on, at, "The search", is_named=named)
    if reference.weights is not None:
        weights = retrieval.reweighted(weights, found.index, reference.weights)
    correct = correction(reference, looked_for, of_refs, found.index.device) if config["regression"] else None
    matrix = retrieval.weight_matrix(found.index, weights, len(reference.keys))
    shares = reference.shares(np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel())
    logger.info("Weights are on %s.", ", ".join(f"{slide} ({share:.1%})" for slide, share in shares.items()))
    typicality = typicality_of(query, images, model.typicality)
    foreign = foreign_slides(typicality, query.slides)
    warn_of_foreign_slides(foreign, name, model)
    promise = Promise.of(model, donors(adata, own_donor_key), foreign, neighbor_weights)
    promise.tell(interval)
    parts = {
        "obs": _of_spots(name, reference, found, weights, matrix, typicality),
        "var": _of_genes(name, reference, is_promised=promise.holds),
        "obsm": {keys.image_embedding(key): embedding, keys.weights(name): matrix},
        "layers": predicted_layers(name, adata.shape, reference, found.index, weights, correct, interval, store),
    }
    record = {
        "method": "bleep",
        **reference.units,
        "gene_key": gene_key or "var_names",
        "model_hash": reference.model_hash,
        "reference_hash": reference.names_hash,
        "n_reference": len(reference.keys),
        "shares": json.dumps(shares),
        **promise.fields(interval=interval is not None, confidence=keys.confidence(name) in parts["obs"]),
        **({} if interval is None else {"interval": float(interval)}),
        **({} if found.recall is None else {"recall": found.recall}),
    }
    how = {"key": key, "n_neighbors": n_neighbors, "layer": layer, "layers": reference.layers, "target_rep": target_rep}
    ref_weights = None if ref_weights is None else [float(weight) for weight in ref_weights]
    how |= {"neighbor_weights": neighbor_weights, "index": index, "ref_weights": ref_weights}
    how |= {"donor_key": own_donor_key}
    record["params"] = json.dumps({**how, **query.params})
    adata = adata.copy() if copy else adata
    write_prediction(adata, name, record, reference.genes, parts)
    return adata if copy else None


def _smoothing(query: Spots, model: FittedModel) -> tuple[NDArray[np.float64] | None, float]:
    """Return where spots are, µm, and over how much tissue their embeddings are averaged."""
    smoothing_um = model.smoothing_um
    centers = query.known_centers_um("embeddings are not averaged over tissue") if smoothing_um else None
    return centers, smoothing_um


def _n_neighbors(n_neighbors: float | None, fitted: int, n_reference: int) -> int:
    """Return how many neighbours there are to be, or refuse: as in fitting, all spots of a reference that has fewer."""
    if n_neighbors is None:
        if fitted > n_reference:
            warn(
                f"The reference has {n_reference} spots, fewer than n_neighbors={fitted}: all of them are averaged for "
                "every spot of the query, and only the regression tells these apart. Pass a smaller n_neighbors=, or a "
                "larger reference."
            )
        return min(fitted, n_reference)
    if n_neighbors != int(n_neighbors) or not 1 <= n_neighbors <= n_reference:
        raise ValueError(
            f"n_neighbors={n_neighbors} must lie between 1 and the number of reference spots, {n_reference}, and be "
            "whole. Pass a smaller n_neighbors=, or a larger reference."
        )
    return int(n_neighbors)


def _of_spots(
    name: str,
    reference: Reference,
    found: Neighbors,
    weights: Tensor,
    matrix: sparse.csr_matrix,
    typicality: NDArray[np.float32] | None,
) -> dict[str, NDArray[np.float32]]:
    """Return what is said of every spot, (n_obs,) each, as far as it can be known."""
    model, result = reference.model, {}
    if model.calibration is not None and reference.judges.any():
        similarity = found.similarity
        result[keys.confidence(name)] = spot_confidence(
            model.calibration, reference.judges, reference.judged, similarity, found.index, weights
        )
    if typicality is not None:
        result[keys.typicality(name)] = typicality
    if reference.is_imputed.any():
        result[keys.imputed_share(name)] = matrix @ reference.is_imputed.astype(np.float32)
    return result


def _of_genes(name: str, reference: Reference, *, is_promised: bool) -> dict[str, NDArray[np.float32]]:
    """Return what is said of every gene, (n_vars,) each, where anything was held out: NaN where it is not promised."""
    if reference.model.calibration is None:
        return {}
    known = reference.panel.predictability if is_promised else np.full(len(reference.names), np.nan)
    return {keys.predictability(name): among_all(known, reference.genes)}
