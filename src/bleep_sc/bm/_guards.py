"""Guards against the same tissue on both sides of a fold, and against features that hold its expression."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed, logger, warn
from bleep_sc.bm._leaks import Tissue, Told, told_by
from bleep_sc.bm._runs import canonical
from bleep_sc.bm._twins import colours, near_twins, profiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bleep_sc.bm._folds import Split

THUMBNAIL = 48
"""Side, px, at which two pictures are compared."""
SAME_PICTURE = 0.98
"""Correlation of thumbnails, turned and mirrored, above which two slides are one; others of her2st and mob reach .9."""
SAME_SPOTS = 0.01
"""Share of the spots of a slide that may have a twin in another group by chance."""
MIN_GENES = 20
"""Spots with fewer genes may well be equal by chance, or nearly so."""
MOST_EXPRESSION, MOST_FEATURES, MOST_OF_GENE, MOST_COARSE = 0.65, 0.85, 0.9, 0.5
"""Shares that features of images do not reach: on her2st and mob .51, .62, .49 and .35, on painted tissue .62, .82, .70
and .42."""
DOUBTFUL_FEATURES, DOUBTFUL_SURROUNDINGS = 0.7, 0.75
"""What features of images seldom reach; on her2st and mob .62 and .72, the latter by places alone."""


def check_groups_are_apart(data: Split) -> None:
    """Refuse groups that share a file, a picture, spots, patches or features, turned, mirrored or nearly the same.

    A slide that stands in two groups, under two names or scanned twice, is tested on itself.
    """
    _check_files(data)
    _check_pictures(data)
    counts = _counts_of_spots(data)
    _check_twins(data, "counts", counts)
    enough = np.array([len(each) > 0 for each in counts])
    _check_near_twins(data, "counts", profiles(data.counts), enough, relative=False)
    for key in data.obsm:
        if key == keys.SPATIAL:  # places on the array are the same on every slide
            continue
        values = data.array(key)
        _check_twins(data, f"obsm[{key!r}]", [_digest(row) for row in values])
        values = colours(values) if values.ndim == 4 else values
        _check_near_twins(data, f"obsm[{key!r}]", values, np.ones(len(values), dtype=bool), relative=True)


def check_features_are_of_images(data: Split, use_rep: Sequence[str]) -> None:
    """Refuse features that tell of the expression of their own spots what no image tells, and warn of doubtful ones.

    What is asked is how expression varies within patches of some ten neighbouring spots, for which it matters little
    what the tissue is; and of shares three standard errors are taken off.
    """
    where = data.array(keys.SPATIAL) if keys.SPATIAL in data.obsm else None
    if where is None or not np.isfinite(where).all():
        logger.info("Without coordinates it is not measured what features tell of expression.")
        return
    tissue = Tissue.of(data.counts, data.slides, where)
    if not tissue.is_enough:
        logger.info("There are too few spots to measure what features tell of expression.")
        return
    for key in use_rep:
        _judge(f"use_rep={key!r}", told_by(data.array(key), tissue))
    if data.lattice:
        _judge(f"obs[{listed(data.lattice)}]", told_by(np.column_stack(list(data.lattice.values())), tissue))


def _judge(what: str, told: Told) -> None:
    most = MOST_COARSE if told.is_coarse else MOST_EXPRESSION
    found = [
        ("tells {:.0%} of how the expression of its own spots varies from one to the next", told.expression, most),
        (
            "varies from one spot to the next as their expression tells to {:.0%}",
            told.features,
            MOST_COARSE if told.is_coarse else MOST_FEATURES,
        ),
        ("has a gene's expression to {:.0%} in a column", told.gene, MOST_OF_GENE),
    ]
    remedy = "Pass features of each image alone; those of bleep_sc.pp.image_features are."
    for text, share, limit in found:
        if share > limit:
            raise ValueError(
                f"{what} {text.format(share)}: more than images tell (at most {limit:.0%} pass), so it was computed "
                f"from expression, the held-out one included. {remedy}"
            )
    doubtful = [
        (found[1][0], told.features, DOUBTFUL_FEATURES),
        ("tells {:.0%} of how the expression around its spots varies", told.surroundings, DOUBTFUL_SURROUNDINGS),
    ]
    for text, share, limit in doubtful:
        if share > limit:
            warn(
                f"{what} {text.format(share)}, which images seldom do (over {limit:.0%}): it may have been computed "
                f"from expression, and the comparison be worth nothing. {remedy}"
            )


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
    pictures = {slide: _thumbnail(images) for slide, images in data.images().items() if images}
    # A picture of one colour can be compared with none.
    pictures = {slide: picture for slide, picture in pictures.items() if np.ptp(picture) > 0}
    home = {slide: str(data.groups[data.slides == slide][0]) for slide in pictures}
    twins = [
        f"{a} and {b}"
        for a, b in combinations(pictures, 2)
        if home[a] != home[b] and _likeness(pictures[a], pictures[b]) > SAME_PICTURE
    ]
    if twins:
        raise ValueError(f"Slides in different groups have near-identical images: {listed(twins)}. Keep one of them.")


def _likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the largest correlation of two pictures, one of them turned and mirrored in all eight ways."""
    turned = [np.rot90(side, turns) for side in (b, b.T) for turns in range(4)]
    return max(float(np.corrcoef(a.ravel(), each.ravel())[0, 1]) for each in turned)


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
    return np.asarray(Image.fromarray(picture).convert("L").resize((THUMBNAIL, THUMBNAIL)), dtype=np.float64)


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
    numbers = {slide: (number, int((data.slides == slide).sum())) for slide, number in twins.items()}
    _refuse_shared(numbers, f"exactly the same {what} as a spot of another group")


def _check_near_twins(
    data: Split, what: str, values: NDArray[Any], enough: NDArray[np.bool_], *, relative: bool
) -> None:
    twins = near_twins(values[enough], data.slides[enough], data.groups[enough], relative=relative)
    _refuse_shared(twins, f"nearly the same {what} as one spot of another group, and no other")


def _refuse_shared(twins: Mapping[str, tuple[int, int]], what: str) -> None:
    """Refuse slides with more twins than chance makes, of so many spots that were looked at."""
    shared = [f"{slide} ({number} spots)" for slide, (number, of) in twins.items() if number > max(1, SAME_SPOTS * of)]
    if shared:
        raise ValueError(
            f"Slides have spots with {what}: {listed(shared)}. The same tissue stands on both sides. Drop the "
            "duplicates."
        )
