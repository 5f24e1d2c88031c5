"""What is promised of a query: what was learnt of tissue that was as foreign, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from bleep_sc.models.fitted import FittedModel

OF_PARTS = "only parts of the one slide of the reference were held out: what another can expect is not known"
REMEDY = (
    " Fit on two donors or more; or, where it is of the same donor, say whose the query is: obs['patient'], or "
    "donor_key=."
)

REMEDY_OF_SECTIONS = " Where it is of a donor of the reference, say so: obs['patient'], or donor_key=."


@dataclass(frozen=True)
class Promise:
    """Whether what was held out says something of a query."""

    basis: str
    """What was held out when the reference was fitted, one of :data:`bleep_sc.models.basis.BASES`."""
    why_not: str
    """Why it says nothing of the query; empty where it does."""
    remedy: str = ""
    """What would mend that."""

    @classmethod
    def of(cls, model: FittedModel, donors: NDArray[np.str_] | None, foreign: Collection[str], weights: str) -> Promise:
        """Return what a model promises of spots of these ``donors``, (n_obs,); None is not known.

        ``foreign`` are slides of the query of which most is unlike the reference, and ``weights`` says how reference
        spots are weighed, which may be otherwise than when it was fitted.
        """
        own = model.description.config.get("neighbor_weights", "uniform")
        if model.calibration is None:
            return cls("", "nothing was held out when the reference was fitted")
        if model.basis == "parts of one slide":
            return cls(model.basis, OF_PARTS, " Fit on two slides or more, better of two donors.")
        if weights != own:
            why = f"it is made with neighbor_weights={weights!r}, and tissue was held out with {own!r}"
            return cls(model.basis, why, f" Fit with FitConfig(neighbor_weights={weights!r}).")
        if foreign:
            return cls(model.basis, f"most of {listed(foreign)} looks unlike the reference")
        of_reference = model.description.params.get("donors") or {}
        if model.basis != "slides of one donor" or _is_of(of_reference, donors):
            return cls(model.basis, "")
        donor = next(iter(of_reference.values()))
        whose = "whose the query is was not told" if donors is None else f"the query is of {listed(np.unique(donors))}"
        why = f"the reference is of one donor, {donor!r}, and {whose}: what another can expect is not known"
        return cls(model.basis, why, REMEDY)

    @classmethod
    def of_sections(
        cls, of_slides: Mapping[str, str] | None, donors: NDArray[np.str_] | None, foreign: Collection[str]
    ) -> Promise:
        """Return what sections promise that were held out from the other sections of the same tissue.

        ``of_slides`` are the donors of the reference by its slides, None where these were not told; the others are as
        in :meth:`of`. What a section of a further donor can expect, no such section says.
        """
        basis = "slides of one donor" if of_slides else "slides"
        if foreign:
            return cls(basis, f"most of {listed(foreign)} looks unlike the reference")
        if not of_slides or _is_of(of_slides, donors):
            return cls(basis, "")
        whose = "whose the query is was not told" if donors is None else f"the query is of {listed(np.unique(donors))}"
        why = f"sections of {listed(np.unique(list(of_slides.values())))} were predicted from each other, and {whose}"
        return cls(basis, why, REMEDY_OF_SECTIONS)

    @property
    def holds(self) -> bool:
        """Whether predictability is given, and rates of intervals can be expected."""
        return not self.why_not

    def fields(self, *, interval: bool, confidence: bool) -> dict[str, str]:
        """Return what the record of a prediction says of it, with an ``interval`` and with ``confidence`` or without.

        Predictability is given or not; intervals and ranks are those of what was held out, whatever the query is.
        """
        ends, rank = self.basis, f"{self.basis}; a rank among spots that were held out"
        if not self.holds:
            ends += f"; not calibrated for this query: {self.why_not}"
            rank += f", and not an error that can be expected of this query: {self.why_not}"
        return {
            keys.PREDICTABILITY_OF: self.why_not or self.basis,
            **({keys.INTERVAL_OF: ends} if interval else {}),
            **({keys.CONFIDENCE_OF: rank} if confidence else {}),
        }

    def tell(self, interval: float | None) -> None:
        """Log what is not promised of the query; ``interval`` is the share that was asked for, or None."""
        if self.holds or not self.basis:
            return
        logger.warning("Predictability is not promised, and NaN: %s.%s", self.why_not, self.remedy)
        if interval is not None:
            from bleep_sc.models.basis import like

            logger.warning(
                "Intervals hold %g of the measured values of %s; how many they hold here is not known.",
                interval,
                like(self.basis),
            )


def _is_of(of_slides: Mapping[str, str], donors: NDArray[np.str_] | None) -> bool:
    """Tell whether all spots are known to be of the donors of a reference, by its slides."""
    return donors is not None and set(donors.tolist()) <= set(of_slides.values())
