"""How much of the expression of spots their features tell, from one neighbour to the next: arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from bleep_sc._arrays.blocks import dense

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

MAX_SPOTS, MIN_PATCHES = 800, 15
"""Spots that are looked at, of all slides together; and patches of tissue below which nothing can be said."""
PATCH = 12
"""Most spots of a patch of tissue; within half as many to so many neighbours features and expression are compared."""
N_GENES, N_COMPONENTS, N_FEATURES, N_FOLDS = 1000, 10, 60, 5
PENALTY, WIDTH = 0.1, 0.25
AROUND = 6
"""Neighbours over which expression may have been averaged."""
ERRORS = 3.0
"""A share counts less so many standard errors: one in 700 that are as large as the limit is taken for larger."""


@dataclass(frozen=True)
class Tissue:
    """Spots of all slides, in patches of neighbours, and their expression."""

    rows: Ints
    """Which spots are looked at."""
    slides: Ints
    patches: Ints
    """The patch of every spot; four of one slide have the same quotient by four, as neighbours."""
    own: Floats
    """(n, components): of the logarithms, and at the end of the depth and the number of genes."""
    around: Floats
    """The same, averaged over every spot and those around it."""
    genes: Floats
    """(n, genes): logarithms."""

    @classmethod
    def of(cls, counts: Any, slides: NDArray[np.str_], centers: Floats, random_state: int = 0) -> Tissue:
        """Choose the spots, and describe their expression."""
        random = np.random.default_rng(random_state)
        names = np.unique(slides)
        parts = [
            _some_patches(np.flatnonzero(slides == name), centers, MAX_SPOTS // len(names), random) for name in names
        ]
        rows, near = np.concatenate([part[0] for part in parts]), np.concatenate([part[2] for part in parts])
        patches = np.concatenate([part[1] + 4 * len(slides) * place for place, part in enumerate(parts)])
        used = np.unique(near)
        counts = sparse.csr_matrix(counts[used], dtype=np.float64)
        position = np.searchsorted(used, near)
        logs = _logarithms(counts)
        genes, components = logs[position[:, 0]], min(N_COMPONENTS * 3, *(size - 1 for size in logs.shape))
        axes = np.linalg.svd(_centred(genes, patches), full_matrices=False)[2][:components]
        depth = [np.asarray(counts.sum(axis=1)).ravel(), np.diff(counts.indptr)]
        own = np.column_stack([logs @ axes.T, *(np.log(np.maximum(each, 1.0)) for each in depth)])
        places = np.repeat(np.arange(len(names)), [len(part[0]) for part in parts])
        return cls(rows, places, patches, own[position[:, 0]], own[position].mean(axis=1), genes)

    @property
    def is_enough(self) -> bool:
        """Whether there are spots enough to tell."""
        return len(np.unique(self.patches)) >= MIN_PATCHES

    @cached_property
    def leading(self) -> Ints:
        """The components that are predicted: the first ones, depth and genes."""
        last = self.own.shape[1]
        return np.r_[: min(N_COMPONENTS, last - 2), last - 2, last - 1]

    @cached_property
    def of_expression(self) -> Floats:
        """Kernel of the expression of spots, (n, n)."""
        last = self.own.shape[1] - 2
        weights = np.r_[1 / np.sqrt(1 + np.arange(last) / 3), 1, 1]
        linear = self.genes @ self.genes.T
        return _kernel(_standardised(self.own) * weights) + linear / max(np.trace(linear) / len(linear), 1e-12)


@dataclass(frozen=True)
class Told:
    """Shares of the variation within patches of neighbours, each the largest of many, less its errors."""

    expression: float
    """Of a component or gene, predicted from all features on slides or patches that were left out."""
    features: float
    """Of a feature, predicted from all genes."""
    gene: float
    """Squared correlation of a feature and a gene."""
    surroundings: float
    """Of a component of the expression around spots, predicted from features on slides that were left out."""
    is_coarse: bool
    """Whether there are few different features, as of clusters, so that they can tell little."""


def told_by(features: NDArray[Any], tissue: Tissue) -> Told:
    """Return what features and expression tell of each other."""
    z = _varying(features, tissue)
    if not z.shape[1]:
        return Told(0.0, 0.0, 0.0, 0.0, is_coarse=True)
    main, patches, slides = _components(z), tissue.patches, tissue.slides
    fold, several = _folds(patches), len(np.unique(slides)) > 1
    kernel = _kernel(main / np.sqrt(1 + np.arange(main.shape[1]) / 10))
    most = np.argsort(-_centred(tissue.genes, patches).var(axis=0))[: 2 * N_COMPONENTS]
    known = np.hstack([tissue.own[:, tissue.leading], tissue.genes[:, most]])
    described = np.hstack([z, main[:, : 2 * N_COMPONENTS]])
    around = tissue.around[:, tissue.leading]
    return Told(
        max(_share_within(kernel, known, tissue, fold), _share(kernel, known, patches, slides) if several else 0.0),
        max(
            _share_within(tissue.of_expression, described, tissue, fold),
            _share(tissue.of_expression, described, patches, fold),
        ),
        _closest_gene(z, tissue),
        _share(kernel, around, patches // 4, slides) if several else 0.0,
        is_coarse=len(np.unique(z, axis=0)) < len(z) / 10,
    )


def _some_patches(rows: Ints, centers: Floats, limit: int, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return spots of a slide in whole patches, the patch of each, and the spots nearest to each."""
    points = centers[rows]
    patch = _halved(points)
    wholes, sizes = np.unique(patch // 4, return_counts=True)
    order = random.permutation(len(wholes))
    kept = wholes[order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), limit)))]]
    chosen = np.flatnonzero(np.isin(patch // 4, kept))
    near = cKDTree(points).query(points[chosen], k=np.minimum(np.arange(1, AROUND + 2), len(rows)))[1]
    return rows[chosen], patch[chosen], rows[near]


def _halved(points: Floats) -> Ints:
    """Return patches of at most ``PATCH`` spots: the slide is halved along its longer side, and so are the halves."""
    patch = np.zeros(len(points), dtype=np.intp)
    for _ in range(max(0, int(np.ceil(np.log2(len(points) / PATCH))))):
        halves = 2 * patch
        for each in np.unique(patch):
            inside = np.flatnonzero(patch == each)
            along = points[inside, np.argmax(np.ptp(points[inside], axis=0))]
            halves[inside[np.argsort(along, kind="stable")[len(inside) // 2 :]]] += 1
        patch = halves
    return patch


def _logarithms(counts: sparse.csr_matrix) -> Floats:
    """Return the most variable genes, log-normalised and centred, (n, genes)."""
    depth = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)
    logs = sparse.csr_matrix(sparse.diags(1e4 / depth) @ counts).log1p()
    mean = np.asarray(logs.mean(axis=0)).ravel()
    variance = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - mean**2
    genes = np.argsort(-variance, kind="stable")[:N_GENES]
    return np.asarray(dense(logs[:, genes]) - mean[genes], dtype=np.float64)


def _centred(values: Floats, patches: Ints) -> Floats:
    """Subtract from every spot the mean of its patch."""
    _, place, size = np.unique(patches, return_inverse=True, return_counts=True)
    mean = sparse.csr_matrix((1 / size[place], (place, np.arange(len(place))))) @ values
    return values - mean[place]


def _standardised(values: Floats) -> Floats:
    """Give every column mean zero, and where it varies a variance of one."""
    values = values - values.mean(axis=0)
    spread = values.std(axis=0)
    return values / np.where(spread > 0, spread, 1.0)


def _varying(features: NDArray[Any], tissue: Tissue) -> Floats:
    values = np.nan_to_num(np.asarray(features)[tissue.rows].reshape(len(tissue.rows), -1).astype(np.float64))
    return _standardised(values[:, np.ptp(values, axis=0) > 0])


def _components(values: Floats) -> Floats:
    left, size, _ = np.linalg.svd(values, full_matrices=False)
    return _standardised(left[:, : min(N_FEATURES, int((size > 1e-6 * size[0]).sum()))])


def _kernel(values: Floats) -> Floats:
    """Return how alike spots are, linearly and by distance, (n, n)."""
    products = values @ values.T
    norms = np.diag(products)
    distances = np.maximum(norms[:, None] + norms - 2 * products, 0.0)
    return products / max(norms.mean(), 1e-12) + np.exp(-distances / max(WIDTH * np.median(distances), 1e-12))


def _folds(patches: Ints) -> Ints:
    _, place = np.unique(patches, return_inverse=True)
    return np.random.default_rng(0).permutation(place.max() + 1)[place] % N_FOLDS


def _predicted(kernel: Floats, targets: Floats, patches: Ints, fold: Ints) -> Floats:
    """Predict what varies within patches by kernel ridge regression, each fold from the others."""
    kernel, targets = _centred(_centred(kernel, patches).T, patches), _centred(targets, patches)
    result = np.zeros_like(targets)
    for each in np.unique(fold):
        out, rest = np.flatnonzero(fold == each), np.flatnonzero(fold != each)
        if len(rest):
            system = kernel[np.ix_(rest, rest)] + PENALTY * np.eye(len(rest))
            result[out] = kernel[np.ix_(out, rest)] @ np.linalg.solve(system, targets[rest])
    return result


def _share(kernel: Floats, targets: Floats, patches: Ints, fold: Ints) -> float:
    return _less_errors(targets, _predicted(kernel, targets, patches, fold), patches)


def _share_within(kernel: Floats, targets: Floats, tissue: Tissue, fold: Ints) -> float:
    """Predict every slide from itself, since features may have been computed slide by slide."""
    predicted = np.zeros_like(targets)
    for slide in np.unique(tissue.slides):
        rows = np.flatnonzero(tissue.slides == slide)
        predicted[rows] = _predicted(kernel[np.ix_(rows, rows)], targets[rows], tissue.patches[rows], fold[rows])
    return _less_errors(targets, predicted, tissue.patches)


def _less_errors(targets: Floats, predicted: Floats, patches: Ints) -> float:
    """Return the largest share of a target that was predicted, less ``ERRORS`` of leaving out a patch (jackknife)."""
    targets = _centred(targets, patches)
    _, place = np.unique(patches, return_inverse=True)
    by_patch = sparse.csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))))
    missed, whole = by_patch @ (targets - predicted) ** 2, by_patch @ targets**2
    varies = whole.sum(axis=0) > 1e-9 * len(targets)
    if not varies.any():
        return 0.0
    missed, whole = missed[:, varies], whole[:, varies]
    share = 1 - missed.sum(axis=0) / whole.sum(axis=0)
    without = 1 - (missed.sum(axis=0) - missed) / np.maximum(whole.sum(axis=0) - whole, 1e-12)
    error = np.sqrt((len(missed) - 1) * without.var(axis=0))
    return float((share - ERRORS * error).max(initial=0.0))


def _closest_gene(features: Floats, tissue: Tissue) -> float:
    """Return the largest squared correlation of a feature with a gene, of those that many spots have."""
    often = (tissue.genes != tissue.genes.min(axis=0)).mean(axis=0) > 0.1
    f, g = _centred(features, tissue.patches), _centred(tissue.genes[:, often], tissue.patches)
    sizes = np.maximum(np.outer((f**2).sum(axis=0), (g**2).sum(axis=0)), 1e-12)
    return float(((f.T @ g) ** 2 / sizes).max(initial=0.0))
