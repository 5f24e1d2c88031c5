"""What is promised of the genes of a query: what was learnt of tissue that was as foreign, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from bleep_sc.models.fitted import FittedModel


def promise(model: FittedModel, donors: NDArray[np.str_] | None, foreign: Collection[str]) -> tuple[bool, str]:
    """Return whether predictability holds for a query, and of what it was learnt, or why it does not.

    ``donors`` is the donor of every spot of the query, (n_obs,), or None where that is not known; ``foreign`` are its
    slides of which most is unlike the reference. That it is withheld is logged.
    """
    if model.calibration is None:
        return False, "nothing was held out when the reference was fitted"
    remedy = ""
    if foreign:
        why = f"most of {listed(foreign)} looks unlike the reference"
    elif model.basis != "slides of one donor" or _is_of(model, donors):
        return True, model.basis
    else:
        own = next(iter(model.description.params["donors"].values()))
        whose = "whose the query is was not told" if donors is None else f"the query is of {listed(np.unique(donors))}"
        why = f"the reference is of one donor, {own!r}, and {whose}: what another can expect is not known"
        remedy = (
            " Fit on two donors or more; or, where it is of the same donor, say whose the query is: obs['patient'], or "
            "donor_key=."
        )
    logger.warning("Predictability is not promised, and NaN: %s.%s", why, remedy)
    return False, why


def _is_of(model: FittedModel, donors: NDArray[np.str_] | None) -> bool:
    """Tell whether all spots are known to be of the donors of a reference."""
    return donors is not None and set(donors.tolist()) <= set(model.description.params["donors"].values())
