"""Features as the heads are trained on them: every view of them, and its principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bleep_sc.models.bleep import ALIGNED, AS_THEY_ARE, SCALED, SEEN_AS
from bleep_sc.models.slide_scale import SlideScale
from bleep_sc.training.alignment import learn_alignment
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.rotation import Rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.processes.group import Processes


OF_FEATURES = (
    "feature_mean",
    "feature_std",
    *(f"alignment_{name}" for name in ("mean", "std", "components", "profiles")),
)
"""Buffers whose last axis are the features."""


@dataclass(frozen=True)
class Prepared:
    """What batches are taken from, and what features went through."""

    pairs: Pairs
    """Features of all heads side by side, (n, sum of widths), or patches."""
    widths: list[int]
    """Columns of every head; none for patches."""
    rotations: list[Rotation | None]
    """Of every head."""
    buffers: dict[str, Tensor]
    """How views were made, by the names of a model's buffers."""
    varies: Tensor
    """Which features vary on any slide, (n_features,): others tell slides apart, and are not looked at."""


def prepare(
    pairs: Pairs, groups: NDArray[np.str_], config: FitConfig, random_state: int, processes: Processes
) -> Prepared:
    """Make the views of features of slides (``groups``, (n,)); patches are left alone."""
    # Rows are gathered for every batch: where columns are together in memory, that takes ten times as long.
    expression = pairs.expression
    if isinstance(expression, np.ndarray):
        expression = np.ascontiguousarray(expression)
    if pairs.are_patches:
        return Prepared(Pairs(pairs.images, expression), [], [], {}, torch.ones(0, dtype=torch.bool))
    features = np.asarray(pairs.images)
    scale = SlideScale.of(features, groups)
    if not scale.std.any():
        raise ValueError(
            f"None of the {features.shape[1]} image features varies on any slide of the reference: there is "
            "nothing to learn. Pass others as use_rep=, or see bleep_sc.pp.image_features."
        )
    varies = torch.from_numpy(scale.std > 0)
    if not varies.all():  # as if the others had never been there
        features = np.ascontiguousarray(features[:, scale.std > 0])
        scale = SlideScale.of(features, groups)
    seen, buffers = _seen(features, groups, scale, config, random_state, processes)
    buffers = {name: among_all(buffer, varies) if name in OF_FEATURES else buffer for name, buffer in buffers.items()}
    rotations: dict[str, Rotation | None] = {}
    for view in dict.fromkeys(config.views):
        rotations[view] = None if view == "raw" else Rotation.of(seen[SEEN_AS[view]], config.n_components)
        if (rotation := rotations[view]) is not None:
            processes.broadcast((rotation.mean, rotation.components))
    values = {
        view: seen[SEEN_AS[view]] if own is None else own.apply(seen[SEEN_AS[view]]) for view, own in rotations.items()
    }
    parts = [values[view] for view in config.heads]
    return Prepared(
        Pairs(np.ascontiguousarray(np.concatenate(parts, axis=1)), expression),
        [part.shape[1] for part in parts],
        [rotations[view] for view in config.heads],
        buffers,
        varies,
    )


def among_all(values: Tensor, varies: Tensor) -> Tensor:
    """Return what is of features that vary, (..., n_varying), among all of them, (..., n_features): 0 for others."""
    result = values.new_zeros((*values.shape[:-1], len(varies)))
    result[..., varies.to(values.device)] = values
    return result


def _seen(
    features: NDArray[np.float32],
    groups: NDArray[np.str_],
    scale: SlideScale,
    config: FitConfig,
    random_state: int,
    processes: Processes,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Tensor]]:
    """Return features as the views see them, by what becomes of them, and the buffers that a model needs for that."""
    needed = {SEEN_AS[view] for view in config.views}
    seen = {AS_THEY_ARE: features}
    buffers: dict[str, Tensor] = {}
    if SCALED in needed:
        buffers |= {"feature_mean": torch.from_numpy(scale.mean), "feature_std": torch.from_numpy(scale.std)}
        seen[SCALED] = scale.apply(features, groups)
    if ALIGNED in needed:
        alignment = learn_alignment(features, groups, random_state)
        tensors = {f"alignment_{name}": torch.from_numpy(array) for name, array in vars(alignment).items()}
        processes.broadcast(tensors.values())  # into the arrays, whose memory they share
        buffers |= tensors
        seen[ALIGNED] = alignment.apply(features, groups)
    return seen, buffers
