"""Guards against the same tissue on both sides of a fold."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc import _keys
from bleep_sc._checks import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.bm._folds import Split

THUMBNAIL = 48
"""Side, px, at which two pictures are compared."""
SAME_PICTURE = 0.98
"""Correlation of thumbnails above which two slides are the same one; neighbouring sections of her2st reach .6."""
SAME_SPOTS = 0.01
"""Share of the spots that may have a twin with the same counts by chance."""
MIN_GENES = 20
"""Spots with fewer genes may well be equal by chance."""


def check_groups_are_apart(data: Split) -> None:
    """Refuse groups that share a file, a picture, patches or spots.

    A slide that stands in two groups, under two names or scanned twice, is tested on itself.
    """
    _check_files(data)
    _check_pictures(data)
    _check_spots(data)


def _check_files(data: Split) -> None:
    homes: dict[str, set[str]] = {}
    for slide, record in data.adata.uns.get(_keys.SPATIAL, {}).items():
        path = record.get("metadata", {}).get("source_image_path") if isinstance(record, dict) else None
        if path is not None:
            homes.setdefault(str(path), set()).update(np.unique(data.groups[data.slides == slide]).tolist())
    shared = [path for path, groups in homes.items() if len(groups) > 1]
    if shared:
        raise ValueError(f"The same image file is in several groups: {listed(shared)}. Hold its spots out together.")


def _check_pictures(data: Split) -> None:
    pictures = {
        slide: _thumbnail(record["images"])
        for slide, record in data.adata.uns.get(_keys.SPATIAL, {}).items()
        if isinstance(record, dict) and record.get("images") and (data.slides == slide).any()
    }
    home = {slide: str(data.groups[data.slides == slide][0]) for slide in pictures}
    twins = [
        f"{a} and {b}"
        for a, b in combinations(pictures, 2)
        if home[a] != home[b] and np.corrcoef(pictures[a], pictures[b])[0, 1] > SAME_PICTURE
    ]
    if twins:
        raise ValueError(f"Slides in different groups have near-identical images: {listed(twins)}. Keep one of them.")


def _thumbnail(images: dict[str, Any]) -> NDArray[np.float64]:
    """Return the smallest picture of a slide as the grey values of a small square."""
    from PIL import Image

    picture = np.asarray(images.get("lowres", images.get("hires")))
    if picture.dtype != np.uint8:
        picture = (255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return np.asarray(Image.fromarray(picture).convert("L").resize((THUMBNAIL, THUMBNAIL)), dtype=np.float64).ravel()


def _check_spots(data: Split) -> None:
    """Spots with the same counts of many genes, in different groups, are the same spots."""
    counts = sparse.csr_matrix(data.counts)
    homes: dict[bytes, set[str]] = {}
    prints = []
    for row, group in enumerate(data.groups):
        one = counts[row]
        one.sort_indices()
        print_ = one.indices.tobytes() + one.data.tobytes() if one.nnz >= MIN_GENES else b""
        prints.append(print_)
        if print_:
            homes.setdefault(print_, set()).add(str(group))
    shared = sum(len(homes.get(print_, ())) > 1 for print_ in prints)
    if shared > max(1, SAME_SPOTS * len(prints)):
        raise ValueError(
            f"{shared} spots have exactly the same counts as a spot of another group: the same tissue stands on both "
            "sides. Drop the duplicates."
        )
