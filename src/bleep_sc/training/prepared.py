"""Features as the heads are trained on them: every view of them, and its principal components."""

from __future__ import annotations

from dataclasses import dataclass, fields
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


def prepare(
    pairs: Pairs, groups: NDArray[np.str_], config: FitConfig, random_state: int, processes: Processes
) -> Prepared:
    """Make the views of features of slides (``groups``, (n,)); patches are left alone."""
    # Rows are gathered for every batch: where columns are together in memory, that takes ten times as long.
    expression = np.ascontiguousarray(pairs.expression)
    if pairs.are_patches:
        return Prepared(Pairs(pairs.images, expression), [], [], {})
    features = np.asarray(pairs.images)
    scale = SlideScale.of(features, groups)
    if not scale.std.any():
        raise ValueError(
            f"None of the {features.shape[1]} image features varies on any slide of the reference: there is "
            "nothing to learn. Pass others as use_rep=, or see bleep_sc.pp.image_features."
        )
    seen = {AS_THEY_ARE: features}
    buffers: dict[str, Tensor] = {}
    if SCALED in map(SEEN_AS.get, config.views):
        seen[SCALED] = scale.apply(features, groups)
        buffers |= {"feature_mean": torch.from_numpy(scale.mean), "feature_std": torch.from_numpy(scale.std)}
    if ALIGNED in map(SEEN_AS.get, config.views):
        alignment = learn_alignment(features, groups, random_state)
        tensors = {
            f"alignment_{each.name}": torch.from_numpy(getattr(alignment, each.name)) for each in fields(alignment)
        }
        processes.broadcast(tensors.values())
        seen[ALIGNED], buffers = alignment.apply(features, groups), buffers | tensors
    rotated: dict[str, tuple[Rotation | None, NDArray[np.float32]]] = {}
    for view in dict.fromkeys(config.views):
        rotation, values = None, seen[SEEN_AS[view]]
        if view != "raw":
            rotation = Rotation.of(values, config.n_components)
        if rotation is not None:
            processes.broadcast((rotation.mean, rotation.components))
            values = rotation.apply(values)
        rotated[view] = rotation, values
    parts = [rotated[view][1] for view in config.views]
    images = np.ascontiguousarray(np.concatenate(parts, axis=1))
    return Prepared(
        Pairs(images, expression),
        [part.shape[1] for part in parts],
        [rotated[view][0] for view in config.views],
        buffers,
    )
