from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_model, require_obsm
from bleep_sc._adata.donors import donor_column, donors
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models.in_uns import read_description
from bleep_sc.tl._models.panel import Panel
from bleep_sc.tl._predictions.intervals import check_share
from bleep_sc.tl._predictions.promise import Promise
from bleep_sc.tl._predictions.record import (
    OF_THE_LAYER_ALONE,
    among_all,
    check_layer_is_free,
    params_of,
    require_as_predicted,
    require_prediction,
    write_prediction,
)
from bleep_sc.tl._predictions.typicality import foreign_slides
from bleep_sc.tl._references.genes import match_genes
from bleep_sc.tl._references.made_by import require_made_by
from bleep_sc.tl._references.same_place import (
    Sections,
    laid_on_query,
    laid_within,
    shares_of_slides,
    weights_of_places,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.models.calibration import Calibration
    from bleep_sc.models.fitted import Description
    from bleep_sc.slides._same_place import Match

CAUTION = "copies places of neighbouring sections: for sections of the same piece of tissue, and for no others"
FIT_AGAIN = (
    "Copying places is learnt on sections that were held out when the reference was fitted: bleep_sc.tl.fit writes "
    "them where it has two sections or more, with FitConfig(cross_fit=True)."
)


def blend_place(
    adata: AnnData,
    ref: AnnData,
    layer: str = "bleep",
    *,
    patches_key: str = keys.PATCHES,
    donor_key: str | None = None,
    interval: float | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Blend a prediction with the same place of neighbouring sections: for serial sections of one piece of tissue.

    What was read off morphology is moved towards what the sections of the reference measured at the same place,

    .. math:: \hat y_g = (1 - s_g) \, \hat y_g^{\text{morphology}} + s_g \sum_j w_j y_{jg},
        \quad w_j \propto \exp(-d_j^2 / 2 \sigma^2).

    Sections are laid on each other by outline and colour, and never by expression. The share :math:`s_g` of every gene,
    and :math:`\sigma`, are learnt on the reference alone: its sections are held out one after another, predicted
    from morphology by models that had not seen them and from the same place of the others, and the slope of what the
    former misses on what the latter would change is shrunk towards that of all genes (stacking, Wolpert 1992; the
    equations are those of the regression in :func:`bleep_sc.tl.fit`).

    **It copies places.** On a section that is no neighbour of the reference's, such as one of another patient, the
    same place is other tissue. Sections whose outlines and colours do not match are not copied from, and a slide
    that none matches is refused; a match is no proof, so use this where you know that sections are neighbours. What is
    new in a section and shows in no neighbour is diluted by :math:`s_g`.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` wrote to, with patches and places in µm.
    ref
        The reference that it was imputed from, a single one, with patches, places in µm and two sections or more of the
        same tissue.
    layer
        The predicted layer.
    patches_key
        Key of the patches of both, whose mean colours lay sections on each other.
    donor_key
        Column of ``obs`` that names the donor of the query's spots; None is what :func:`bleep_sc.tl.impute` found. What
        was learnt between sections of the reference's donors is promised for these alone.
    interval
        Also write intervals that are to hold this share of the measured values, such as 0.9, for the genes of the
        panel. They are calibrated on the sections that were held out.
    key_added
        Name of the result; None is ``"{layer}_place"``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        The blend, in the units of ``layer``; NaN for genes that were not predicted.
    ``layers["{key_added}_retrieved"]`` : float32, (n_obs, n_vars)
        The part of the place, which is what the weights explain.
    ``layers["{key_added}_lower"]``, ``layers["{key_added}_upper"]`` : float32, (n_obs, n_vars)
        With ``interval=``: its ends.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were.
    ``var["{key_added}_share"]`` : float32
        :math:`s_g`, between 0 and 1; outside the panel that of all its genes together.
    ``var["{key_added}_predictability"]`` : float32
        Pearson r within sections of the reference that were held out and predicted in the same way, less what chance
        explains. NaN outside the panel, and everywhere for a query that is not known to be of a donor of the reference,
        where that was told at its fit.
    ``obs["{key_added}_confidence"]`` : float32
        Share of the held-out spots whose expected error is larger, from how far morphology and place agree and how
        much expression differs around the place. A rank. Where all genes by which spots are judged were predicted.
    ``obs["{key_added}_typicality"]``, ``obs["{key_added}_imputed_share"]`` : float32
        Those of ``layer``, where it has them.
    ``obsm["{key_added}_weights"]`` : CSR float32, (n_obs, n_reference)
        :math:`w`, the weight of every reference spot in the place of every spot; rows sum to one. Those of morphology
        stay in ``obsm["{layer}_weights"]``.
    ``uns["{key_added}_imputed"]`` : dict
        The record of ``layer`` with ``blended_from``, its name; ``place`` (JSON: ``width_um``, :math:`\sigma`;
        ``share`` of all genes; ``matches``, overlap and correlation of colours of every section that was copied from,
        by the slide; ``morphology_held_out``, what morphology had not seen where the shares were learnt), ``caution``,
        and what predictability, confidence and intervals were learnt from.

    Raises
    ------
    KeyError
        Without the layer, patches, places, or spots of the reference that were held out.
    ValueError
        When µm per px are not known, the layer was not imputed from ``ref`` alone, a slide of the query is in the
        reference, the reference has no two sections that lie on each other, or none lies on a slide of the query.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.blend_place(adata_query, adata_ref)
    >>> adata_query.layers["bleep_place"].shape == adata_query.shape
    True
    """
    from bleep_sc.models.same_place import mean_and_variance

    values, genes, record = require_prediction(adata, layer)
    name = keys.placed(layer) if key_added is None else key_added
    check_layer_is_free(adata, name)
    params = params_of(record, layer)
    description = _described(ref, layer, record, params)
    if interval is not None:
        check_share(interval, sum(description.slides.values()))
    column = donor_column(adata, donor_key, params.get("donor_key"))
    query, spots = Spots.of(adata, params), Spots.of(ref, description.params)
    _check_apart(query, spots)
    held_out, measured = _held_out(ref, params["key"], description)
    sections, of_query = Sections.of(spots, patches_key), Sections.of(query, patches_key)
    fitted = [each for each in np.unique(spots.slides).tolist() if each in (description.slides or {each})]
    laid, matches = laid_on_query(sections, of_query, fitted)
    width_um, learnt = _learnt(held_out, measured[:, ref.var_names.get_indexer(description.genes)], sections, fitted)
    gene_key = None if record["gene_key"] == "var_names" else record["gene_key"]
    columns = match_genes(adata, ref, adata.var_names[genes].tolist(), gene_key)[genes]
    panel = Panel(description.genes, learnt, ref.var_names[columns].tolist())
    weights = weights_of_places(of_query, laid, width_um)
    place, variance = mean_and_variance(weights, measured[:, columns])
    morphology = dense(values[:, np.flatnonzero(genes)])
    blended = morphology + panel.shrinkage * (place - morphology)
    layers = {name: blended, keys.retrieved(name): place}
    if interval is not None:
        ends = panel.ends(interval, variance[:, panel.position >= 0], measured[:, columns], blended)
        layers |= dict(zip((keys.lower(name), keys.upper(name)), ends, strict=True))
    obs = _carried(adata, layer, name)
    foreign = foreign_slides(obs.get(keys.typicality(name)), query.slides)
    obs |= _confidence(name, panel, learnt, morphology, place, variance)
    promise = Promise.of_sections(description.params.get("donors"), donors(adata, column), foreign)
    promise.tell(interval)
    logger.warning("layers[%r] %s.", name, CAUTION)
    parts = {
        "layers": {each: among_all(part, genes) for each, part in layers.items()},
        "var": {
            keys.share(name): among_all(panel.shrinkage, genes),
            keys.predictability(name): among_all(panel.predictability * (1 if promise.holds else np.nan), genes),
        },
        "obs": obs,
        "obsm": {keys.weights(name): weights},
    }
    record = {
        **{key: value for key, value in record.items() if key not in OF_THE_LAYER_ALONE},
        "blended_from": layer,
        "place": json.dumps(_how(width_um, learnt, matches, description)),
        "caution": f"{name} {CAUTION}",
        "shares": json.dumps(shares_of_slides(weights, spots.slides)),
        **promise.fields(interval=interval is not None, confidence=keys.confidence(name) in obs),
        **({} if interval is None else {"interval": float(interval)}),
        "params": json.dumps({**params, "patches_key": patches_key, "donor_key": column}),
    }
    adata = adata.copy() if copy else adata
    write_prediction(adata, name, record, genes, parts)
    return adata if copy else None


def _described(ref: AnnData, layer: str, record: Mapping[str, Any], params: Mapping[str, Any]) -> Description:
    """Return the description of the model, or refuse a layer that was not imputed from this reference alone."""
    require_as_predicted(record, layer)
    if record["method"] != "bleep" or params.get("target_rep") is not None:
        raise ValueError(
            f"layers[{layer!r}] was not read off measured expression by bleep_sc.tl.impute (method="
            f"{record['method']!r}, target_rep={params.get('target_rep')!r}). Pass layer=, one that was."
        )
    key = params["key"]
    require_made_by(record, layer, ref, key)
    description = read_description(require_model(ref, key), key)
    _check_read_off(layer, params, description.config, record["n_reference"])
    fitted_on = (description.params["layer"], description.params["target_rep"])
    averaged = params["layers"][0] if "layers" in params else fitted_on[0]
    if fitted_on != (averaged, None):
        raise ValueError(
            f"layers[{layer!r}] was averaged from layer={averaged!r}, and the model was fitted on "
            f"layer={fitted_on[0]!r}, target_rep={fitted_on[1]!r}, so that what it held out is in other units. Impute "
            "from the layer that it was fitted on."
        )
    return description


def _check_read_off(layer: str, params: Mapping[str, Any], config: Mapping[str, Any], n_reference: int) -> None:
    """Refuse a layer that was read off otherwise than held-out sections, on which shares were learnt."""
    as_held_out = {
        "n_neighbors": min(config["n_neighbors"], n_reference),
        "neighbor_weights": config.get("neighbor_weights", "uniform"),
    }
    for name, own in as_held_out.items():
        if params.get(name, own) != own:
            raise ValueError(
                f"layers[{layer!r}] was imputed with {name}={params[name]!r}, and held-out sections with {own!r}: how "
                f"far to go by place was learnt on these. Impute without {name}=, or fit with "
                f"FitConfig({name}={params[name]!r})."
            )


def _held_out(ref: AnnData, key: str, description: Description) -> tuple[NDArray[np.float32], Any]:
    """Return what held-out spots of the reference were predicted as, (n_reference, n_panel), and what was measured."""
    held_out = np.asarray(require_obsm(ref, keys.held_out(key), FIT_AGAIN), dtype=np.float32)
    absent = [gene for gene in description.genes if gene not in ref.var_names]
    if absent or held_out.shape != (ref.n_obs, len(description.genes)):
        raise ValueError(
            f"ref= is not as it was fitted: obsm[{keys.held_out(key)!r}] has shape {held_out.shape}, and of the "
            f"{len(description.genes)} genes of uns[{key!r}] {listed(absent)} are not in var_names. Restore it, or fit "
            "it again."
        )
    return held_out, require_layer(ref, description.params["layer"], "Restore the layer that it was fitted on.")


def _learnt(
    held_out: NDArray[np.float32], measured: Any, sections: Sections, fitted: list[str]
) -> tuple[float, Calibration]:
    """Return over which distance the reference copies places, µm, and what its held-out sections teach of that."""
    from bleep_sc.training.same_place import learn_place

    within = laid_within(sections, fitted)
    return learn_place(held_out, dense(measured), sections.slides, sections.points, within)


def _how(
    width_um: float, learnt: Calibration, matches: Mapping[str, Mapping[str, Match]], description: Description
) -> dict[str, Any]:
    """Return how places were copied, for the record."""
    from bleep_sc.models.basis import basis

    return {
        "width_um": width_um,
        "share": round(float(learnt.typical_shrinkage), 4),
        "morphology_held_out": basis(description.params, description.slides, held_out=True),
        "matches": {slide: {each: vars(match) for each, match in of.items()} for slide, of in matches.items()},
    }


def _check_apart(query: Spots, ref: Spots) -> None:
    """Refuse slides of the query that are in the reference."""
    shared = query.on_slides_of(ref)
    if shared.any():
        raise ValueError(
            f"Slide {listed(np.unique(query.slides[shared]))} is in the query and in the reference: it would be copied "
            "from itself. Leave it out of one of them, or rename it where it is another."
        )


def _carried(adata: AnnData, layer: str, name: str) -> dict[str, Any]:
    """Return what is said of spots of the layer that was blended, and holds of the blend as well."""
    carried = {each(layer): each(name) for each in (keys.typicality, keys.imputed_share)}
    return {new: adata.obs[old].to_numpy(dtype=np.float32) for old, new in carried.items() if old in adata.obs}


def _confidence(
    name: str,
    panel: Panel,
    learnt: Calibration,
    morphology: NDArray[np.float32],
    place: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """Return the confidence of every spot, (n_obs,), where all genes by which spots are judged were predicted."""
    from bleep_sc.models.calibration import disagreement
    from bleep_sc.models.same_place import agreement

    judged = np.flatnonzero((panel.position >= 0) & learnt.monitored[panel.position])
    if len(judged) < learnt.monitored.sum():
        logger.info("Confidence is left out: not all genes by which spots are judged were predicted.")
        return {}
    std = learnt.std[panel.position[judged]]
    agree = agreement(morphology[:, judged], place[:, judged], std)
    return {keys.confidence(name): learnt.confidence(agree, disagreement(variance[:, judged], std))}
