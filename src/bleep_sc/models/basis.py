"""What was held out when a model was fitted: what it teaches holds for a further such one, and for no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

BASES = {
    "donors": "other donors",
    "slides of one donor": "another section of the same donor",
    "slides": "other slides; whose they are was not told",
    "parts of one slide": "other parts of the same slide, by which spots are ranked and no more is known",
    "": "nothing was held out",
}
"""What can be held out, and in words what it says something of."""


def basis(params: Mapping[str, Any], slides: Collection[str], *, held_out: bool) -> str:
    """Return what was held out when a model with these ``params`` was fitted on ``slides``, one of ``BASES``.

    Where a reference has several donors these are held out, else its slides, or parts of the only one. Earlier versions
    were not told donors, and noted no slides.
    """
    donors = params.get("donors")
    if not held_out:
        return ""
    if len(slides) == 1:
        return "parts of one slide"
    if not donors:
        return "slides"
    return "donors" if len(set(donors.values())) > 1 else "slides of one donor"


def like(basis: str) -> str:
    """Say of which tissue it holds what was learnt on such a basis."""
    return f"{'further donors' if basis == 'donors' else 'slides'} like the reference's own"
