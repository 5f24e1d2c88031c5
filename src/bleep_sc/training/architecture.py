"""BLEEP as it is trained, on components of the views of features, and as it is used, on features as they are."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.map_batches import channels_first
from bleep_sc.training.prepared import among_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.prepared import Prepared


def trained_on(pairs: Pairs, widths: Sequence[int], config: FitConfig, encoder: Encoder | None) -> BLEEP | SideBySide:
    """Return a model with random weights, on the CPU: heads on features, or on a copy of an encoder of patches.

    ``widths`` (n_models,) say how many columns of the features each head takes, one after another.
    """
    n_genes = pairs.expression.shape[1]
    if not pairs.are_patches:
        return SideBySide([heads(width, n_genes, config, ("raw",)) for width in widths]).train()
    if encoder is None:
        raise ValueError("Patches need an encoder that turns them into features; pass encoder=.")
    encoder = copy.deepcopy(encoder).cpu()
    with torch.inference_mode():
        n_features = encoder.eval()(channels_first(pairs.images[:1])).shape[1]
    return heads(n_features, n_genes, config, ("raw",) * len(config.heads), encoder=encoder).train()


class SideBySide(nn.Module):
    """Pairs of heads of which each takes columns of its own, as one model."""

    models: list[BLEEP]

    def __init__(self, models: Sequence[BLEEP]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)  # type: ignore[assignment]
        self.widths, self.n_models = [model.n_features for model in models], len(models)

    def forward(self, images: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image and the expression embeddings of a batch, (B, n_models * n_dims) each."""
        parts = zip(self.models, images.split(self.widths, dim=1), strict=True)
        pairs = [model(part, expression) for model, part in parts]
        return torch.cat([image for image, _ in pairs], dim=1), torch.cat([profile for _, profile in pairs], dim=1)


def whole(model: BLEEP | SideBySide, prepared: Prepared, config: FitConfig) -> BLEEP:
    """Return the model as it takes raw features, with what they went through before the image heads inside."""
    if isinstance(model, BLEEP):
        return model.eval()
    weights = {**prepared.buffers}
    for head, (own, rotation) in enumerate(zip(model.models, prepared.rotations, strict=True)):
        tensors, name = own.state_dict(), "image_heads.0.projection"
        if rotation is not None:
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = rotation.unrotated(
                tensors[f"{name}.weight"], tensors[f"{name}.bias"]
            )
        tensors[f"{name}.weight"] = among_all(tensors[f"{name}.weight"], prepared.varies)
        weights |= {name.replace("_heads.0.", f"_heads.{head}."): tensor for name, tensor in tensors.items()}
    n_features = weights["image_heads.0.projection.weight"].shape[1]
    result = heads(n_features, model.models[0].n_genes, config, config.heads)
    result.load_state_dict(weights)
    return result.to(next(model.parameters()).device).eval()


def heads(
    n_features: int, n_genes: int, config: FitConfig, views: Sequence[str], *, encoder: nn.Module | None = None
) -> BLEEP:
    """Return a model with random weights, as a configuration says."""
    return BLEEP(
        n_features,
        n_genes,
        n_dims=config.n_dims,
        n_models=len(views),
        dropout=config.dropout,
        encoder=encoder,
        views=views,
    )
