"""What stands above everything else on a page, on its picture and in the list of slides: why not to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc._adata.promise import why_not_promised
from bleep_sc.io._page.facts import foreign_share

if TYPE_CHECKING:
    from anndata import AnnData

SAY_WHOSE = 'say whose the slides are (bleep-sc prepare --donor NAME=DONOR, or obs["donor"]), and fit again'
DONORS_NOT_TOLD = (
    "Whose slides the reference has was not told. Every r on this page holds for another section of the same donors; "
    f"on another patient it may be far lower. To know how much, {SAY_WHOSE}."
)


def alarm(adata: AnnData, layer: str) -> str:
    """Say it where most of the slide is tissue that the reference does not know; else nothing."""
    share = _mostly_foreign(adata, layer)
    return share and (
        f"{share} of this slide looks unlike the reference: another stain, scanner, magnification or tissue, "
        "or out of focus. Its predictions are a guess, and should not be used."
    )


def caution(adata: AnnData, layer: str) -> str:
    """Say it where nothing is promised of this slide, or less than it seems; else nothing."""
    if why := why_not_promised(adata, layer):
        return f"Nothing is promised of any gene of this slide: {why}. Do not conclude anything from its maps alone."
    return DONORS_NOT_TOLD if _donors_not_told(adata, layer) else ""


def in_brief(adata: AnnData, layer: str) -> list[str]:
    """Return the same in a few words each, the worst first."""
    found = []
    if share := _mostly_foreign(adata, layer):
        found.append(f"{share} of it is unlike the reference: not to be used")
    if why := why_not_promised(adata, layer):
        found.append(f"nothing is promised: {why}")
    elif _donors_not_told(adata, layer):
        found.append("donors were not told: r holds for sections of the same donors, and may be far lower on another")
    return found


def _mostly_foreign(adata: AnnData, layer: str) -> str:
    from bleep_sc.models.known_tissue import MOSTLY

    share = foreign_share(adata, layer)
    return "" if share is None or share <= MOSTLY else f"{share:.0%}"


def _donors_not_told(adata: AnnData, layer: str) -> bool:
    return adata.uns.get(keys.imputed(layer), {}).get(keys.PREDICTABILITY_OF) == "slides"
