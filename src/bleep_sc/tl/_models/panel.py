"""The genes of a prediction among those that its model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import extremes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.calibration import Calibration


TYPICAL_SHRINKAGE = 0.5
"""How far a prediction moves towards the regression where no slide was held out to tell."""


@dataclass(frozen=True)
class Panel:
    """Where the genes that are predicted stand in the panel of a model."""

    genes: list[str]
    """Of the panel of the model."""
    calibration: Calibration | None
    """What held-out slides taught; None where none was held out."""
    names: list[str]
    """Names in the reference of the genes that are predicted."""

    @cached_property
    def position(self) -> NDArray[np.intp]:
        """Column of every predicted gene in the panel, -1 outside it."""
        columns = {name: column for column, name in enumerate(self.genes)}
        return np.array([columns.get(name, -1) for name in self.names], dtype=np.intp)

    @cached_property
    def shrinkage(self) -> NDArray[np.float32]:
        """How far every predicted gene moves towards the regression, (n_predicted,)."""
        calibration = self.calibration
        if calibration is None:
            return np.full(len(self.names), TYPICAL_SHRINKAGE, dtype=np.float32)
        position = self.position
        return np.where(position < 0, calibration.typical_shrinkage, calibration.shrinkage[position])

    @cached_property
    def predictability(self) -> NDArray[np.float32]:
        """How well every predicted gene was predicted on held-out slides, (n_predicted,); NaN outside the panel."""
        calibration, position = self.calibration, self.position
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

        inside = self.position >= 0
        variance = retrieval.variance(index, weights, values[:, inside], retrieved[:, inside])
        return self.ends(share, variance, values, predicted)

    def ends(
        self, share: float, variance: NDArray[np.float32], values: Any, predicted: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the same, given the ``variance`` of the genes of the panel among what is averaged, (n_obs, n_inside).

        ``values`` are the expression of the reference, (n_reference, n_predicted), whose least no end lies below.
        """
        from bleep_sc.models.calibration import interval_scale

        calibration, position = self.calibration, self.position
        if calibration is None:
            raise ValueError("Nothing was held out from the reference, so intervals cannot be calibrated.")
        inside = position >= 0
        genes = position[inside]
        scale = interval_scale(variance, calibration.std[genes])
        lowest, _ = extremes(values[:, inside])
        ends = []
        for probability in ((1 - share) / 2, (1 + share) / 2):
            end = np.full(predicted.shape, np.nan, dtype=np.float32)
            end[:, inside] = np.maximum(calibration.end(probability, predicted[:, inside], scale, genes), lowest)
            ends.append(end)
        return ends[0], np.maximum(*ends)
