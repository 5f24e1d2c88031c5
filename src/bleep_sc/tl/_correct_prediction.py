from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_model
from bleep_sc._adata.donors import donors_of_slides
from bleep_sc._adata.expression import record_of
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.tl._models.in_uns import read_description
from bleep_sc.tl._predict import predict
from bleep_sc.tl._predictions.record import (
    OF_THE_LAYER_ALONE,
    among_all,
    check_layer_is_free,
    params_of,
    require_as_predicted,
    require_prediction,
    write_prediction,
)
from bleep_sc.tl._references.genes import match_genes
from bleep_sc.tl._references.made_by import require_made_by

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.models.fitted import Description

MAX_FOLDS = 5
"""Models that are fitted again to predict what they have not seen."""


def correct_prediction(
    adata: AnnData, ref: AnnData, layer: str, *, by: str = "bleep", key_added: str | None = None, copy: bool = False
) -> AnnData | None:
    r"""Correct what a model trained elsewhere predicts by a reference, gene by gene, as far as it is worth something.

    A model that has learnt from much other tissue (zero-shot) knows some genes, in units and with an offset of its own;
    the reference knows this tissue. Here the two are put together on top of the prediction by the reference:
    :math:`\hat y = o + s \, b \, (e - c \, o)`, in deviations from the mean of a slide, with :math:`o` what the
    reference predicts and :math:`e` the other prediction. Slope, overlap, and how much of the change to keep, come from
    spots of the reference as models predicted them that had not seen their donor, or slide, and are judged on others of
    these (:math:`s` falls to 0 where the other prediction helps nobody). Its units and its level do not matter.

    Parameters
    ----------
    adata
        The query: with ``layers[layer]`` and ``layers[by]``.
    ref
        The reference that predicted it, with the same model's predictions in ``layers[layer]``. If that model was
        trained on its slides, it looks better there than it is on a query.
    layer
        The other prediction on both sides, in any unit; NaN for genes that it lacks.
    by
        The prediction by the reference: of :func:`bleep_sc.tl.impute`, whose fit kept held-out spots
        (``obsm["bleep_held_out"]``), or of :func:`bleep_sc.tl.predict` with a ridge regression, which is fitted again
        without each of the donors, or slides.
    key_added
        Name of the result; None is ``"{layer}_corrected"``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        Predictions in the units of the reference; ``layers[by]`` for genes about which nothing could be learnt. NaN for
        genes that are NaN there.
    ``var["{key_added}_slope"]`` : float32
        How much of the other prediction, in its own units, was added: :math:`s \, b`. 0 where it did not help, NaN
        where the reference cannot tell (not in its panel, or not predicted by the other model).
    ``var["{key_added}_predicted"]`` : bool
        Which genes were predicted.
    ``uns["{key_added}_imputed"]`` : dict
        The record of ``layers[by]``, with ``corrected_from``, the name of the other prediction, and ``corrected_by``;
        without what is said there of intervals, confidence and predictability, which a corrected layer has not.

    Raises
    ------
    KeyError
        Without the layers, or when the reference holds no model.
    ValueError
        When ``layers[by]`` was made of another prediction, or not predicted from ``ref`` alone; the reference has kept
        no held-out spots, has one slide alone, was asked for another layer than it was
        fitted on, or shares no gene with the other prediction; or when the latter is of ``bleep_sc``.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`, with a model from elsewhere that sees some genes through noise:

    >>> random = np.random.default_rng(0)
    >>> for side in (adata_ref, adata_query):
    ...     noise = random.normal(size=side.shape)
    ...     side.layers["theirs"] = (3 * side.X.toarray() + noise).astype(np.float32)
    >>> bs.tl.correct_prediction(adata_query, adata_ref, "theirs")
    >>> float(adata_query.var["theirs_corrected_slope"].max()) > 0
    True
    """
    from bleep_sc.training.stacking import stack, stacked

    name = f"{layer}_corrected" if key_added is None else key_added
    own, genes, record = require_prediction(adata, by)
    check_layer_is_free(adata, name)
    params = params_of(record, by)
    require_as_predicted(record, by)
    require_made_by(record, by, ref, params["key"])
    description = read_description(require_model(ref, params["key"]), params["key"])
    _check_layer_of(params, description, by)
    other = {side: _predicted(each, layer, side) for side, each in (("adata", adata), ("ref", ref))}
    gene_key = None if record["gene_key"] == "var_names" else record["gene_key"]
    in_ref = match_genes(adata, ref, None, gene_key)
    panel = {gene: place for place, gene in enumerate(description.genes)}
    in_panel = np.array([panel.get(ref.var_names[i], -1) if i >= 0 else -1 for i in in_ref], dtype=np.intp)
    judged = genes & (in_panel >= 0) & np.isfinite(other["adata"]).all(axis=0)
    judged[judged] = np.isfinite(other["ref"][:, in_ref[judged]]).all(axis=0)
    if not judged.any():
        raise ValueError(
            f"layers[{layer!r}] predicts no gene of the {len(description.genes)} of the model on both sides, such as "
            f"{listed(description.genes, 3)}. Name its genes as the reference does."
        )
    spots = Spots.of(ref, description.params)
    units, held = _held_out(ref, params["key"], spots, description)
    rows = np.flatnonzero(np.isfinite(held).all(axis=1))
    of_model = {each: description.params[each] for each in ("layer", "target_rep")}
    truth = inputs.panel_expression(ref, description.genes, **of_model)
    slope, overlap = stack(
        truth[np.ix_(rows, in_panel[judged])],
        held[np.ix_(rows, in_panel[judged])],
        other["ref"][np.ix_(rows, in_ref[judged])],
        spots.slides[rows],
        units[rows],
    )
    values = dense(own).astype(np.float32)
    slides = Spots.of(adata, description.params).slides
    values[:, judged] = stacked(values[:, judged], other["adata"][:, judged], slides, slope, overlap)
    logger.info("%d of %d genes take something of %r.", int((slope > 0).sum()), int(judged.sum()), layer)
    adata = adata.copy() if copy else adata
    parts = {"layers": {name: values}, "var": {keys.slope(name): among_all(slope, judged)}}
    kept = {field: value for field, value in record.items() if field not in OF_THE_LAYER_ALONE}
    write_prediction(adata, name, {**kept, "corrected_from": layer, "corrected_by": by}, genes, parts)
    return adata if copy else None


def _predicted(adata: AnnData, layer: str, side: str) -> NDArray[np.float32]:
    """Return what the other model predicts for one side, (n_obs, n_vars)."""
    values = require_layer(
        adata, layer, f"It holds the other prediction, for {side}; reference and query must both have it."
    )
    if record_of(adata, layer) is not None:
        raise ValueError(
            f"layers[{layer!r}] of {side} was predicted by bleep_sc, from expression that it was fitted on. Pass what "
            "a model trained elsewhere predicts from images alone."
        )
    return dense(values)


def _check_layer_of(params: dict[str, Any], description: Description, by: str) -> None:
    """Refuse predictions of another layer than held-out spots were predicted in."""
    asked = (params.get("layers", [description.params["layer"]])[0], params.get("target_rep"))
    fitted = (description.params["layer"], description.params["target_rep"])
    if asked != fitted and "layers" in params:
        raise ValueError(
            f"layers[{by!r}] was imputed from another layer of the reference (layer={asked[0]!r}, "
            f"target_rep={asked[1]!r}) than it was fitted on ({fitted[0]!r}, {fitted[1]!r}): what it is worth is not "
            "known. Impute it from that."
        )


def _held_out(
    ref: AnnData, key: str, spots: Spots, description: Description
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return what each spot is held out with, and its prediction by a model that has not seen that, (n, n_panel)."""
    from bleep_sc.models.methods import METHODS
    from bleep_sc.training.validation import folds, units_to_hold_out

    row, params = METHODS[description.method], description.params
    donors = donors_of_slides(ref, spots.slides, params.get("donor_key"))
    units = units_to_hold_out(spots.slides, donors)
    if len(np.unique(units)) == 1:
        raise ValueError(
            "The reference has one slide: what another prediction is worth cannot be judged on tissue that it was not "
            "learnt on. Fit on two slides or more."
        )
    if keys.held_out(key) in ref.obsm:
        return units, np.asarray(ref.obsm[keys.held_out(key)], dtype=np.float32)
    if row.is_random or row.images != "features":
        raise ValueError(
            f"obsm[{keys.held_out(key)!r}] not found: the reference has kept no spots that were predicted unseen. Fit "
            "with FitConfig(cross_fit=True), or pass by=, a prediction of bleep_sc.tl.fit_ridge."
        )
    held = np.full((ref.n_obs, len(description.genes)), np.nan, dtype=np.float32)
    how = {name: params[name] for name in ("layer", "target_rep", "library_key", "donor_key")}
    for out in folds(units, MAX_FOLDS, 0):
        part, rest = ref[~out].copy(), ref[out].copy()
        part.var[keys.HIGHLY_VARIABLE] = part.var_names.isin(description.genes)
        fit_method(part, description.method, use_rep=description.recipe["use_rep"], key_added="held_out", **how)
        predict(rest, part, key="held_out")
        held[out] = dense(rest[:, description.genes].layers["held_out"])
    return units, held
