from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.expression import both_sides
from bleep_sc.metrics import cluster_agreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

RESOLUTIONS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
N_COMPS = 20


def leiden(
    adata: AnnData,
    layer: str = "bleep",
    *,
    truth: str | None = None,
    resolution: float = 1.0,
    resolutions: Sequence[float] = RESOLUTIONS,
    n_neighbors: int = 15,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Cluster measured and predicted expression alike, and compare the clusters (figure 5 of the paper).

    PCA, neighbours and Leiden by scanpy, on the predicted genes of either side. Any single resolution is arbitrary, as
    the paper itself says: the agreement is given for a sweep of them.

    Parameters
    ----------
    adata
        A query with measured expression.
    layer
        The predicted layer.
    truth
        Layer with the measured expression; None is ``X``.
    resolution
        Of the clusters that are kept in ``obs``.
    resolutions
        Of the sweep.
    n_neighbors
        Of the graph; fewer where there are fewer spots. PCA has 20 components.
    random_state
        Seeds PCA, graph and clusters.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obs["measured_leiden"]``, ``obs["{layer}_leiden"]`` : categorical
        Clusters, from ``"0"``, the largest.
    ``uns["{layer}_leiden"]`` : pandas.DataFrame
        A row for every resolution: ``n_measured`` and ``n_predicted`` clusters, and ``ari``, ``nmi``, ``ami``.

    Raises
    ------
    ValueError
        When the prediction is the same for all spots.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.leiden(adata_query)
    >>> adata_query.uns["bleep_leiden"].columns.tolist()
    ['resolution', 'n_measured', 'n_predicted', 'ari', 'nmi', 'ami']
    """
    sides, measured, _ = both_sides(adata, layer, truth)
    predicted = sides[layer]
    if not np.ptp(predicted, axis=0).any():
        raise ValueError(f"layers[{layer!r}] is the same for all spots: there is nothing to cluster.")
    sweep = dict.fromkeys([float(resolution), *map(float, resolutions)])
    ours, theirs = (_cluster(values, list(sweep), n_neighbors, random_state) for values in (predicted, measured))
    rows = [
        {
            "resolution": each,
            "n_measured": len(np.unique(theirs[each])),
            "n_predicted": len(np.unique(ours[each])),
            **cluster_agreement(theirs[each], ours[each]),
        }
        for each in map(float, resolutions)
    ]
    adata = adata.copy() if copy else adata
    with all_or_nothing(adata):
        for key, clusters in ((keys.clusters("measured"), theirs), (keys.clusters(layer), ours)):
            adata.obs[key] = pd.Categorical(clusters[float(resolution)].astype(str))
        adata.uns[keys.clusters(layer)] = pd.DataFrame(rows)
    return adata if copy else None


def _cluster(
    values: NDArray[np.float32], resolutions: list[float], n_neighbors: int, random_state: int
) -> dict[float, NDArray[np.intp]]:
    """Return for every resolution the cluster of every spot."""
    import scanpy as sc

    spots = sc.AnnData(values)
    sc.pp.pca(spots, n_comps=min(N_COMPS, min(values.shape) - 1), random_state=random_state)
    sc.pp.neighbors(spots, n_neighbors=min(n_neighbors, len(values) - 1), use_rep="X_pca", random_state=random_state)
    found = {}
    for resolution in resolutions:
        sc.tl.leiden(
            spots, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=random_state
        )
        found[resolution] = spots.obs["leiden"].cat.codes.to_numpy().astype(np.intp)
    return found
