"""The expression of references: in which units it is, and which genes of a query are in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import logs
from bleep_sc._adata.checks import require_layer, unread_layer
from bleep_sc._adata.expression import record_of, units
from bleep_sc._arrays.blocks import dense, in_memory
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._references.genes import match_genes
from bleep_sc.tl._references.on_disk import LAYER, has_layer, sampled, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.models.fitted import Description


def in_common_units(
    refs: list[AnnData], called: list[str], layers: list[str | None], target_rep: str | None, fitted_on: str | None
) -> tuple[list[AnnData], dict[str, Any]]:
    """Return the references in the units of the first one, and these units; or refuse what cannot be converted.

    ``fitted_on`` is what the values of the first one were called when the model was fitted, where these are meant.
    """
    each: list[dict[str, Any]] = []
    for ref, layer in zip(refs, layers, strict=True):
        presumed = each[0]["transform"] if each else fitted_on
        each.append(units(sampled(ref, layer, target_rep), layer, target_rep, presumed=presumed))
    first = each[0]
    if fitted_on is not None and first["transform"] != fitted_on:
        raise ValueError(
            f"{_place(layers[0])} of {called[0]} holds {logs.named(first)}, but the model was fitted on "
            f"{_meaning(fitted_on)}. Restore it, or pass layer=, the layer to average."
        )
    same = []
    for ref, own, name, layer in zip(refs, each, called, layers, strict=True):
        if not logs.are_alike(own, first) and not logs.can_convert(own, first):
            raise ValueError(
                f"The references hold different things: {called[0]} {logs.named(first)}, {name} {logs.named(own)}. "
                "Pass layer=, one that means the same in all of them."
            )
        same.append(ref if logs.are_alike(own, first) else _converted(ref, layer, own, first, name))
    return same, first


def as_embedded(
    refs: list[AnnData], called: list[str], layers: list[str | None], wanted: dict[str, Any]
) -> list[AnnData]:
    """Return the references with their own layers in the units that the model was fitted on, where they can be."""
    result = []
    for ref, name, layer in zip(refs, called, layers, strict=True):
        some = sampled(ref, layer) if has_layer(ref, layer) else None
        own = wanted if some is None else units(some, layer, presumed=wanted["transform"])
        as_it_is = logs.are_alike(own, wanted) or not logs.can_convert(own, wanted)
        result.append(ref if as_it_is else _converted(ref, layer, own, wanted, name))
    return result


def fitted_units(ref: AnnData, description: Description) -> dict[str, Any]:
    """Return the units that a model was fitted on; ``ref`` is what it was fitted on.

    Version 0.1.0 called all logarithms natural, and is not believed.
    """
    params = description.params
    recorded: dict[str, Any] = params["units"]
    layer = params.get("reference_layer", params["layer"])
    if "measured" in params or recorded["transform"] != logs.NATURAL or not has_layer(ref, layer):
        return recorded
    now = units(sampled(ref, layer), layer)
    return recorded if logs.base_of(now["transform"]) is None else now


def _converted(ref: AnnData, layer: str | None, own: dict[str, Any], wanted: dict[str, Any], called: str) -> AnnData:
    """Return a reference whose logarithms are to another base or of another total."""
    from anndata import AnnData

    values = unread_layer(ref, layer, LAYER)
    if not in_memory(values):
        raise ValueError(
            f"{_place(layer)} of {called}, which is on disk, holds {logs.named(own)}, and the first reference "
            f"{logs.named(wanted)}. Load it, ref = ref.to_memory(), and it is converted."
        )
    logger.info("%s of %s is converted from %s to %s.", _place(layer), called, logs.named(own), logs.named(wanted))
    layers = {name: part for name, part in ref.layers.items() if name is not None}
    new, whole = logs.converted(values, own, wanted), ref.X
    if layer is None:
        whole = new
    else:
        layers[layer] = new
    return AnnData(whole, obs=ref.obs, var=ref.var, uns=ref.uns, obsm=dict(ref.obsm), layers=layers)


def _place(layer: str | None) -> str:
    return "X" if layer is None else f"layers[{layer!r}]"


def _meaning(transform: str) -> str:
    return logs.named({"transform": transform, "target_sum": 0.0, "corrected": False})


def reference_values(
    adata: AnnData,
    refs: list[AnnData],
    called: list[str],
    genes: Sequence[str] | None,
    gene_key: str | None,
    layers: list[str | None],
    target_rep: str | None,
) -> tuple[NDArray[np.bool_], Any, list[str]]:
    """Return which genes of the query are predicted, their expression in the references, and their names there.

    Those are the genes that all references measured, without any that was not predicted in a reference that is itself
    a prediction.
    """
    sources = refs if target_rep is None else [_as_genes(each, target_rep) for each in refs]
    columns = [match_genes(adata, source, genes, gene_key) for source in sources]
    found = columns[0] >= 0
    for column, name in zip(columns, called, strict=True):
        if (differ := (column >= 0) != found).any():
            raise ValueError(
                f"The references do not measure the same of the query's genes: {listed(adata.var_names[differ], 3)} "
                f"are in only one of {called[0]} and {name}. Subset them to the genes that they share."
            )
    arrays, held = [], np.ones(int(found.sum()), dtype=bool)
    for source, column, name, layer in zip(sources, columns, called, layers, strict=True):
        arrays.append(unread_layer(source, layer, LAYER))
        if record_of(source, layer) is not None:
            some = require_layer(sampled(source, layer), layer, LAYER)[:, column[found]]
            is_held = ~np.isnan(dense(some)).all(axis=0)
            if genes is not None and not is_held.all():
                raise KeyError(
                    f"genes= asks for {listed(adata.var_names[found][~is_held], 3)}, which were not predicted in "
                    f"{_place(layer)} of {name}. Impute them there first."
                )
            held &= is_held
    if not held.any():
        raise ValueError("None of the query's genes is in all references: they were not predicted. Impute them there.")
    columns = [column[found][held] for column in columns]
    names = sources[0].var_names[columns[0]].tolist()
    predicted = found.copy()
    predicted[found] = held
    return predicted, stacked(arrays, columns, [f"The expression of {name}" for name in called]), names


def _as_genes(ref: AnnData, target_rep: str) -> AnnData:
    """Return the corrected expression in ``obsm`` as an AnnData of its genes."""
    from anndata import AnnData

    values, names = inputs.expression(sampled(ref, None, target_rep), None, target_rep)
    values = values if in_memory(ref.obsm[target_rep]) else ref.obsm[target_rep]
    return AnnData(values, obs=ref.obs[[]], var=ref.var.reindex(names))
