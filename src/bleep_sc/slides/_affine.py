"""The affine map between two images, from places that show the same tissue, and how far it is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from bleep_sc.slides._regions import transform_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Places: TypeAlias = NDArray[np.float64]

Model = Literal["similarity", "affine"]
FEWEST = {"similarity": 2, "affine": 3}
"""Landmarks that a model needs."""
FLATTEST = 0.02
"""Least width of the landmarks, as a share of their length: below, they lie on a line."""
BETTER = 0.5
"""A mirrored fit is taken for the right one when its residual is a smaller share of the other."""


@dataclass(frozen=True)
class AffineFit:
    """An affine map that was fitted to landmarks."""

    matrix: Places
    """(3, 3): takes (x, y, 1) of the first image to the second."""
    residual_px: Places
    """How far the map of each landmark lies off where it belongs, px of the second image, (n,)."""
    left_out_px: Places
    """The same of each landmark by a map that is fitted to the others, (n,); NaN where they are too few for one."""
    left_out: tuple[Places, ...]
    """These maps, (3, 3) each."""

    def standard_error(self, points: ArrayLike) -> Places:
        """Return how far points (n, 2) may lie off, px of the second image, by the jackknife over landmarks, (n,).

        It knows of landmarks that were set carelessly, and of spots far from all of them; not of tissue that differs.
        """
        points = np.asarray(points, dtype=np.float64)
        if not self.left_out:
            return np.full(len(points), np.nan)
        moved = np.stack([transform_points(points, matrix) for matrix in self.left_out])  # (landmarks, n, 2)
        n = len(moved)
        return np.asarray(np.sqrt((n - 1) / n * ((moved - moved.mean(axis=0)) ** 2).sum(axis=(0, 2))))


def fit_landmarks(
    source: ArrayLike, target: ArrayLike, *, model: Model = "similarity", reflection: bool = False
) -> AffineFit:
    r"""Fit the map between two images to places that show the same tissue, by least squares.

    A similarity turns, scales and moves: two scans of one section need no more. An affine map also stretches and
    shears, as sections are when they are mounted. Three landmarks always fit an affine map exactly, however wrong they
    are, so that ``residual_px`` says little; ``left_out_px`` says how well a landmark is foretold by the others.

    Parameters
    ----------
    source, target
        (x, y) of the landmarks on the first and on the second image, (n, 2), px.
    model
        ``"similarity"`` (two landmarks or more) or ``"affine"`` (three or more).
    reflection
        Whether one image is the mirror image of the other.

    Returns
    -------
    An ``AffineFit``: ``matrix``, ``residual_px``, ``left_out_px`` and ``standard_error(points)``.

    Raises
    ------
    ValueError
        With too few landmarks, all on one line, or where the images are mirrored and ``reflection`` says otherwise.

    Examples
    --------
    >>> corners = np.array([[0, 0], [10, 0], [10, 20], [0, 20]])
    >>> turned = np.array([[100, 0], [100, 5], [90, 5], [90, 0]])
    >>> fit = bs.slides.fit_landmarks(corners, turned)
    >>> (fit.matrix.round(6) + 0.0).tolist()
    [[0.0, -0.5, 100.0], [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]]
    >>> bool(fit.residual_px.max() < 1e-9)
    True
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    _check(source, target, model)
    solve = _similarity if model == "similarity" else _affine
    matrix = solve(source, target, reflection)
    _refuse_mirrored(source, target, matrix, reflection, solve)
    rest = [np.arange(len(source)) != i for i in range(len(source))]
    left_out = []
    if len(source) > FEWEST[model] and all(_spans(source[kept], target[kept], model) for kept in rest):
        left_out = [solve(source[kept], target[kept], reflection) for kept in rest]
    foretold = [_off(one[None], there[None], by)[0] for one, there, by in zip(source, target, left_out, strict=False)]
    nothing = np.full(len(source), np.nan)
    return AffineFit(matrix, _off(source, target, matrix), np.array(foretold) if foretold else nothing, tuple(left_out))


def scale_of_matrix(matrix: Places) -> float:
    """Return px of the second image per px of the first."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def stretch_of_matrix(matrix: Places) -> float:
    """Return how much longer a map makes things in one direction than in the other; 1 for a similarity."""
    long, short = np.linalg.svd(matrix[:2, :2], compute_uv=False)
    return float(long / short)


def _check(source: Places, target: Places, model: Model) -> None:
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"source and target have shapes {source.shape} and {target.shape}; both must be (n, 2).")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("Landmarks must be finite; some have no place.")
    if len(source) < FEWEST[model]:
        other = " Or pass model='similarity', which two determine." if model == "affine" and len(source) == 2 else ""
        raise ValueError(
            f"{len(source)} landmarks are too few: model={model!r} needs {FEWEST[model]}, and one or two more to see "
            f"how far it is to be trusted. Set more.{other}"
        )
    if not _spans(source, target, model):
        raise ValueError(
            "The landmarks lie on one line, or in one place, so that they say nothing of the direction across. Set one "
            "far beside it."
        )


def _spans(source: Places, target: Places, model: Model) -> bool:
    """Tell whether landmarks determine a map."""
    for places in (source, target):
        length, width = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
        if length == 0 or (model == "affine" and width < FLATTEST * length):
            return False
    return True


def _refuse_mirrored(
    source: Places, target: Places, matrix: Places, reflection: bool, solve: Callable[[Places, Places, bool], Places]
) -> None:
    if _width(source) < FLATTEST or _width(target) < FLATTEST:  # on a line nobody can tell
        return
    if solve is _affine:
        is_mirrored = bool(np.linalg.det(matrix[:2, :2]) < 0)
    else:
        as_told, other = (_rms(source, target, solve(source, target, flag)) for flag in (reflection, not reflection))
        is_mirrored = reflection if as_told * BETTER <= other else not reflection
    if is_mirrored and not reflection:
        raise ValueError(
            "By the landmarks one image is the mirror image of the other. Either x and y (or rows and columns) are "
            "swapped in one of the two sets, or the section was scanned from its other side: then pass reflection=True."
        )
    if reflection and not is_mirrored:
        raise ValueError(
            "reflection=True, but by the landmarks no image is the mirror image of the other. Leave it out, or look "
            "whether x and y are swapped in one of the two sets."
        )


def _similarity(source: Places, target: Places, reflection: bool) -> Places:
    from skimage.transform import estimate_transform

    flip = np.diag([-1.0, 1.0, 1.0]) if reflection else np.eye(3)
    fitted = estimate_transform("similarity", source @ flip[:2, :2], target)
    params = getattr(
        fitted, "params", np.full((3, 3), np.nan)
    )  # none where a mirrored fit of a square would be a point
    return np.asarray(params @ flip, dtype=np.float64)


def affine_of(source: Places, target: Places) -> Places:
    """Return the affine map (3, 3) of least squares; that of scikit-image minimises another error."""
    center, size = source.mean(axis=0), np.ptp(source, axis=0).max()
    design = np.column_stack([(source - center) / size, np.ones(len(source))])
    linear = np.linalg.lstsq(design, target, rcond=None)[0].T  # (2, 3)
    across = linear[:, :2] / size
    return np.vstack([np.column_stack([across, linear[:, 2] - across @ center]), [0.0, 0.0, 1.0]])


def _affine(source: Places, target: Places, _: bool) -> Places:
    return affine_of(source, target)


def _width(places: Places) -> float:
    length, width = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
    return float(width / length)


def _off(source: Places, target: Places, matrix: Places) -> Places:
    return np.asarray(np.linalg.norm(source @ matrix[:2, :2].T + matrix[:2, 2] - target, axis=1))


def _rms(source: Places, target: Places, matrix: Places) -> float:
    rms = float(np.sqrt((_off(source, target, matrix) ** 2).mean()))
    return rms if np.isfinite(rms) else np.inf
