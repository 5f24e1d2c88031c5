"""BLEEP as it is trained, on components of standardised features, and as it is used, on features as they are."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.map_batches import channels_first

if TYPE_CHECKING:
    from bleep_sc.models.encoders import Encoder
    from bleep_sc.models.slide_scale import SlideScale
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.rotation import Rotation


def trained_on(pairs: Pairs, config: FitConfig, encoder: Encoder | None) -> BLEEP:
    """Return a model with random weights, on the CPU: heads on features, or on a copy of an encoder of patches."""
    n_genes = pairs.expression.shape[1]
    if not pairs.are_patches:
        return heads(pairs.images.shape[1], n_genes, config).train()
    if encoder is None:
        raise ValueError("Patches need an encoder that turns them into features; pass encoder=.")
    encoder = copy.deepcopy(encoder).cpu()
    with torch.inference_mode():
        n_features = encoder.eval()(channels_first(pairs.images[:1])).shape[1]
    return heads(n_features, n_genes, config, encoder=encoder).train()


def whole(model: BLEEP, scale: SlideScale | None, rotation: Rotation | None, config: FitConfig) -> BLEEP:
    """Return the model as it takes raw features, with what they went through before the image heads inside."""
    if scale is None and rotation is None:
        return model.eval()
    weights = model.state_dict()
    if rotation is not None:
        for head in range(model.n_models):
            name = f"image_heads.{head}.projection"
            weights[f"{name}.weight"], weights[f"{name}.bias"] = rotation.unrotated(
                weights[f"{name}.weight"], weights[f"{name}.bias"]
            )
    if scale is not None:
        weights |= {"feature_mean": torch.from_numpy(scale.mean), "feature_std": torch.from_numpy(scale.std)}
    n_features = weights["image_heads.0.projection.weight"].shape[1]
    result = heads(n_features, model.n_genes, config, standardize=scale is not None)
    result.load_state_dict(weights)
    return result.to(next(model.parameters()).device).eval()


def heads(
    n_features: int, n_genes: int, config: FitConfig, *, encoder: nn.Module | None = None, standardize: bool = False
) -> BLEEP:
    """Return a model with random weights, as a configuration says."""
    return BLEEP(
        n_features,
        n_genes,
        n_dims=config.n_dims,
        n_models=config.n_models,
        dropout=config.dropout,
        encoder=encoder,
        standardize=standardize,
    )
