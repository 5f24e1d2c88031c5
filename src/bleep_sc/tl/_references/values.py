"""The expression of references: in which units it is, and which genes of a query are in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import record_of, units
from bleep_sc._arrays.blocks import dense, in_memory
from bleep_sc._output.messages import listed
from bleep_sc.tl._models import inputs
from bleep_sc.tl._references.genes import match_genes
from bleep_sc.tl._references.on_disk import LAYER, sampled, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


def common_units(
    refs: list[AnnData],
    called: list[str],
    layers: list[str | None],
    target_rep: str | None,
    fitted_on: str | None,
) -> dict[str, Any]:
    """Return the units of the references, which must be the same in all, and those of the fit where these are meant."""
    each = [units(sampled(ref, layer, target_rep), layer, target_rep) for ref, layer in zip(refs, layers, strict=True)]
    for one, name, layer in zip(each, called, layers, strict=True):
        if fitted_on is not None and one["transform"] != fitted_on:
            raise ValueError(
                f"{_place(layer)} of {name} holds {_meaning(one['transform'])}, but the model was fitted on "
                f"{_meaning(fitted_on)}. Restore it, or pass layer=, the layer to average."
            )
        if one["transform"] != each[0]["transform"] or one["corrected"] != each[0]["corrected"]:
            meant = [
                f"{'corrected ' if which['corrected'] else ''}{_meaning(which['transform'])}"
                for which in (each[0], one)
            ]
            raise ValueError(
                f"The references hold different things: {called[0]} {meant[0]}, {name} {meant[1]}. Pass "
                "layer=, one that means the same in all of them."
            )
    return each[0]


def _place(layer: str | None) -> str:
    return "X" if layer is None else f"layers[{layer!r}]"


def _meaning(transform: str) -> str:
    return {"log1p": "logarithms", "counts": "counts"}.get(transform, "values that are neither logarithms nor counts")


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
        arrays.append(require_layer(source, layer, LAYER))
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
