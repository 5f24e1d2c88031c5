from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from bleep_sc import _keys
from bleep_sc._checks import dense, holds_counts, libraries, listed, require_layer
from bleep_sc.metrics import pearson, spearman

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MARKERS = ("HAL", "CYP3A4", "VWF", "SOX9", "KRT7", "ANXA4", "ACTA2", "DCN")
"""Marker genes of the liver's zones and cell types (Xie et al., NeurIPS 2023, table 1)."""
N_TOP = 50


def score(
    adata: AnnData,
    layer: str = "bleep",
    *,
    truth: str | None = None,
    gene_sets: AnnData | Mapping[str, Sequence[str]] | None = None,
    library_key: str = _keys.LIBRARY,
    copy: bool = False,
) -> AnnData | None:
    """Score predicted against measured expression: correlations over spots, gene by gene and slide by slide.

    Correlations are computed inside each slide and then averaged, so that differences between slides earn nothing. They
    are summarised over gene sets, as in the paper: MG, eight markers of the liver (where all were predicted); HEG, the
    50 genes with the highest mean; HVG, the 50 with the highest variance; and all predicted genes. A gene that does not
    vary, in truth or prediction, has no correlation: it is NaN in ``var`` and counts as zero in a summary.

    Parameters
    ----------
    adata
        A query with measured expression.
    layer
        The predicted layer.
    truth
        Layer with the measured expression, in the units of the prediction; None is ``X``.
    gene_sets
        Where HEG and HVG are taken from. None: from the truth of each slide, as in the paper. An AnnData with the
        training slides: from their ``X``, so that the choice knows nothing of the truth. A mapping: sets of your own.
    library_key
        Column of ``obs`` that names the slide; not needed for a single one.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``var["{layer}_pearson"]``, ``var["{layer}_spearman"]`` : float64
        Mean correlation over slides; NaN for genes that were not predicted or do not vary.
    ``uns["{layer}_score"]`` : pandas.DataFrame
        A row for each slide and gene set, and for the mean over slides (``library`` is ``"mean"``): ``gene_set``,
        ``genes_from`` (``"truth"``, ``"reference"``, ``"given"``; ``"fixed"`` for ``"all"`` and ``"MG"``), ``n_genes``,
        ``n_undefined`` (how many of these do not vary), ``pearson`` and ``spearman``.

    Raises
    ------
    ValueError
        When truth and prediction are not in the same units, or no gene can be scored.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.score(adata_query)
    >>> adata_query.uns["bleep_score"]["gene_set"].unique().tolist()
    ['all', 'MG', 'HEG', 'HVG']
    """
    predicted = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    measured = require_layer(adata, truth, "Scores need measured expression: pass truth=, the name of its layer.")
    _check_units(adata, layer, measured, truth)
    flag = _keys.predicted(layer)
    scored = adata.var[flag].to_numpy(dtype=bool) if flag in adata.var else np.isfinite(dense(predicted)).all(axis=0)
    names = adata.var_names[scored]
    if not len(names):
        raise ValueError(f"layers[{layer!r}] holds no predicted gene.")
    predicted, measured = dense(predicted[:, scored]), dense(measured[:, scored])
    slides = libraries(adata, library_key)
    tables, correlations = [], []
    for slide in dict.fromkeys(slides.tolist()):
        rows = slides == slide
        r = np.stack([pearson(predicted[rows], measured[rows]), spearman(predicted[rows], measured[rows])])
        correlations.append(r)
        tables.append(_summary(slide, r, _gene_sets(gene_sets, names, measured[rows])))
    table = pd.concat(tables, ignore_index=True)
    adata = adata.copy() if copy else adata
    means = _nanmean(np.stack(correlations))
    for metric, values in zip(("pearson", "spearman"), means, strict=True):
        column = np.full(adata.n_vars, np.nan)
        column[scored] = values
        adata.var[_keys.gene_score(layer, metric)] = column
    adata.uns[_keys.score(layer)] = _with_mean(table)
    return adata if copy else None


def _check_units(adata: AnnData, layer: str, measured: object, truth: str | None) -> None:
    name = "X" if truth is None else f"layers[{truth!r}]"
    transform = adata.uns.get(_keys.imputed(layer), {}).get("transform", "unknown")
    if transform == "log1p" and holds_counts(measured):
        raise ValueError(
            f"{name} holds counts, but layers[{layer!r}] holds logarithms. Log-normalise {name} as the reference was "
            "(sc.pp.normalize_total, sc.pp.log1p), or pass truth=, a layer with logarithms."
        )
    if transform == "counts" and not holds_counts(measured):
        raise ValueError(
            f"{name} holds no counts, but layers[{layer!r}] was imputed in counts. Pass truth=, the layer with counts, "
            "or impute from a layer of the reference with logarithms (layer=)."
        )


def _gene_sets(
    source: AnnData | Mapping[str, Sequence[str]] | None, names: pd.Index, measured: NDArray[np.float32]
) -> dict[str, tuple[str, NDArray[np.intp]]]:
    """Return for every set where it comes from, and its columns among the predicted genes."""
    sets = {"all": ("fixed", np.arange(len(names)))}
    if isinstance(source, Mapping):
        for name, genes in source.items():
            columns = names.get_indexer(list(genes))
            if (columns < 0).all():
                raise ValueError(f"gene_sets={name!r}: none of its genes was predicted ({listed(genes, 3)}).")
            sets[name] = ("given", columns[columns >= 0])
        return sets
    if names.isin(MARKERS).sum() == len(MARKERS):
        sets["MG"] = ("fixed", names.get_indexer(MARKERS))
    if isinstance(source, AnnData):
        absent = names.difference(source.var_names)
        if len(absent):
            raise ValueError(
                f"gene_sets=: the training slides lack {len(absent)} predicted genes ({listed(absent, 3)})."
            )
        measured, origin = dense(source[:, names].X), "reference"
    else:
        origin = "truth"
    sets["HEG"] = (origin, np.argsort(-measured.mean(axis=0), kind="stable")[:N_TOP])
    sets["HVG"] = (origin, np.argsort(-measured.var(axis=0), kind="stable")[:N_TOP])
    return sets


def _summary(slide: str, r: NDArray[np.float64], sets: dict[str, tuple[str, NDArray[np.intp]]]) -> pd.DataFrame:
    rows = []
    for name, (origin, columns) in sets.items():
        chosen = r[:, columns]
        means = np.nan_to_num(chosen).mean(axis=1)
        undefined = int(np.isnan(chosen[0]).sum())
        rows.append((slide, name, origin, len(columns), undefined, *means))
    columns_ = ["library", "gene_set", "genes_from", "n_genes", "n_undefined", "pearson", "spearman"]
    return pd.DataFrame(rows, columns=columns_)


def _with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Append the means over slides."""
    keys = ["gene_set", "genes_from"]
    means = table.groupby(keys, sort=False)[["n_genes", "n_undefined", "pearson", "spearman"]].mean().reset_index()
    means.insert(0, "library", "mean")
    means = means.astype({"n_genes": int, "n_undefined": int})
    result = pd.concat([table, means], ignore_index=True)
    result.index = result.index.astype(str)
    return result


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
