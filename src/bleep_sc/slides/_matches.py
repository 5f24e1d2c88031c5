"""The same places on two pictures of one section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_KEYPOINTS = 4000
"""Of a picture, the largest: they look alike on scanners of all sharpness, and all pairs of them are compared."""
DISTINCT = 0.8
"""A match is as far away, at most, as this share of the next best one (Lowe 2004)."""
FEWEST_MATCHES = 15
"""That agree on one map. Of neighbouring sections, or others, at most 8 did."""
OFF_PX = 4.0
"""How far a match may lie off the map, px of the picture."""
TRIES = 2000


def match_images(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, reflection: bool | None = None, random_state: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool] | None:
    """Find places that look the same on two pictures (height, width, 3), by SIFT and RANSAC of scikit-image.

    Pictures may be turned, scaled and stained otherwise. ``reflection`` says whether one is mirrored; None tries both.

    Returns
    -------
    (x, y) of the places on the first and on the second picture, (n, 2) each, and whether they are mirrored; None where
    too few places agree.
    """
    theirs = _keypoints(second)
    for flag in (False, True) if reflection is None else (reflection,):
        ours = _keypoints(first[:, ::-1] if flag else first)
        found = _agreeing(*ours, *theirs, random_state)
        if found is not None:
            source, target = found
            if flag:
                source = np.column_stack([first.shape[1] - source[:, 0], source[:, 1]])
            return source, target, flag
    return None


def _keypoints(picture: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return (x, y) of keypoints, (n, 2), the first px spanning 0 to 1, and their descriptors, (n, 128)."""
    from skimage.color import rgb2gray
    from skimage.feature import SIFT

    sift = SIFT(upsampling=1)
    try:
        sift.detect_and_extract(rgb2gray(picture))
    except RuntimeError:  # nothing is there
        return np.empty((0, 2)), np.empty((0, 128), dtype=np.uint8)
    largest = np.argsort(-sift.sigmas, kind="stable")[:MOST_KEYPOINTS]
    return sift.positions[largest, ::-1] + 0.5, sift.descriptors[largest]


def _agreeing(
    ours: NDArray[np.float64],
    descriptors: NDArray[np.uint8],
    theirs: NDArray[np.float64],
    their_descriptors: NDArray[np.uint8],
    random_state: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    from skimage.feature import match_descriptors
    from skimage.measure import ransac
    from skimage.transform import SimilarityTransform

    if min(len(ours), len(theirs)) < FEWEST_MATCHES:
        return None
    pairs = match_descriptors(descriptors, their_descriptors, max_ratio=DISTINCT, cross_check=True)
    if len(pairs) < FEWEST_MATCHES:
        return None
    source, target = ours[pairs[:, 0]], theirs[pairs[:, 1]]
    _, agree = ransac(
        (source, target),
        SimilarityTransform,
        min_samples=2,
        residual_threshold=OFF_PX,
        max_trials=TRIES,
        rng=random_state,
    )
    if agree is None or agree.sum() < FEWEST_MATCHES:
        return None
    return source[agree], target[agree]
