from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed
from bleep_sc.bm._folds import TARGET_SUM, split
from bleep_sc.tl._predictions.record import among_all, write_prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData


def held_out(
    adata: AnnData,
    predictions: Mapping[str, Mapping[str, pd.DataFrame]],
    group: str,
    *,
    group_key: str,
    layer: str | None = None,
    library_key: str | None = None,
) -> AnnData:
    """Return a held-out group as measured, with what every method predicted for it in a layer.

    This is where a cross-validation meets the figures: ``tl.leiden``, ``tl.gene_correlation``, ``pl.spatial``,
    ``pl.mean_variance`` and Squidpy take it as it is.

    Parameters
    ----------
    adata
        What was given to :func:`bleep_sc.bm.cross_validate`.
    predictions
        What it returned with ``return_predictions=True``.
    group
        The group.
    group_key, layer, library_key
        As they were given to it.

    Returns
    -------
    The spots of the group and the genes of its fold: log-normalised ``X``, ``layers["counts"]``, a layer for every
    method, and all columns of ``obs`` that ``adata`` has, ``total_counts`` added.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.cross_validate`:

    >>> table, predictions = bs.bm.cross_validate(
    ...     adata,
    ...     ["mean", "ridge"],
    ...     group_key="library_id",
    ...     use_rep="X_stain_stats",
    ...     n_top_genes=40,
    ...     return_predictions=True,
    ... )
    >>> slide = bs.bm.held_out(adata, predictions, "slice1", group_key="library_id")
    >>> "ridge" in slide.layers
    True
    """
    data = split(adata, group_key, use_rep=(), patches_key="", layer=layer, library_key=library_key, n_top_genes=None)
    of_group = {method: groups[group] for method, groups in predictions.items() if group in groups}
    if not of_group:
        predicted = dict.fromkeys(each for groups in predictions.values() for each in groups)
        raise KeyError(f"group={group!r} was not predicted (predictions= has: {listed(predicted)}). Pass another.")
    genes = next(iter(of_group.values())).columns
    result = data.truth(group, genes)
    columns = adata.obs.loc[result.obs_names].drop(columns=result.obs.columns, errors="ignore")
    result.obs = result.obs.join(columns)
    for method, frame in of_group.items():
        values = frame.loc[result.obs_names, genes].to_numpy(dtype=np.float32)
        known = np.isfinite(values).all(axis=0)
        record = {"method": method, "transform": "log1p", "target_sum": TARGET_SUM, "corrected": False}
        layers = {method: among_all(values[:, known], known)}
        write_prediction(result, method, record, known, {"layers": layers})
    return result


def training(adata: AnnData, genes: Sequence[str], group: str, **given: Any) -> AnnData:
    """Return the log-normalised profiles of the other groups, of some genes; ``given`` is as of :func:`held_out`."""
    data = split(adata, **given, use_rep=(), patches_key="", n_top_genes=None)
    return data.fold(group).train[:, list(genes)].copy()
