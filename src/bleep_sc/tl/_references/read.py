"""The reference of a prediction: one AnnData or several, checked and laid side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model, require_obsm, unread_layer
from bleep_sc._adata.expression import record_of
from bleep_sc._adata.records import names_hash
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.blocks import in_memory
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import model_hash, read_description, read_model
from bleep_sc.tl._models.panel import Panel
from bleep_sc.tl._references.checksums import warn_of_changed_spots
from bleep_sc.tl._references.on_disk import LAYER, sampled, stacked
from bleep_sc.tl._references.parts import check_parts
from bleep_sc.tl._references.same_slide import embeddings_of
from bleep_sc.tl._references.values import as_embedded, fitted_units, in_common_units, reference_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.models.fitted import Description, FittedModel


TOGETHER = "Fit one and place the others in its embedding: bleep_sc.tl.embed(other, first, expression=True)."


@dataclass(frozen=True)
class Reference:
    """The spots of all references, one after another, and the genes of the query that they hold."""

    model: FittedModel
    model_hash: str
    """Name of its weights."""
    spots: list[Spots]
    """Of every reference."""
    keys: Any
    """Expression embeddings, (n_reference, n_dims); like the expression, in memory or not."""
    genes: NDArray[np.bool_]
    """Which genes of the query are predicted, (n_vars,)."""
    names: list[str]
    """What the reference calls these, (n_predicted,)."""
    values: Any
    """Their expression, (n_reference, n_predicted)."""
    layers: list[str | None]
    """Where it is in every reference."""
    units: dict[str, Any]
    """Of the expression."""
    slides: NDArray[np.str_]
    """Slide of every spot, (n_reference,), numbered where two references have one of the same name."""
    is_imputed: NDArray[np.bool_]
    """Whose expression is itself a prediction, (n_reference,)."""
    weights: NDArray[np.float32] | None
    """What every spot counts, (n_reference,); None where all count the same."""
    judges: NDArray[np.bool_]
    """Genes of the panel by which the confidence of a prediction is judged, (n_panel,)."""
    judged: Any
    """Their expression, (n_reference, n_judges); None without such genes."""

    @cached_property
    def panel(self) -> Panel:
        """Where the genes that are predicted stand in the panel of the model."""
        return Panel(self.model.description.genes, self.model.calibration, self.names)

    @property
    def names_hash(self) -> str:
        """Of the names of the spots, in their order."""
        return names_hash(np.concatenate([each.adata.obs_names for each in self.spots]))

    def shares(self, total: NDArray[np.float64]) -> dict[str, float]:
        """Return the share of every slide in the weights of the spots (n_reference,), the largest first."""
        slides, slide = np.unique(self.slides, return_inverse=True)
        share = np.bincount(slide, total) / total.sum()
        return {str(slides[i]): round(float(share[i]), 6) for i in np.argsort(-share, kind="stable")}


def as_references(ref: AnnData | Sequence[AnnData], ref_weights: Sequence[float] | None) -> list[AnnData]:
    """Return the references as a list, or refuse them or their weights."""
    from anndata import AnnData

    refs = list(ref) if isinstance(ref, list | tuple) else [ref]
    wrong = [type(each).__name__ for each in refs if not isinstance(each, AnnData)]
    if wrong or not refs:
        raise TypeError(f"ref= must be an AnnData, or a list of them, not {listed(wrong)}. Read a file first.")
    if ref_weights is None:
        return refs
    if isinstance(ref, AnnData):
        raise ValueError("ref_weights= weighs several references against each other; pass ref= as a list of them.")
    if np.shape(ref_weights) != (len(refs),):
        raise ValueError(f"ref_weights={ref_weights!r} must be a list of {len(refs)} numbers, one for each of ref=.")
    if not all(np.isfinite(weight) and weight > 0 for weight in ref_weights):
        raise ValueError(
            f"ref_weights={ref_weights!r} must be finite and above zero. Leave out a reference that is not to count."
        )
    return refs


def read_references(
    adata: AnnData,
    refs: list[AnnData],
    *,
    key: str,
    encoder: str | Sequence[str] | nn.Module | None,
    genes: Sequence[str] | None,
    gene_key: str | None,
    layer: str | None,
    target_rep: str | None,
    weights: Sequence[float] | None,
) -> Reference:
    """Read all that a prediction needs of its references, or say which of them does not fit."""
    if layer is not None and target_rep is not None:
        raise ValueError(f"layer={layer!r} and target_rep={target_rep!r} both say what to average; pass one of them.")
    record = require_model(refs[0], key)
    model = read_model(record, key, encoder)
    _require_retrieval(model.description, key)
    params = model.description.params
    spots = [Spots.of(each, params) for each in refs]
    called = _called(spots)
    records = [record, *_other_models(refs[1:], called[1:], key)]
    descriptions = [model.description, *(read_description(each, key) for each in records[1:])]
    weights_of_model = _common_hash(records, called)
    own = [_own_layer(each) for each in descriptions]
    is_own = layer is None and target_rep is None
    layers = own if is_own else [layer] * len(refs)
    fitted_on = fitted_units(refs[0], model.description)
    embedded = as_embedded(refs, called, own, fitted_on)
    as_written, transform = refs, fitted_on["transform"] if is_own else None
    refs, common = in_common_units(refs, called, layers, target_rep, transform)
    predicted, values, names = reference_values(adata, refs, called, genes, gene_key, layers, target_rep)
    for of_model, where, description, name in zip(embedded, spots, descriptions, called, strict=True):
        check_parts(replace(where, adata=of_model), key, description, model.module, name, is_averaged=is_own)
    counts = [each.n_obs for each in refs]
    is_imputed = [target_rep is None and record_of(*each) is not None for each in zip(refs, layers, strict=True)]
    judges, judged = _judges(embedded, called, model, own, is_averaged=is_own)
    if is_own:
        for ref, description, name in zip(as_written, descriptions, called, strict=True):
            warn_of_changed_spots(ref, key, description.params, name)
    return Reference(
        model=model,
        model_hash=weights_of_model,
        spots=spots,
        keys=embeddings_of(refs, keys.expression_embedding(key)),
        genes=predicted,
        names=names,
        values=values,
        layers=layers,
        units=common,
        slides=_numbered_slides(spots),
        is_imputed=np.repeat(is_imputed, counts),
        weights=None if weights is None else np.repeat(np.asarray(weights, dtype=np.float32), counts),
        judges=judges,
        judged=judged,
    )


def _require_retrieval(description: Description, key: str) -> None:
    """Refuse models that are not read off a reference, or no longer."""
    if description.method != "bleep":
        raise ValueError(
            f"uns[{key!r}] is a {description.method} model, which reads nothing off a reference. Predict with it: "
            f"bleep_sc.tl.predict(adata, ref=adata_ref, key={key!r})."
        )
    weights = description.config.get("weights", "uniform")
    if weights != "uniform":
        raise ValueError(
            f"uns[{key!r}] was fitted by bleep_sc {description.version} with FitConfig(weights={weights!r}), which "
            "this version does not have. Fit it again: bleep_sc.tl.fit(adata_ref)."
        )


def _called(refs: list[Spots]) -> list[str]:
    """Return what errors call the references."""
    if len(refs) == 1:
        return ["the reference"]
    slides = [listed(np.unique(each.slides), 3) for each in refs]
    return [f"reference {number} (slides: {names})" for number, names in enumerate(slides, start=1)]


def _other_models(refs: list[AnnData], called: list[str], key: str) -> list[dict[str, Any]]:
    for each, name in zip(refs, called, strict=True):
        if key not in each.uns:
            raise KeyError(f"There is no model in {name}: uns[{key!r}] not found. {TOGETHER}")
    return [require_model(each, key) for each in refs]


def _common_hash(records: list[dict[str, Any]], called: list[str]) -> str:
    """Return the name of the weights that embedded all references, or refuse others."""
    hashes = [model_hash(each) for each in records]
    others = [name for name, of_model in zip(called, hashes, strict=True) if of_model != hashes[0]]
    if others:
        raise ValueError(
            f"The references were embedded by {len(set(hashes))} different models, so they cannot be searched "
            f"together: {' and '.join(others)} by another than {called[0]}. {TOGETHER}"
        )
    return hashes[0]


def _own_layer(description: Description) -> str | None:
    """Return where the expression of a reference is: as it was embedded, or as the model was fitted."""
    params = description.params
    layer: str | None = params.get("reference_layer", params["layer"])
    return layer


def _numbered_slides(refs: list[Spots]) -> NDArray[np.str_]:
    """Return the slide of every spot, (n_reference,), with the number of its reference where others have such a one."""
    owners = [name for each in refs for name in np.unique(each.slides)]
    numbered = []
    for number, each in enumerate(refs, start=1):
        names, slide = np.unique(each.slides, return_inverse=True)
        numbered.append(np.array([f"{name} ({number})" if owners.count(name) > 1 else name for name in names])[slide])
    return np.concatenate(numbered)


def _judges(
    refs: list[AnnData], called: list[str], model: FittedModel, layers: list[str | None], *, is_averaged: bool
) -> tuple[NDArray[np.bool_], Any]:
    """Return by which genes of the panel confidence is judged, the most variable ones, and their expression.

    There are none where what the model was fitted on is no longer there, which is refused only if it ``is_averaged``.
    """
    params, genes = model.description.params, np.array(model.description.genes)
    judges, own = np.zeros(len(genes), dtype=bool), params["target_rep"]
    if model.calibration is not None:
        present = [set(each.var_names) if own is None else set(genes) for each in refs]
        judges = model.calibration.monitored & np.isin(genes, list(set.intersection(*present)))
    if not judges.any():
        return judges, None
    chosen = genes[judges].tolist()
    try:
        parts = [panel_of(each, chosen, layer, own) for each, layer in zip(refs, layers, strict=True)]
    except (KeyError, ValueError) as error:
        if is_averaged:
            raise
        logger.info("Confidence is left out, since what it is judged by is gone: %s", error)
        return np.zeros_like(judges), None
    arrays, columns = zip(*parts, strict=True)
    return judges, stacked(arrays, columns, [f"The expression of {name}" for name in called])


def panel_of(ref: AnnData, genes: list[str], layer: str | None, target_rep: str | None) -> tuple[Any, Any]:
    """Return an array with the expression of genes of the panel, and in which columns; None where these are all."""
    values = unread_layer(ref, layer, LAYER) if target_rep is None else require_obsm(ref, target_rep, "")
    some = sampled(ref, layer, target_rep)
    panel = inputs.panel_expression(some, genes, layer, target_rep)
    if in_memory(values):
        return panel, None
    names = ref.var_names if target_rep is None else pd.Index(inputs.expression(some, None, target_rep)[1])
    return values, names.get_indexer(genes)
