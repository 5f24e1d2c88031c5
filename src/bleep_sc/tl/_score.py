from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import both_sides, holds_counts
from bleep_sc._adata.libraries import libraries
from bleep_sc._arrays.blocks import dense, slices
from bleep_sc._output.messages import listed
from bleep_sc.metrics import highest_genes, pearson, spearman

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    GeneSets = dict[str, tuple[str, NDArray[np.intp]]]
    """Where every set comes from, and its columns among the predicted genes."""

MARKERS = ("HAL", "CYP3A4", "VWF", "SOX9", "KRT7", "ANXA4", "ACTA2", "DCN")
"""Marker genes of the liver's zones and cell types (Xie et al., NeurIPS 2023, table 1)."""
GENES_AT_ONCE = 1000


def score(
    adata: AnnData,
    layer: str | Sequence[str] = "bleep",
    *,
    truth: str | None = None,
    gene_sets: AnnData | Mapping[str, Sequence[str]] | None = None,
    library_key: str | None = None,
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
        The predicted layer; or several, which are then compared over the genes that all of them hold, and only so are
        their summaries comparable.
    truth
        Layer with the measured expression, in the units of the prediction; None is ``X``.
    gene_sets
        Where HEG and HVG are taken from. None: from the truth of each slide, as in the paper. An AnnData with the
        training slides: from their ``X``, slide by slide, so that the choice knows nothing of the truth. A mapping:
        sets of your own.
    library_key
        Column of ``obs`` that names the slide; None is the one that patches were cut by, else ``library_id``.
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
    predicted, measured, scored = both_sides(adata, layer, truth)
    slides = libraries(adata, library_key)
    sets = _gene_sets(gene_sets, adata.var_names[scored], measured, slides, library_key)
    tables = {each: _score_layer(values, measured, slides, sets) for each, values in predicted.items()}
    adata = adata.copy() if copy else adata
    with all_or_nothing(adata):
        for each, (table, means) in tables.items():
            for metric, of_genes in zip(("pearson", "spearman"), means, strict=True):
                column = np.full(adata.n_vars, np.nan)
                column[scored] = of_genes
                adata.var[keys.gene_score(each, metric)] = column
            adata.uns[keys.score(each)] = table
    return adata if copy else None


def _score_layer(
    predicted: NDArray[np.float32],
    measured: NDArray[np.float32],
    slides: NDArray[np.str_],
    sets: Mapping[str, GeneSets],
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return the table of a layer, and mean Pearson and Spearman correlations over slides, (2, n_genes)."""
    tables, correlations = [], []
    for slide, of_slide in sets.items():
        rows = slides == slide
        r = _correlations(predicted[rows], measured[rows])
        correlations.append(r)
        tables.append(_summary(slide, r, of_slide))
    return _with_mean(pd.concat(tables, ignore_index=True)), _nanmean(np.stack(correlations))


def _correlations(predicted: NDArray[np.float32], measured: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Pearson and Spearman correlations, (2, n_genes), block by block, since ranks take much memory."""
    return np.concatenate(
        [
            np.stack(
                [pearson(predicted[:, block], measured[:, block]), spearman(predicted[:, block], measured[:, block])]
            )
            for block in slices(predicted.shape[1], GENES_AT_ONCE)
        ],
        axis=1,
    )


def _gene_sets(
    source: AnnData | Mapping[str, Sequence[str]] | None,
    names: pd.Index,
    measured: NDArray[np.float32],
    slides: NDArray[np.str_],
    library_key: str | None,
) -> dict[str, GeneSets]:
    """Return the gene sets of every slide; those that do not come from its truth are found once."""
    present = list(dict.fromkeys(slides.tolist()))
    sets: GeneSets = {"all": ("fixed", np.arange(len(names)))}
    if isinstance(source, Mapping):
        for name, genes in source.items():
            columns = names.get_indexer(list(genes))
            if (columns < 0).all():
                raise ValueError(f"gene_sets={name!r}: none of its genes was predicted ({listed(genes, 3)}).")
            sets[name] = ("given", columns[columns >= 0])
        return dict.fromkeys(present, sets)
    if names.isin(MARKERS).sum() == len(MARKERS):
        sets["MG"] = ("fixed", names.get_indexer(MARKERS))
    if source is not None:
        absent = names.difference(source.var_names)
        if len(absent):
            raise ValueError(
                f"gene_sets=: the training slides lack {len(absent)} predicted genes ({listed(absent, 3)})."
            )
        if holds_counts(require_layer(source, None, "Pass training slides with expression in X.")):
            raise ValueError("gene_sets=: X of the training slides holds counts; pass them log-normalised.")
        sets |= _highest(dense(source[:, names].X), libraries(source, library_key), "reference")
        return dict.fromkeys(present, sets)
    of_slide = {slide: slides == slide for slide in present}
    return {slide: sets | _highest(measured[rows], slides[rows], "truth") for slide, rows in of_slide.items()}


def _highest(expression: NDArray[np.float32], slides: NDArray[np.str_], origin: str) -> GeneSets:
    return {
        "HEG": (origin, highest_genes(expression, slides, by="mean")),
        "HVG": (origin, highest_genes(expression, slides, by="variance")),
    }


def _summary(slide: str, r: NDArray[np.float64], sets: GeneSets) -> pd.DataFrame:
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
    by = ["gene_set", "genes_from"]
    means = table.groupby(by, sort=False)[["n_genes", "n_undefined", "pearson", "spearman"]].mean().reset_index()
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
