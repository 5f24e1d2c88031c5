"""What predictions carry over from how slides were made: batches, and regions of low quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc import tl
from bleep_sc._adata import keys
from bleep_sc._adata.expression import predicted_genes
from bleep_sc._arrays.blocks import dense
from bleep_sc.metrics import cluster_agreement
from bleep_sc.tl._joint_umap import among_reference, mixing_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

MEASURED = "measured"
MIXING, SILHOUETTE, MARKED = "batches, LISI", "batches, silhouette", "marked region, AMI"


def carried_over(held: AnnData, train: AnnData, layers: Sequence[str], mark: str | None) -> pd.DataFrame:
    """Score for every slide of a held-out group how predictions, and measurements, mix with the training slides.

    A row for every library, method and metric, with ``value``; the method ``"measured"`` is the slide as it was
    measured. The metrics, the first two of :func:`bleep_sc.metrics.batch_mixing` in the space of the 20 principal
    components of the training profiles (:func:`bleep_sc.tl.joint_umap`): ``batches, LISI`` and ``batches, silhouette``;
    and ``marked region, AMI``, the adjusted mutual information of Leiden clusters and the boolean column ``mark``.
    """
    known = np.all([predicted_genes(held, layer) for layer in layers], axis=0)
    held, rows = held[:, known].copy(), []
    held.layers[MEASURED] = dense(held.X)
    held.var[keys.predicted(MEASURED)] = True
    for library, spots in held.obs.groupby(keys.LIBRARY, observed=True).indices.items():
        slide = held[np.sort(spots)].copy()
        for method in (MEASURED, *layers):
            rows += [(str(library), method, *row) for row in _of_slide(slide, train, method, mark)]
    return pd.DataFrame(rows, columns=["library", "method", "metric", "value"])


def _of_slide(slide: AnnData, train: AnnData, method: str, mark: str | None) -> Iterator[tuple[str, float]]:
    mixing = mixing_of(*among_reference(slide, train, method, None, keys.LIBRARY, 0))
    yield MIXING, mixing.lisi
    yield SILHOUETTE, mixing.silhouette
    if mark is not None and np.ptp(dense(slide.layers[method]), axis=0).any():
        tl.leiden(slide, method, resolutions=(1.0,))
        yield MARKED, cluster_agreement(slide.obs[mark], slide.obs[keys.clusters(method)])["ami"]
