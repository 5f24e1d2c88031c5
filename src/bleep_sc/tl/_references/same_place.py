"""The sections of a reference laid on each other and on a query, by outline and colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._adata.patches import patches_of
from bleep_sc._output.messages import listed, logger
from bleep_sc.slides._same_place import laid_back, lay_sections, mean_colors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray
    from scipy import sparse

    from bleep_sc._adata.spots import Spots
    from bleep_sc.slides._same_place import Match

LEAST_OVERLAP = 0.85
"""Share of sections of the same tissue that lies on each other: .95 to .99 of her2st C2 to C5 and of the bulbs of mob,
and .80 to .81 of the tumours of two patients."""
DOUBTFUL_COLOR = 0.2
"""Correlation of colours below which sections are said to be perhaps turned the wrong way: .39 to .88 of the same."""


@dataclass(frozen=True)
class Sections:
    """Sections with the places and the colours of their spots."""

    slides: NDArray[np.str_]
    """(n,)."""
    points: NDArray[np.float64]
    """µm, (n, 2)."""
    colors: NDArray[np.float64]
    """(n, 3)."""

    @classmethod
    def of(cls, spots: Spots, patches_key: str) -> Sections:
        """Read them, or say what is lacking."""
        return cls(spots.slides, spots.centers_um, mean_colors(patches_of(spots.adata, patches_key)))

    def laid_on(
        self, other: Sections, slide: str, names: Collection[str]
    ) -> tuple[NDArray[np.float64], dict[str, Match]]:
        """Lay sections of these ``names`` on a slide of others; NaN for the spots of the rest, (n, 2)."""
        own, rows = np.isin(self.slides, list(names)), other.slides == slide
        laid = np.full(self.points.shape, np.nan)
        matches: dict[str, Match] = {}
        if own.any():
            laid[own], matches = lay_sections(
                self.points[own], self.colors[own], self.slides[own], other.points[rows], other.colors[rows]
            )
        return laid, matches


def is_same_tissue(match: Match) -> bool:
    """Tell whether two sections lie on each other as sections of the same tissue do."""
    return match.overlap >= LEAST_OVERLAP


def laid_within(sections: Sections, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Lay the sections of a reference on each other: by the section, where the spots of others lie there, (n, 2).

    NaN are the spots of the section itself, and of those that do not lie on it. Fewer than two sections on which any
    does are refused.
    """
    laid = {name: np.full(sections.points.shape, np.nan) for name in names}
    matches: dict[tuple[str, str], Match] = {}
    for one, other in combinations(names, 2):
        points, found = sections.laid_on(sections, other, [one])
        own, theirs = sections.slides == one, sections.slides == other
        matches[one, other] = found[one]
        if is_same_tissue(found[one]):
            laid[other][own] = points[own]
            laid[one][theirs] = laid_back(sections.points[own], points[own], sections.points[theirs])
    laid = {name: points for name, points in laid.items() if np.isfinite(points).any()}
    if len(laid) < 2:
        raise ValueError(
            f"How far to go by place is learnt on sections of the reference that lie on each other, and it has none: "
            f"{_said(matches) or f'one section, {listed(names)}'}. Fit it on two or more sections of the same tissue, "
            "or leave the prediction as it is."
        )
    logger.info("Of the reference %d of %d sections lie on another: %s.", len(laid), len(names), _said(matches))
    return laid


def laid_on_query(
    sections: Sections, query: Sections, names: Collection[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, dict[str, Match]]]:
    """Lay the sections of a reference on every slide of a query, or refuse a slide that none lies on.

    Returned are, by the slide, where spots of the reference lie, (n, 2), NaN for those of sections that do not match,
    and how well each of the others does.
    """
    laid: dict[str, NDArray[np.float64]] = {}
    matches: dict[str, dict[str, Match]] = {}
    for slide in map(str, np.unique(query.slides)):
        laid[slide], found = sections.laid_on(query, slide, names)
        said = _said({(name, slide): match for name, match in found.items()})
        matches[slide] = {name: match for name, match in found.items() if is_same_tissue(match)}
        for name in found.keys() - matches[slide].keys():
            laid[slide][sections.slides == name] = np.nan
        if not matches[slide]:
            raise ValueError(
                f"No section of the reference lies on slide {slide!r} as a section of the same tissue would: {said} "
                f"(needed: overlap {LEAST_OVERLAP}). There is no place to copy; take the prediction as it is."
            )
        logger.info("Laid on slide %r by outline and colour: %s.", slide, said)
        doubtful = [name for name, match in matches[slide].items() if match.color < DOUBTFUL_COLOR]
        if doubtful:
            logger.warning(
                "%s may lie on slide %r the wrong way: colours at the same place hardly agree (%s).",
                listed(doubtful), slide, said,
            )  # fmt: skip
    return laid, matches


def weights_of_places(query: Sections, laid: Mapping[str, NDArray[np.float64]], width_um: float) -> sparse.csr_matrix:
    """Return the weights of the reference spots in the place of every spot of the query, (n_query, n_reference).

    ``laid`` is where they lie on every slide of the query, as :func:`laid_on_query` says.
    """
    from scipy import sparse

    from bleep_sc.models.same_place import place_weights

    rows = {slide: np.flatnonzero(query.slides == slide) for slide in laid}
    parts = [place_weights(query.points[own], laid[slide], width_um) for slide, own in rows.items()]
    order = np.argsort(np.concatenate(list(rows.values())))
    return sparse.vstack(parts, format="csr")[order].astype(np.float32)


def shares_of_slides(weights: sparse.csr_matrix, slides: NDArray[np.str_]) -> dict[str, float]:
    """Return the share of every slide of the reference in weights (n_query, n_reference), the largest first."""
    total = pd.Series(np.asarray(weights.sum(axis=0), dtype=np.float64).ravel()).groupby(slides).sum()
    shares = (total / total.sum()).sort_values(ascending=False, kind="stable")
    return {str(name): round(float(share), 6) for name, share in shares.items()}


def _said(matches: Mapping[tuple[str, str], Match]) -> str:
    """Say how well sections lie on each other."""
    parts = [
        f"{str(one)!r} on {str(other)!r} (overlap {match.overlap:.2f}, colours {match.color:.2f})"
        for (one, other), match in matches.items()
    ]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
