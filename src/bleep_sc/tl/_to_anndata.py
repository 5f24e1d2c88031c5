from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys, logs
from bleep_sc._adata.libraries import library_column
from bleep_sc.tl._predictions.record import require_prediction

if TYPE_CHECKING:
    from anndata import AnnData

GRAPH = "spatial_neighbors"
"""Where Squidpy says how it built the graph of the spots."""
ALONG = (GRAPH, keys.TILES, keys.PATCHES, keys.normalized(keys.PATCHES))
"""Records that come along: how tiles were laid, and how their patches are cut."""


def to_anndata(adata: AnnData, layer: str = "bleep") -> AnnData:
    """Make predicted expression the ``X`` of an ordinary AnnData, so that any tool takes it.

    The result holds the predicted genes only, without NaN: :func:`scanpy.pp.pca`, Leiden and
    :func:`squidpy.gr.spatial_autocorr` run on it with no extra argument. It is marked: ``uns["{layer}_imputed"]`` comes
    along, and ``var["imputed"]`` is True. Means of several spots vary less than single spots do, and their genes
    correlate more, so tools that model counts or their noise must not be fed with it.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` or :func:`bleep_sc.tl.predict` wrote to.
    layer
        The predicted layer.

    Returns
    -------
    A new AnnData with spots, coordinates, images and embeddings of ``adata``; ``X`` is float32, spots × genes.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> predicted = bs.tl.to_anndata(adata_query)
    >>> predicted.n_vars
    250
    """
    values, genes, record = require_prediction(adata, layer)
    result = type(adata)(
        np.asarray(values[:, genes], dtype=np.float32),
        obs=adata.obs.copy(),
        var=adata.var.loc[genes].drop(columns=[keys.HIGHLY_VARIABLE], errors="ignore").assign(imputed=True),
        uns={key: deepcopy(adata.uns[key]) for key in (*ALONG, keys.imputed(layer)) if key in adata.uns},
        obsm={key: value.copy() for key, value in adata.obsm.items()},
        obsp={key: value.copy() for key, value in adata.obsp.items() if key.startswith(keys.SPATIAL)},
    )
    if keys.SPATIAL in adata.uns:
        result.uns[keys.SPATIAL] = deepcopy(_own_slides(adata))
    base = logs.base_of(record["transform"])
    if base is not None:
        result.uns[keys.LOG1P] = {"base": None if record["transform"] == logs.NATURAL else base}
    return result


def _own_slides(adata: AnnData) -> dict[str, Any]:
    """Return the images of the slides that have spots: Squidpy asks which one is meant where there are others."""
    images = adata.uns[keys.SPATIAL]
    column = library_column(adata)
    names = set(adata.obs[column].astype(str)) if column in adata.obs else set()
    own = {name: images[name] for name in images if name in names}
    return own or dict(images)
