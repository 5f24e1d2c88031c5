from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc import metrics, tl
from bleep_sc._adata import keys
from bleep_sc._adata.expression import predicted_genes
from bleep_sc._adata.libraries import libraries
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed
from bleep_sc.metrics.gene_sets import N_TOP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

PERMUTED = "permuted"
N_MODULES = 8
N_NEAREST = 6
RESOLUTIONS = (0.4, 0.8, 1.2, 1.6, 2.0)


def structure(
    adata: AnnData,
    layers: Sequence[str],
    *,
    n_top_genes: int = 200,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare what correlations gene by gene do not see: variance, gene-gene structure, space and clusters.

    Everything is computed slide by slide, on the ``n_top_genes`` most variable genes of the measured slide among those
    that all layers hold.

    Parameters
    ----------
    adata
        A held-out group, from :func:`bleep_sc.bm.held_out`: the predictions of the first seed.
    layers
        The predicted layers to compare.
    n_top_genes
        How many genes.
    random_state
        Of the clusters and of the permuted prediction.

    Returns
    -------
    A row for every library, method and metric, with ``value`` and ``n_genes``, how many genes it is of; what is not
    defined, for a prediction that does not vary, is NaN. The method ``"permuted"`` is the first layer that varies with
    its spots shuffled: what keeps its value there says nothing about places.

    =================================  ==========================================================================
    ``relative variance distance``     0 is best; noise alone improves it, so read it beside the CRPS
    ``gene-gene correlation``          Pearson r of the upper triangles, measured depth partialled out
    ``gene modules, ARI``              of eight modules each
    ``Moran's I``                      Pearson r over genes (squidpy, six nearest spots)
    ``spatially variable genes, AUC``  recovery of the 50 genes with the highest measured Moran's I
    ``SSIM``                           on the lattice of the spots, mean over genes; where they have one
    ``Leiden, ARI`` (NMI, AMI)         mean over a sweep of resolutions
    =================================  ==========================================================================

    Examples
    --------
    After the example of :func:`bleep_sc.bm.held_out`:

    >>> bs.bm.structure(slide, ["ridge"])["metric"].nunique() > 5
    True
    """
    if n_top_genes < 1:
        raise ValueError(f"n_top_genes={n_top_genes} must be at least 1.")
    names = libraries(adata, keys.LIBRARY)
    known = np.all([predicted_genes(adata, layer) for layer in layers], axis=0)
    if not known.any():
        raise ValueError(f"There is no gene that all of layers={listed(layers)} hold.")
    tables = []
    for library in dict.fromkeys(names.tolist()):
        slide = adata[names == library, known]
        variance = dense(slide.X).var(axis=0)
        slide = slide[:, np.sort(np.argsort(-variance, kind="stable")[:n_top_genes])].copy()
        varying = [layer for layer in layers if _varies(dense(slide.layers[layer]))]
        if varying:
            slide.layers[PERMUTED] = metrics.permuted(dense(slide.layers[varying[0]]), random_state=random_state)
        for method in (*layers, *([PERMUTED] if varying else [])):
            rows = list(_compare(slide, method, random_state))
            table = pd.DataFrame(rows, columns=["metric", "value"])
            tables.append(table.assign(library=library, method=method, n_genes=slide.n_vars))
    return pd.concat(tables, ignore_index=True)[["library", "method", "metric", "value", "n_genes"]]


def _varies(predicted: NDArray[np.float32]) -> bool:
    return bool(np.ptp(predicted, axis=0).any())


def _compare(slide: AnnData, method: str, random_state: int) -> Iterator[tuple[str, float]]:
    predicted, measured = dense(slide.layers[method]), dense(slide.X)
    yield "relative variance distance", metrics.relative_variance_distance(predicted, measured)
    yield from _gene_gene(predicted, measured, np.log1p(slide.obs["total_counts"].to_numpy(dtype=np.float64)))
    yield from _space(slide, predicted, measured)
    agreement = {}
    if _varies(predicted):  # a constant prediction has no clusters
        tl.leiden(slide, method, resolutions=RESOLUTIONS, random_state=random_state)
        agreement = slide.uns[keys.clusters(method)].mean()
    for name in ("ari", "nmi", "ami"):
        yield f"Leiden, {name.upper()}", float(agreement.get(name, np.nan))


def _gene_gene(
    predicted: NDArray[np.float32], measured: NDArray[np.float32], depth: NDArray[np.float64]
) -> Iterator[tuple[str, float]]:
    ours, theirs = metrics.gene_correlation(predicted), metrics.gene_correlation(measured, covariate=depth)
    yield "gene-gene correlation", metrics.correlation_agreement(ours, theirs).pearson
    both = np.isfinite(ours.diagonal()) & np.isfinite(theirs.diagonal())
    pair = np.ix_(both, both)
    enough = both.sum() > N_MODULES
    modules = metrics.module_agreement(ours[pair], theirs[pair], N_MODULES).ari if enough else float("nan")
    yield "gene modules, ARI", modules


def _space(
    slide: AnnData, predicted: NDArray[np.float32], measured: NDArray[np.float32]
) -> Iterator[tuple[str, float]]:
    ours, theirs = _morans_i(slide, predicted), _morans_i(slide, measured)
    both = np.isfinite(ours) & np.isfinite(theirs)
    yield "Moran's I", float(np.corrcoef(ours[both], theirs[both])[0, 1]) if both.sum() > 2 else float("nan")
    n_top = min(N_TOP, len(ours) // 2)
    found = metrics.recovery(_last(ours), _last(theirs), n_top=n_top).auc if n_top else float("nan")
    yield "spatially variable genes, AUC", found
    yield "SSIM", _ssim(slide, predicted, measured)


def _last(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank genes without a score behind all others."""
    return np.where(np.isfinite(scores), scores, np.nanmin(scores, initial=0.0) - 1.0)


def _ssim(slide: AnnData, predicted: NDArray[np.float32], measured: NDArray[np.float32]) -> float:
    """Return the mean over genes; NaN where the spots have no lattice, or no gene varies."""
    if keys.ARRAY_ROW not in slide.obs or keys.ARRAY_COL not in slide.obs:
        return float("nan")
    # Original ST has places adjusted by image registration, next to whole numbers.
    rows, columns = (np.rint(slide.obs[key].to_numpy(dtype=np.float64)) for key in (keys.ARRAY_ROW, keys.ARRAY_COL))
    if len(np.unique(np.column_stack([rows, columns]), axis=0)) < slide.n_obs:
        return float("nan")
    of_genes = metrics.ssim(predicted, measured, rows, columns)
    return float(np.nanmean(of_genes)) if np.isfinite(of_genes).any() else float("nan")


def _morans_i(slide: AnnData, values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Moran's I of every gene over the six nearest spots; NaN where a gene does not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # squidpy, about its own docstrings and pandas 3
        import squidpy as sq
        from anndata import AnnData
        from sklearn.neighbors import kneighbors_graph

        varies = np.ptp(values, axis=0) > 0
        result = np.full(values.shape[1], np.nan)
        if varies.any():
            drawn = AnnData(values[:, varies].astype(np.float64))
            drawn.obsp["spatial_connectivities"] = kneighbors_graph(
                slide.obsm[keys.SPATIAL], min(N_NEAREST, slide.n_obs - 1)
            )
            scores = sq.gr.spatial_autocorr(drawn, mode="moran", n_perms=None, copy=True, show_progress_bar=False)
            result[varies] = scores["I"].reindex(drawn.var_names)
    return result
