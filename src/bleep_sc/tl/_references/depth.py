"""Which spots of a reference are read off: those of slides that are not far shallower than the others."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata.checks import unread_layer
from bleep_sc._adata.depth import N_LOOKED_AT, Depth, depths_of, evenly, shallow_slides, warn_of_shallow_slides
from bleep_sc._adata.expression import record_of
from bleep_sc._arrays.blocks import in_memory
from bleep_sc.tl._references.on_disk import LAYER, has_layer, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bleep_sc.tl._references.read import Reference

CONSEQUENCE = (
    "Such spots are alike in what they lack, and would be neighbours of everything, so that nothing is read off them. "
    "Impute from them alone (ref=) where that is meant."
)


def without_shallow_slides(reference: Reference) -> Reference:
    """Return the reference with weights of zero for the spots of shallow slides, and warn of these."""
    depths = _depths(reference)
    shallow = shallow_slides(depths)
    if not shallow:
        return reference
    warn_of_shallow_slides(depths, shallow, CONSEQUENCE)
    weights = np.ones(len(reference.slides), dtype=np.float32) if reference.weights is None else reference.weights
    return replace(reference, weights=np.where(np.isin(reference.slides, shallow), np.float32(0), weights))


def _depths(reference: Reference) -> dict[str, Depth]:
    """Return the depth of every slide, in what is averaged, by the genes that all references measured."""
    if reference.model.description.params["target_rep"] is not None:
        return {}
    refs, first = [each.adata for each in reference.spots], 0
    result: dict[str, Depth] = {}
    genes = reduce(pd.Index.intersection, [ref.var_names for ref in refs])
    for ref, layer in zip(refs, reference.layers, strict=True):
        slides = reference.slides[first : first + ref.n_obs]
        first += ref.n_obs
        if has_layer(ref, layer) and record_of(ref, layer) is None:
            columns = None if len(genes) == ref.n_vars else ref.var_names.get_indexer(genes)
            result |= depths_of(slides, _reader(unread_layer(ref, layer, LAYER), columns))
    return result


def _reader(values: Any, columns: NDArray[np.intp] | None) -> Callable[[NDArray[np.intp]], Any]:
    """Return what reads the expression of some spots of a slide; from disk, of a few that lie together."""

    def read(rows: NDArray[np.intp]) -> Any:
        if in_memory(values):
            some = values[evenly(rows)]
            return some if columns is None else some[:, columns]
        some = rows[max(0, (len(rows) - N_LOOKED_AT) // 2) :][:N_LOOKED_AT]
        some = some[some < some[0] + 4 * N_LOOKED_AT]
        part = read_rows(values, slice(int(some[0]), int(some[-1]) + 1), columns)
        return sparse.csr_matrix(part)[some - some[0]]

    return read
