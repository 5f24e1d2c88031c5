"""Guards against the same tissue on both sides of a fold."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed
from bleep_sc.bm._runs import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bleep_sc.bm._folds import Split

THUMBNAIL = 48
"""Side, px, at which two pictures are compared."""
SAME_PICTURE = 0.98
"""Correlation of thumbnails above which two slides are the same one; neighbouring sections of her2st reach .6."""
SAME_SPOTS = 0.01
"""Share of the spots of a slide that may have a twin in another group by chance."""
MIN_GENES = 20
"""Spots with fewer genes may well be equal by chance."""


def check_groups_are_apart(data: Split) -> None:
    """Refuse groups that share a file, a picture, spots, patches or features.

    A slide that stands in two groups, under two names or scanned twice, is tested on itself.
    """
    _check_files(data)
    _check_pictures(data)
    _check_twins(data, "counts", _counts_of_spots(data))
    for key in data.obsm:
        if key != keys.SPATIAL:  # places on the array are the same on every slide
            _check_twins(data, f"obsm[{key!r}]", [_digest(row) for row in data.array(key)])


def _check_files(data: Split) -> None:
    homes: dict[str, set[str]] = {}
    for slide, record in _records(data).items():
        path = record.get("metadata", {}).get("source_image_path")
        if path is not None:
            homes.setdefault(str(path), set()).update(np.unique(data.groups[data.slides == slide]).tolist())
    shared = [path for path, groups in homes.items() if len(groups) > 1]
    if shared:
        raise ValueError(f"The same image file is in several groups: {listed(shared)}. Hold its spots out together.")


def _check_pictures(data: Split) -> None:
    pictures = {slide: _thumbnail(record["images"]) for slide, record in _records(data).items() if record.get("images")}
    # A picture of one colour can be compared with none.
    pictures = {slide: picture for slide, picture in pictures.items() if np.ptp(picture) > 0}
    home = {slide: str(data.groups[data.slides == slide][0]) for slide in pictures}
    twins = [
        f"{a} and {b}"
        for a, b in combinations(pictures, 2)
        if home[a] != home[b] and np.corrcoef(pictures[a], pictures[b])[0, 1] > SAME_PICTURE
    ]
    if twins:
        raise ValueError(f"Slides in different groups have near-identical images: {listed(twins)}. Keep one of them.")


def _records(data: Split) -> dict[str, Mapping[str, Any]]:
    """Return what ``uns["spatial"]`` says of the slides that are compared."""
    records = data.adata.uns.get(keys.SPATIAL, {})
    return {slide: record for slide, record in records.items() if slide in data.slides and isinstance(record, dict)}


def _thumbnail(images: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the smallest picture of a slide as the grey values of a small square."""
    from PIL import Image

    picture = min((np.asarray(image) for image in images.values()), key=lambda image: image.size)
    if picture.dtype != np.uint8:
        picture = (255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return np.asarray(Image.fromarray(picture).convert("L").resize((THUMBNAIL, THUMBNAIL)), dtype=np.float64).ravel()


def _counts_of_spots(data: Split) -> list[bytes]:
    """Return for every spot what tells its counts from others; nothing for one of few genes."""
    counts = canonical(data.counts)
    spots = (slice(*counts.indptr[row : row + 2]) for row in range(counts.shape[0]))
    return [
        _digest(np.concatenate([counts.indices[spot], counts.data[spot]]))
        if spot.stop - spot.start >= MIN_GENES
        else b""
        for spot in spots
    ]


def _digest(row: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()


def _check_twins(data: Split, what: str, prints: list[bytes]) -> None:
    """Refuse slides of which many spots have a twin in another group.

    What repeats inside a slide, as blank glass does, says nothing.
    """
    by_slide: dict[tuple[str, bytes], int] = {}
    homes: dict[bytes, set[str]] = {}
    for slide, group, each in zip(data.slides.tolist(), data.groups.tolist(), prints, strict=True):
        by_slide[slide, each] = by_slide.get((slide, each), 0) + 1
        homes.setdefault(each, set()).add(group)
    twins: dict[str, int] = {}
    for (slide, each), times in by_slide.items():
        if each and times == 1 and len(homes[each]) > 1:
            twins[slide] = twins.get(slide, 0) + 1
    shared = [
        f"{slide} ({number} spots)"
        for slide, number in twins.items()
        if number > max(1, SAME_SPOTS * (data.slides == slide).sum())
    ]
    if shared:
        raise ValueError(
            f"Slides have spots with exactly the same {what} as a spot of another group: {listed(shared)}. The same "
            "tissue stands on both sides. Drop the duplicates."
        )
