"""Whether the tissue of a query looks like that of its reference."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.places import features_around
from bleep_sc._output.messages import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bleep_sc._adata.spots import Spots
    from bleep_sc.models.fitted import FittedModel
    from bleep_sc.models.known_tissue import Around, KnownTissue


def surroundings(spots: Spots) -> Around | None:
    """Return what averages values over the tissue around every spot, or None where places in µm are not known."""
    from bleep_sc.models.known_tissue import RADIUS_UM

    centers = spots.known_centers_um("whether tissue looks like that of the reference is left open")
    if centers is None:
        return None
    return partial(features_around, library_ids=spots.slides, centers=centers, radius_um=RADIUS_UM)


def learnt_typicality(spots: Spots, images: Any, units: NDArray[np.str_], random_state: int) -> KnownTissue | None:
    """Learn what the tissue of a reference looks like, where places are known.

    ``units`` is what each spot is held out with as a whole, (n_obs,); of one alone nothing is learnt.
    """
    from bleep_sc.training.held_out_tissue import learn_typicality

    if images.ndim != 2 or len(np.unique(units)) < 2:
        return None
    around = surroundings(spots)
    return None if around is None else learn_typicality(np.asarray(images), units, around, random_state)


def typicality_of(spots: Spots, images: Any, known: KnownTissue | None) -> NDArray[np.float32] | None:
    """Return how typical of the reference the tissue around every spot is, (n_obs,), where that can be known."""
    around = None if known is None else surroundings(spots)
    return None if known is None or around is None else known.share_beyond(np.asarray(images), around)


def foreign_slides(typicality: NDArray[np.float32] | None, slides: NDArray[np.str_]) -> dict[str, float]:
    """Return the slides of which most is unlike the reference, with the share that is; none where it is not known."""
    from bleep_sc.models.known_tissue import FOREIGN, MOSTLY

    if typicality is None:
        return {}
    shares = {str(name): float((typicality[slides == name] < FOREIGN).mean()) for name in np.unique(slides)}
    return {name: share for name, share in shares.items() if share > MOSTLY}


def warn_of_foreign_slides(foreign: Mapping[str, float], name: str, model: FittedModel) -> None:
    """Warn of slides of which most is unlike the reference, and say what the prediction ``name`` then lacks."""
    from bleep_sc.models.basis import like
    from bleep_sc.models.known_tissue import FOREIGN

    if not foreign:
        return
    listed = ", ".join(f"{share:.0%} of slide {slide!r}" for slide, share in foreign.items())
    of, withheld = like(model.basis), ""
    if model.calibration is not None:
        withheld = (
            f"; predictability is withheld (var[{keys.predictability(name)!r}] is NaN, for all slides of this call), "
            f"and intervals and confidence are calibrated on {of}, and not for such"
        )
    warn(
        f"{listed} looks unlike the reference (obs[{keys.typicality(name)!r}] below {FOREIGN}; so does "
        f"{FOREIGN:.0%} of {of}): another stain, scanner, magnification or tissue, or out of focus. Predictions there "
        f"are a guess{withheld}. Look at bleep_sc.pl.confidence, and compare patches by bleep_sc.pl.retrieval."
    )
