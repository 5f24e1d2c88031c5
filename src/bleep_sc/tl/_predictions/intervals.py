"""What a reference learnt from its held-out slides, applied to the genes and spots of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import in_memory, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.calibration import Calibration
    from bleep_sc.models.fitted import FittedModel

AT_ONCE = 16384
"""Spots whose confidence is found at once."""


def check_interval(share: float, model: FittedModel, *, store: Any, layer: str | None, target_rep: str | None) -> None:
    """Refuse intervals that cannot be had, before anything is computed."""
    params = model.description.params
    check_share(share, sum(model.description.slides.values()))
    if model.calibration is None or model.basis == "parts of one slide":
        raise ValueError(
            f"interval={share} needs slides of the reference that were held out when it was fitted. Fit on two slides "
            "or more, with FitConfig(cross_fit=True)."
        )
    if store is not None:
        raise ValueError(f"interval={share} writes layers in memory; impute in parts, or without store=.")
    if (layer, target_rep) != (params["layer"], params["target_rep"]):
        raise ValueError(
            f"interval={share} is calibrated for what the model was fitted on (layer={params['layer']!r}, "
            f"target_rep={params['target_rep']!r}), and not for layer={layer!r}, target_rep={target_rep!r}."
        )


def check_share(share: float, n_spots: int) -> None:
    """Refuse a share of measured values that intervals cannot be made for; 0 ``n_spots`` are not known."""
    if not 0 < share <= 0.99:
        raise ValueError(
            f"interval={share} must lie between 0 and 0.99: the share of measured values to hold, such as 0.9."
        )
    if n_spots and (n_spots + 1) * (1 - share) / 2 < 1:
        raise ValueError(
            f"interval={share} leaves less than one of the {n_spots} spots of the reference on either side: its ends "
            f"are not known. Ask for at most {1 - 2 / (n_spots + 1):.2g}, or fit on more spots."
        )


def spot_confidence(
    calibration: Calibration,
    judges: NDArray[np.bool_],
    values: Any,
    similarity: Tensor,
    index: Tensor,
    weights: Tensor,
) -> NDArray[np.float32]:
    """Return the confidence of every spot, (n_obs,).

    ``judges`` are the genes of the panel by which spots are judged, and ``values`` (n_reference, n_judges) their
    expression.
    """
    from bleep_sc.models import retrieval
    from bleep_sc.models.calibration import disagreement

    spread = np.empty(len(index), dtype=np.float32)
    n_spots = AT_ONCE if in_memory(values) else max(AT_ONCE, len(index))  # what is on disk is read once for all
    for rows in slices(len(index), n_spots):
        mean = retrieval.average(index[rows], weights[rows], values)
        variance = retrieval.variance(index[rows], weights[rows], values, mean)
        spread[rows] = disagreement(variance, calibration.std[judges])
    return calibration.confidence(retrieval.mean_similarity(similarity, weights), spread)
