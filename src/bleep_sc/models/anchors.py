"""Anchors: spots of a slide and of a reference that are each other's nearest, and what they say of the tissue around.

After Stuart et al., Cell 2019, whose query has expression. Here a query has images: its spots are compared with the
reference's expression in the joint embedding, and with its images where anchors are filtered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from bleep_sc._arrays.blocks import in_memory, slices
from bleep_sc.models.exact_search import Metric, Neighbors, as_tensor, rows_of
from bleep_sc.models.retrieval import compared
from bleep_sc.models.search import Index, search

if TYPE_CHECKING:
    from numpy.typing import NDArray

K_ANCHOR, K_FILTER, K_SCORE = 5, 200, 30
"""Of how many neighbours mutual ones are anchors, are images alike, and are shared ones counted."""
QUANTILES = (0.01, 0.9)
"""Of the scores, which become 0 and 1."""
SOFTNESS = 4.0
"""Weights are 1 - exp(-x / 4): the kernel of the paper with its default of 1."""
SPOTS, SHARED = 1024, 4096
"""Spots whose anchors are laid side by side at once, and anchors whose neighbours are compared."""


@dataclass(frozen=True)
class Anchors:
    """Pairs of a reference spot and a spot of one slide that are near to each other, by slide spot."""

    reference: NDArray[np.intp]
    """(n_anchors,)."""
    spot: NDArray[np.intp]
    """(n_anchors,), ascending."""
    score: NDArray[np.float64]
    """From 0 to 1: how many neighbours both have in common, (n_anchors,)."""


def anchor_weights(
    query: NDArray[np.float32] | Tensor,
    keys: Any,
    *,
    images: Any,
    slides: NDArray[np.str_],
    n_neighbors: int = 50,
    metric: Metric = "cosine",
    index: Index = "exact",
    among: NDArray[np.bool_] | None = None,
) -> tuple[Neighbors, Tensor]:
    r"""Find the anchors around every query spot, slide by slide, and weigh them.

    A query spot and a reference spot are an *anchor* where each is among the five nearest of the other, comparing
    images with expression. Where a slide has more than 200 spots, the image of the one must also be among the 200
    nearest of the image of the other. The score of an anchor is how many of the 30 nearest query spots and the 30
    nearest reference spots its two spots have in common, scaled so that the .01 quantile is 0 and the .9 quantile
    is 1. With the distances :math:`d_i` of a spot to the query spots of its nearest :math:`K` anchors, and their
    scores :math:`S_i`, an anchor weighs

    .. math:: w_i \propto 1 - \exp\Big(-\frac{1}{4} \Big(1 - \frac{d_i}{d_K}\Big) S_i\Big)

    (Stuart et al., Cell 2019). Where that is 0 for all of them, anchors weigh by their scores, and alike where these
    are 0 too. So a spot is predicted from what its neighbours by image found, and depends on the other spots of its
    slide; not on other slides.

    Parameters
    ----------
    query
        Image embeddings of the query spots, (n_query, d).
    keys, images
        Expression and image embeddings of the reference spots, (n_keys, d) each; they need not be in memory.
    slides
        Slide of every query spot, (n_query,).
    n_neighbors
        :math:`K`, or all anchors of a slide that has fewer.
    metric, index, among
        As in :func:`bleep_sc.models.search.search`.

    Returns
    -------
    The reference spots of the anchors of every query spot, nearest anchors first, with their similarity to that spot,
    and their weights, (n_query, at most n_neighbors) each; rows of weights sum to one. A reference spot may be named
    more than once, and with weight 0.

    Raises
    ------
    ValueError
        When ``n_neighbors`` is below 1, or embeddings are not finite.

    Examples
    --------
    Two spots and two of a reference make four anchors. Of the three nearest ones two are at a spot itself, and the
    third, at the other, has no weight:

    >>> keys = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    >>> found, weights = bs.models.anchor_weights(keys, keys, images=keys, slides=np.array(["a", "a"]), n_neighbors=3)
    >>> bs.models.retrieval.weight_matrix(found.index, weights, 2).toarray().round(3).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors={n_neighbors} must be at least 1.")
    rows = None if among is None or among.all() else np.flatnonzero(among)
    if rows is not None:
        keys, images = rows_of(keys, rows), rows_of(images, rows)
    query = as_tensor(query)
    n_query, width, recalls = len(query), 0, []
    place = np.zeros((n_query, n_neighbors), dtype=np.int64)
    weights = np.zeros((n_query, n_neighbors), dtype=np.float64)
    for slide in np.unique(slides):
        spots = np.flatnonzero(slides == slide)
        own = query[torch.from_numpy(spots).to(query.device)]
        anchors, recall = find_anchors(own, keys, images, metric=metric, index=index)
        near, share = _weights(own, anchors, n_neighbors, metric)
        place[spots, : near.shape[1]], weights[spots, : near.shape[1]] = anchors.reference[near], share
        place[spots, near.shape[1] :] = place[spots, :1]
        width = max(width, near.shape[1])
        recalls += [] if recall is None else [recall * len(spots) / n_query]
    found = torch.from_numpy(place[:, :width].astype(np.int32)).to(query.device)
    similarity = compared(query, keys, found, _SIMILARITY[metric])
    if rows is not None:
        found = torch.from_numpy(rows.astype(np.int32)).to(query.device)[found.long()]
    shares = torch.from_numpy(weights[:, :width].astype(np.float32)).to(query.device)
    return Neighbors(similarity, found, sum(recalls) if recalls else None), shares


_SIMILARITY = {
    "cosine": lambda a, b: (normalize(a) * normalize(b)).sum(dim=1),
    "euclidean": lambda a, b: -(a - b).square().sum(dim=1) / 2,
}


def find_anchors(
    query: Tensor, keys: Any, images: Any, *, metric: Metric, index: Index = "exact"
) -> tuple[Anchors, float | None]:
    """Find the anchors between the spots of one slide, (n_query, d), and a reference, and score them.

    Beside them the share of the nearest reference spots that were found, where the search is approximate. Memory grows
    with the spots of the slide, and not with the reference.
    """
    n_query, n_keys = len(query), keys.shape[0]
    n_near = {"keys": min(max(K_ANCHOR, K_SCORE), n_keys), "query": min(max(K_ANCHOR, K_SCORE), n_query)}
    searched = search(query, keys, n_neighbors=n_near["keys"], metric=metric, index=index)
    keys_of_spots = _numpy(searched.index)  # (n_query, 30)
    candidates = np.unique(keys_of_spots[:, :K_ANCHOR])
    near = as_tensor(_read(keys, candidates)).to(query.device)
    spots_of_candidates = _numpy(search(near, query, n_neighbors=n_near["query"], metric=metric, index="exact").index)

    spot, rank = np.divmod(np.arange(n_query * min(K_ANCHOR, n_keys)), min(K_ANCHOR, n_keys))
    candidate = np.searchsorted(candidates, keys_of_spots[spot, rank])
    mutual = (spots_of_candidates[candidate, :K_ANCHOR] == spot[:, None]).any(axis=1)
    if not mutual.any():  # which an approximate search may come to
        mutual[int(searched.similarity[:, 0].argmax()) * min(K_ANCHOR, n_keys)] = True
    spot, candidate = spot[mutual], candidate[mutual]
    if n_query > K_FILTER:
        alike = _images_are_alike(query, _read(images, candidates), spot, candidate, metric)
        if alike.any():
            spot, candidate = spot[alike], candidate[alike]

    own, of_anchor = np.unique(candidate, return_inverse=True)
    anchored, at_spot = np.unique(spot, return_inverse=True)
    keys_of_keys = _numpy(search(near[own], keys, n_neighbors=min(K_SCORE, n_keys), metric=metric, index=index).index)
    spots_of_spots = search(query[anchored], query, n_neighbors=min(K_SCORE, n_query), metric=metric, index="exact")
    shared = _shared(keys_of_keys[of_anchor], keys_of_spots[spot, :K_SCORE])
    shared += _shared(spots_of_candidates[candidate, :K_SCORE], _numpy(spots_of_spots.index)[at_spot])
    return Anchors(candidates[candidate], spot, _scaled(shared)), searched.recall


def _images_are_alike(
    query: Tensor,
    images: NDArray[np.float32] | Tensor,
    spot: NDArray[np.intp],
    candidate: NDArray[np.intp],
    metric: Metric,
) -> NDArray[np.bool_]:
    """Tell which spots are among the nearest by image of their reference spots, (n_anchors,)."""
    alike = np.zeros(len(spot), dtype=bool)
    order = np.argsort(candidate, kind="stable")
    for rows in slices(len(images), SHARED):
        here = order[slice(*np.searchsorted(candidate[order], (rows.start, rows.stop)))]
        part = as_tensor(images[rows]).to(query.device)
        nearest = _numpy(search(part, query, n_neighbors=K_FILTER, metric=metric, index="exact").index)
        for some in slices(len(here), SHARED):
            these = here[some]
            alike[these] = (nearest[candidate[these] - rows.start] == spot[these, None]).any(axis=1)
    return alike


def _shared(one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many neighbours two lists of every anchor, (n_anchors, k), have in common, (n_anchors,)."""
    result = np.empty(len(one), dtype=np.intp)
    for rows in slices(len(one), SHARED):
        both = np.sort(np.concatenate([one[rows], other[rows]], axis=1), axis=1)
        result[rows] = (both[:, 1:] == both[:, :-1]).sum(axis=1)  # no list names one twice
    return result


def _scaled(shared: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return scores from 0 to 1, (n_anchors,); 1 for all where they do not differ."""
    lowest, highest = np.quantile(shared, QUANTILES)
    if highest == lowest:
        return np.ones(len(shared))
    return np.asarray(np.clip((shared - lowest) / (highest - lowest), 0, 1))


def _weights(
    query: Tensor, anchors: Anchors, n_neighbors: int, metric: Metric
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the anchors whose spots are nearest to every spot of the slide, and their weights, (n_query, K) each.

    Anchors of one spot are as near: those of the higher score come first, then those of the lower reference spot.
    """
    order = np.lexsort((anchors.reference, -anchors.score, anchors.spot))
    anchored, first, counts = np.unique(anchors.spot[order], return_index=True, return_counts=True)
    ends = query[torch.from_numpy(anchored).to(query.device)]
    n_spots, n_anchors = min(n_neighbors, len(anchored)), min(n_neighbors, len(order))
    nearest = search(query, ends, n_neighbors=n_spots, metric=metric, index="exact").index
    near = np.empty((len(query), n_anchors), dtype=np.intp)
    share = np.empty((len(query), n_anchors), dtype=np.float64)
    for rows in slices(len(query), SPOTS):
        spots = _numpy(nearest[rows])  # (b, n_spots)
        distance = _distances(query[rows], ends, spots, metric)
        column = _columns(counts[spots], n_anchors)  # (b, n_anchors), which of the spots an anchor is of
        of_spot = np.take_along_axis(spots, column, axis=1)
        near[rows] = order[first[of_spot] + _numbers(column)]
        distance = np.take_along_axis(distance, column, axis=1)
        share[rows] = _kernel(distance, anchors.score[near[rows]])
    return near, share


def _columns(counts: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Return of which spot each of the first n anchors is, (b, n), for spots with so many anchors, (b, n_spots)."""
    before = np.cumsum(counts, axis=1)
    row, size = np.arange(len(counts))[:, None], max(int(before.max()), n) + 1  # rows one after another ascend
    places = np.searchsorted((before + row * size).ravel(), np.arange(n) + row * size, side="right")
    return np.asarray(places - row * counts.shape[1])


def _numbers(column: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return numbers of the anchors of every spot, from 0, (b, n), for columns that ascend."""
    place = np.broadcast_to(np.arange(column.shape[1]), column.shape)
    begins = np.concatenate([np.ones((len(column), 1), dtype=bool), np.diff(column, axis=1) > 0], axis=1)
    return place - np.maximum.accumulate(np.where(begins, place, 0), axis=1)


def _distances(query: Tensor, ends: Tensor, spots: NDArray[np.intp], metric: Metric) -> NDArray[np.float64]:
    """Return the distances to spots (b, n_spots), on the unit sphere where directions are compared."""
    if metric == "cosine":
        query, ends = normalize(query), normalize(ends)
    index = torch.from_numpy(spots).to(query.device)
    squared = compared(query, ends, index, lambda a, b: (a - b).square().sum(dim=1))
    return np.sqrt(squared.cpu().double().numpy())


def _kernel(distance: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh anchors at some distances, ascending, by their scores, (b, n) each; rows sum to one."""
    furthest = distance[:, -1:]
    share = np.divide(distance, furthest, out=np.zeros_like(distance), where=furthest > 0)
    weight = -np.expm1(-np.maximum(1 - share, 0) * score / SOFTNESS)
    for otherwise in (score, np.ones_like(score)):
        weight = np.where(weight.sum(axis=1, keepdims=True) > 0, weight, otherwise)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _read(values: Any, rows: NDArray[np.intp]) -> NDArray[np.float32] | Tensor:
    found = rows_of(values, rows)
    return found if in_memory(found) or isinstance(found, Tensor) else np.asarray(found[0 : len(rows)])


def _numpy(index: Tensor) -> NDArray[np.intp]:
    return index.cpu().numpy().astype(np.intp)
