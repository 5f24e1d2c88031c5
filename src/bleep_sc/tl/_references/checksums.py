"""Whether the spots of a reference are still what they were when it was written, by a number of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.records import names_hash
from bleep_sc._arrays.blocks import in_memory, row_blocks
from bleep_sc._arrays.checksums import column_factors, row_checksums, shortened
from bleep_sc._output.messages import warn
from bleep_sc.tl._references.on_disk import has_layer, take_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

SOME = 64
"""Spots of a reference on disk that are read."""


def measured_by(ref: AnnData) -> dict[str, Any]:
    """Return what a model is to record of the genes whose expression ``spot_checksums`` are of."""
    return {"n_measured": ref.n_vars, "measured": names_hash(sorted(ref.var_names.astype(str)))}


def spot_checksums(
    ref: AnnData, layer: str | None, embedding: Any, rows: NDArray[np.intp] | None = None
) -> NDArray[np.uint32]:
    """Return a number of every spot, or of some, that changes with its expression and its embedding, (n,)."""
    parts = [(embedding, column_factors(map(str, range(embedding.shape[1]))))]
    if has_layer(ref, layer):
        parts.append((ref.X if layer is None else ref.layers[layer], column_factors(ref.var_names.astype(str))))
    return shortened(np.sum([_sums(values, factors, rows) for values, factors in parts], axis=0, dtype=np.uint64))


def _sums(values: Any, factors: NDArray[np.uint64], rows: NDArray[np.intp] | None) -> NDArray[np.uint64]:
    blocks = row_blocks(values) if rows is None else [(rows, take_rows(values, rows))]
    return np.concatenate([np.empty(0, dtype=np.uint64), *(row_checksums(block, factors) for _, block in blocks)])


def warn_of_changed_spots(ref: AnnData, key: str, params: Mapping[str, Any], called: str) -> None:
    """Warn of spots that are not what they were: of some, where they are on disk.

    ``params`` are those that the reference itself holds. Where genes were left out since, nothing can be told.
    """
    stored, name = ref.obs.get(keys.checksum(key)), keys.expression_embedding(key)
    if stored is None or stored.dtype.kind != "u" or params.get("n_measured") != ref.n_vars:
        return
    if params["measured"] != measured_by(ref)["measured"]:
        what = f"The var_names of {called} are other names than when it was written"
    else:
        layer = params.get("reference_layer", params["layer"])
        parts = [ref.obsm[name], *([ref.X if layer is None else ref.layers[layer]] if has_layer(ref, layer) else [])]
        on_disk = not all(map(in_memory, parts))
        rows = np.unique(np.linspace(0, ref.n_obs - 1, SOME, dtype=int)) if on_disk else np.arange(ref.n_obs)
        sums = spot_checksums(ref, layer, ref.obsm[name], rows if on_disk else None)
        changed = int((sums != stored.to_numpy()[rows]).sum())
        if not changed:
            return
        what = f"Expression or embedding of {changed} of {len(sums)} spots of {called} changed since it was written"
    warn(
        f"{what} (obs[{keys.checksum(key)!r}]). If that was not meant the file is damaged: read it again from where it "
        f"is whole. If it was, note it: bleep_sc.tl.embed(adata_ref, adata_ref, key={key!r}, expression=True)."
    )
