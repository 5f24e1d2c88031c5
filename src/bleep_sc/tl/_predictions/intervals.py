"""What a reference learnt from its held-out slides, applied to the genes and spots of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import extremes, in_memory, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.calibration import Calibration
    from bleep_sc.models.fitted import FittedModel

TYPICAL_SHRINKAGE = 0.5
"""How far a prediction moves towards the regression where no slide was held out to tell."""
SPOTS = 16384
"""Spots whose confidence is found at once."""


@dataclass(frozen=True)
class Panel:
    """Where the genes that are predicted stand in the panel of a model."""

    model: FittedModel
    names: list[str]
    """Names in the reference of the genes that are predicted."""

    @property
    def position(self) -> NDArray[np.intp]:
        """Column of every predicted gene in the panel, -1 outside it."""
        columns = {name: column for column, name in enumerate(self.model.description.genes)}
        return np.array([columns.get(name, -1) for name in self.names], dtype=np.intp)

    @property
    def shrinkage(self) -> NDArray[np.float32]:
        """How far every predicted gene moves towards the regression, (n_predicted,)."""
        calibration = self.model.calibration
        if calibration is None:
            return np.full(len(self.names), TYPICAL_SHRINKAGE, dtype=np.float32)
        position = self.position
        return np.where(position < 0, calibration.typical_shrinkage, calibration.shrinkage[position])

    @property
    def predictability(self) -> NDArray[np.float32]:
        """How well every predicted gene was predicted on held-out slides, (n_predicted,); NaN outside the panel."""
        calibration, position = self.model.calibration, self.position
        if calibration is None:
            return np.full(len(self.names), np.nan, dtype=np.float32)
        return np.where(position < 0, np.float32(np.nan), calibration.predictability[position])

    def interval(
        self,
        share: float,
        index: Tensor,
        weights: Tensor,
        values: Any,
        retrieved: NDArray[np.float32],
        predicted: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the ends of the intervals, (n_obs, n_predicted) each; NaN outside the panel."""
        from bleep_sc.models import retrieval
        from bleep_sc.models.calibration import interval_scale

        calibration, position = self.model.calibration, self.position
        if calibration is None:
            raise ValueError("Nothing was held out from the reference, so intervals cannot be calibrated.")
        inside = position >= 0
        genes, values = position[inside], values[:, inside]
        scale = interval_scale(retrieval.variance(index, weights, values, retrieved[:, inside]), calibration.std[genes])
        lowest, _ = extremes(values)
        ends = []
        for probability in ((1 - share) / 2, (1 + share) / 2):
            end = np.full(predicted.shape, np.nan, dtype=np.float32)
            end[:, inside] = np.maximum(calibration.end(probability, predicted[:, inside], scale, genes), lowest)
            ends.append(end)
        return ends[0], np.maximum(*ends)


def check_interval(share: float, model: FittedModel, *, store: Any, layer: str | None, target_rep: str | None) -> None:
    """Refuse intervals that cannot be had, before anything is computed."""
    params = model.description.params
    if not 0 < share <= 0.99:
        raise ValueError(f"interval={share} is the share of measured values to hold: between 0 and 0.99, such as 0.9.")
    if model.calibration is None:
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
    n_spots = SPOTS if in_memory(values) else max(SPOTS, len(index))  # what is on disk is read once for all
    for rows in slices(len(index), n_spots):
        mean = retrieval.average(index[rows], weights[rows], values)
        variance = retrieval.variance(index[rows], weights[rows], values, mean)
        spread[rows] = disagreement(variance, calibration.std[judges])
    return calibration.confidence(retrieval.mean_similarity(similarity, weights), spread)
