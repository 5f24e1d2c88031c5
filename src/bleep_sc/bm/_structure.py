from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc import _keys, metrics, tl
from bleep_sc._checks import dense

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

N_TOP = 50
N_MODULES = 8
N_NEAREST = 6
RESOLUTIONS = (0.4, 0.8, 1.2, 1.6, 2.0)


def structure(adata: AnnData, layers: Sequence[str], *, n_top_genes: int = 200, random_state: int = 0) -> pd.DataFrame:
    """Compare what correlations gene by gene do not see: variance, gene-gene structure, space and clusters.

    Everything is computed slide by slide, on the ``n_top_genes`` most variable genes of the measured slide.

    Parameters
    ----------
    adata
        A held-out group, from :func:`bleep_sc.bm.held_out`.
    layers
        The predicted layers to compare.
    n_top_genes
        How many genes.
    random_state
        Of the clusters and of the permuted prediction.

    Returns
    -------
    A row for every library, method and metric, ``value``. The method ``"permuted"`` is the first layer with its spots
    shuffled: what keeps its value there says nothing about places.

    ================================  ==========================================================================
    ``relative variance distance``    0 is best; noise alone improves it, so read it beside the CRPS
    ``gene-gene correlation``         Pearson r of the upper triangles, measured depth partialled out
    ``gene modules, ARI``             of eight modules each
    ``Moran's I``                     Pearson r over genes (squidpy, six nearest spots)
    ``spatially variable genes, AUC`` recovery of the 50 genes with the highest measured Moran's I
    ``SSIM``                          on the lattice of the spots, mean over genes
    ``Leiden, ARI`` (NMI, AMI)        mean over a sweep of resolutions
    ================================  ==========================================================================

    Examples
    --------
    After the example of :func:`bleep_sc.bm.held_out`:

    >>> bs.bm.structure(slide, ["ridge"])["metric"].nunique() > 5
    True
    """
    tables = []
    for library in adata.obs[_keys.LIBRARY].unique():
        slide = adata[adata.obs[_keys.LIBRARY] == library].copy()
        variance = dense(slide.X).var(axis=0)
        slide = slide[:, np.sort(np.argsort(-variance, kind="stable")[:n_top_genes])].copy()
        first = layers[0]
        slide.layers["permuted"] = metrics.permuted(dense(slide.layers[first]), random_state=random_state)
        slide.var[_keys.predicted("permuted")] = slide.var[_keys.predicted(first)]
        for method in (*layers, "permuted"):
            rows = list(_compare(slide, method, random_state))
            tables.append(pd.DataFrame(rows, columns=["metric", "value"]).assign(library=library, method=method))
    return pd.concat(tables, ignore_index=True)[["library", "method", "metric", "value"]]


def _compare(slide: AnnData, method: str, random_state: int) -> Iterator[tuple[str, float]]:
    known = slide.var[_keys.predicted(method)].to_numpy(dtype=bool)
    slide = slide[:, known].copy()
    predicted, measured = dense(slide.layers[method]), dense(slide.X)
    yield "relative variance distance", metrics.relative_variance_distance(predicted, measured)
    yield from _gene_gene(predicted, measured, np.log1p(slide.obs["total_counts"].to_numpy(dtype=np.float64)))
    yield from _space(slide, predicted, measured)
    # A constant prediction has no clusters.
    if np.ptp(predicted, axis=0).any():
        tl.leiden(slide, method, resolutions=RESOLUTIONS, random_state=random_state)
        for name, value in slide.uns[_keys.clusters(method)][["ari", "nmi", "ami"]].mean().items():
            yield f"Leiden, {str(name).upper()}", float(value)


def _gene_gene(
    predicted: NDArray[np.float32], measured: NDArray[np.float32], depth: NDArray[np.float64]
) -> Iterator[tuple[str, float]]:
    ours, theirs = metrics.gene_correlation(predicted), metrics.gene_correlation(measured, covariate=depth)
    yield "gene-gene correlation", metrics.correlation_agreement(ours, theirs).pearson
    both = np.isfinite(ours.diagonal()) & np.isfinite(theirs.diagonal())
    if both.sum() > N_MODULES:
        pair = np.ix_(both, both)
        yield "gene modules, ARI", metrics.module_agreement(ours[pair], theirs[pair], N_MODULES).ari


def _space(
    slide: AnnData, predicted: NDArray[np.float32], measured: NDArray[np.float32]
) -> Iterator[tuple[str, float]]:
    ours, theirs = _morans_i(slide, predicted), _morans_i(slide, measured)
    both = np.isfinite(ours) & np.isfinite(theirs)
    n_top = min(N_TOP, len(ours) // 2)
    yield "Moran's I", float(np.corrcoef(ours[both], theirs[both])[0, 1]) if both.sum() > 2 else float("nan")
    yield "spatially variable genes, AUC", metrics.recovery(np.nan_to_num(ours), np.nan_to_num(theirs), n_top=n_top).auc
    if _keys.ARRAY_ROW in slide.obs and _keys.ARRAY_COL in slide.obs:
        lattice = (slide.obs[key].to_numpy() for key in (_keys.ARRAY_ROW, _keys.ARRAY_COL))
        yield "SSIM", float(np.nanmean(metrics.ssim(predicted, measured, *lattice)))


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
                slide.obsm[_keys.SPATIAL], min(N_NEAREST, slide.n_obs - 1)
            )
            scores = sq.gr.spatial_autocorr(drawn, mode="moran", n_perms=None, copy=True, show_progress_bar=False)
            result[varies] = scores["I"].reindex(drawn.var_names)
    return result
