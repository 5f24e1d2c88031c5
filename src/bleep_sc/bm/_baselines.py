"""Baselines that average training spots; each returns their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import spots_of
from bleep_sc._adata.places import microns_per_pixel
from bleep_sc._arrays.blocks import dense
from bleep_sc.metrics import highest_genes
from bleep_sc.slides._same_place import lay_sections, mean_colors
from bleep_sc.training.validation import validation_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

N_PLACES = 25
N_NEIGHBORS = (10, 25, 50, 100)


def mean(train: AnnData, query: AnnData) -> NDArray[np.float32]:
    """Predict every spot as the mean of the training spots: a constant, whose correlation counts as zero."""
    return np.tile(dense(train[:, train.var[keys.HIGHLY_VARIABLE]].X).mean(axis=0), (query.n_obs, 1))


def location(train: AnnData, query: AnnData, *, patches_key: str) -> sparse.csr_matrix:
    """Copy the same place of the training slides: the mean of the 25 nearest spots, after laying the slides together.

    Slides are aligned by outline and colour, never by expression. What this reaches, no knowledge of morphology is
    needed for; a method that does no better has at most remembered the place.
    """
    sides = {"train": train, "query": query}
    points = _to_scale(sides)
    colors = {side: _colors(adata, patches_key) for side, adata in sides.items()}
    names = {side: adata.obs[keys.LIBRARY].astype(str).to_numpy() for side, adata in sides.items()}
    weights = sparse.lil_matrix((query.n_obs, train.n_obs), dtype=np.float64)
    for rows in spots_of(names["query"]).values():
        moved, _ = lay_sections(
            points["train"], colors["train"], names["train"], points["query"][rows], colors["query"][rows]
        )
        n_places = min(N_PLACES, train.n_obs)
        _, nearest = cKDTree(moved).query(points["query"][rows], k=n_places)
        weights[rows[:, None], np.atleast_2d(nearest)] = 1 / n_places
    return weights.tocsr()


def _to_scale(sides: dict[str, AnnData]) -> dict[str, NDArray[np.float64]]:
    """Return the centres of the spots of both sides in one unit: µm.

    Or the distance between neighbouring spots, for all slides, where one has no known µm per px.
    """
    points = {side: _scaled(adata, in_microns=True) for side, adata in sides.items()}
    if all(np.isfinite(each).all() for each in points.values()):
        return points
    return {side: _scaled(adata, in_microns=False) for side, adata in sides.items()}


def _scaled(adata: AnnData, *, in_microns: bool) -> NDArray[np.float64]:
    """Return the centres of the spots in µm, NaN where these are not known; or in distances between neighbours."""
    centers = require_obsm(adata, keys.SPATIAL, "Location copy needs coordinates.")
    centers = np.asarray(centers, dtype=np.float64)[:, :2]
    names, result = adata.obs[keys.LIBRARY].astype(str).to_numpy(), np.empty((adata.n_obs, 2))
    for slide, rows in spots_of(names).items():
        if in_microns:
            scale, _ = microns_per_pixel(adata, rows, centers[rows], slide)
        else:
            scale = 1 / float(np.median(cKDTree(centers[rows]).query(centers[rows], k=2)[0][:, 1]))
        result[rows] = centers[rows] * scale
    return result


def _colors(adata: AnnData, patches_key: str) -> NDArray[np.float64]:
    patches = require_obsm(adata, patches_key, "Location copy aligns slides by colour: pass patches_key=.")
    return mean_colors(np.asarray(patches))


def knn(train: AnnData, query: AnnData, *, use_rep: Sequence[str]) -> sparse.csr_matrix:
    """Average the training spots whose standardised image features are nearest by cosine.

    How many is chosen inside the training slides, leaving out one after another, by the mean correlation over the most
    variable genes.
    """
    known, queries = _standardized(train, query, use_rep)
    expression = dense(train[:, train.var[keys.HIGHLY_VARIABLE]].X)
    names = train.obs[keys.LIBRARY].astype(str).to_numpy()
    expression = expression[:, highest_genes(expression, names, by="variance")]
    candidates = [k for k in N_NEIGHBORS if k < train.n_obs] or [1]
    if len(np.unique(names)) > 1:
        scores = [_inner_score(known, expression, names, k) for k in candidates]
        return _nearest_weights(queries, known, candidates[int(np.argmax(scores))])
    return _nearest_weights(queries, known, candidates[len(candidates) // 2])


def _standardized(
    train: AnnData, query: AnnData, use_rep: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from sklearn.preprocessing import StandardScaler

    known, queries = (
        np.concatenate([np.asarray(adata.obsm[key], dtype=np.float32) for key in use_rep], axis=1)
        for adata in (train, query)
    )
    scaler = StandardScaler().fit(known)
    return scaler.transform(known).astype(np.float32), scaler.transform(queries).astype(np.float32)


def _inner_score(known: NDArray[np.float32], expression: NDArray[np.float32], names: NDArray[np.str_], k: int) -> float:
    scores = []
    for name in np.unique(names):
        held_out = names == name
        weights = _nearest_weights(known[held_out], known[~held_out], min(k, int((~held_out).sum())))
        scores.append(validation_score(weights @ expression[~held_out], expression[held_out]))
    return float(np.mean(scores))


def _nearest_weights(queries: NDArray[np.float32], known: NDArray[np.float32], k: int) -> sparse.csr_matrix:
    from bleep_sc.models import retrieval

    similarity, index = retrieval.nearest(queries, known, n_neighbors=k)
    return retrieval.weight_matrix(index, retrieval.neighbor_weights(similarity), len(known))
