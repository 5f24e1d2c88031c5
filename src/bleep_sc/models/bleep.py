"""BLEEP: a joint embedding of image patches and expression (Xie et al., NeurIPS 2023)."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bleep_sc.models.alignment import N_COMPONENTS, N_TISSUES, Alignment
from bleep_sc.models.slide_scale import SlideScale

AS_THEY_ARE, ALIGNED, SCALED = "as they are", "aligned", "scaled"
SEEN_AS = {"raw": AS_THEY_ARE, "components": AS_THEY_ARE, "aligned": ALIGNED, "scaled": SCALED}
"""What becomes of features before the heads of a view see them; components are only what these are trained on."""


class ProjectionHead(nn.Module):
    """Project features or expression into the joint embedding.

    ``h = W1 x``, then ``LayerNorm(h + Dropout(W2 GELU(h)))``. On the expression side this head is the whole encoder.
    """

    def __init__(self, n_inputs: int, n_dims: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.projection = nn.Linear(n_inputs, n_dims)
        self.refinement = nn.Linear(n_dims, n_dims)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(n_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Embed (B, n_inputs) as (B, n_dims)."""
        h = self.projection(x)  # (B, n_dims)
        residual = self.dropout(self.refinement(torch.nn.functional.gelu(h)))  # (B, n_dims)
        return self.norm(h + residual)


class BLEEP(nn.Module):
    """Embed an image patch and the expression under it at the same point.

    Parameters
    ----------
    n_features
        Width of the pooled image features.
    n_genes
        Number of genes on the expression side.
    n_dims
        Width of the joint embedding.
    n_models
        How many pairs of heads there are, each with an embedding of its own; they lie side by side, so that
        similarities are means over the pairs.
    dropout
        Dropout inside the projection heads.
    encoder
        Turns patches (B, 3, H, W) into features (B, n_features), and is trained with the heads. Without one the
        model takes features, computed once by a frozen encoder.
    views
        How each pair of heads sees features, as :class:`bleep_sc.tl.FitConfig` has them; None: as they are.
    standardize
        What models of version 0.1 say instead: all views are ``"scaled"``.

    Examples
    --------
    >>> model = bs.models.BLEEP(n_features=36, n_genes=40)
    >>> image, expression = model(torch.zeros(8, 36), torch.zeros(8, 40))
    >>> tuple(image.shape), tuple(expression.shape)
    ((8, 256), (8, 256))
    """

    def __init__(
        self,
        n_features: int,
        n_genes: int,
        *,
        n_dims: int = 256,
        n_models: int = 1,
        dropout: float = 0.1,
        encoder: nn.Module | None = None,
        views: Sequence[str] | None = None,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        self.n_features, self.n_genes, self.n_dims, self.n_models = n_features, n_genes, n_dims, n_models
        self.views = tuple(views or n_models * [("raw", "scaled")[standardize]])
        if len(self.views) != n_models or not set(self.views) <= set(SEEN_AS):
            raise ValueError(f"views={self.views} must name {n_models} of {tuple(SEEN_AS)}, one a pair of heads.")
        if SCALED in self.seen_as:
            self.register_buffer("feature_mean", torch.zeros(n_features))
            self.register_buffer("feature_std", torch.ones(n_features))
        if ALIGNED in self.seen_as:
            for name, shape in _shapes_of_alignment(n_features).items():
                self.register_buffer(f"alignment_{name}", torch.ones(shape))
        self.encoder = nn.Identity() if encoder is None else encoder
        self.image_heads = nn.ModuleList(ProjectionHead(n_features, n_dims, dropout) for _ in range(n_models))
        self.expression_heads = nn.ModuleList(ProjectionHead(n_genes, n_dims, dropout) for _ in range(n_models))

    @property
    def seen_as(self) -> list[str]:
        """What becomes of features before each of the heads sees them."""
        return [SEEN_AS[view] for view in self.views]

    @property
    def depends_on_slide(self) -> bool:
        """Whether an embedding depends on the other spots of a slide."""
        return set(self.seen_as) != {AS_THEY_ARE}

    def prepared(self, features: NDArray[np.float32], slides: NDArray[np.str_], seen_as: str) -> NDArray[np.float32]:
        """Return features (n, n_features) as some heads see them; ``slides`` is the slide of every spot, (n,)."""
        if seen_as == AS_THEY_ARE:
            return features
        tensors = self.state_dict()
        if seen_as == SCALED:
            scale = SlideScale(tensors["feature_mean"].cpu().numpy(), tensors["feature_std"].cpu().numpy())
            return scale.apply(features, slides)
        arrays = {each.name: tensors[f"alignment_{each.name}"].cpu().numpy() for each in fields(Alignment)}
        return Alignment(**arrays).apply(features, slides)

    def embed_images(self, images: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """Embed patches (B, 3, H, W), or features (B, n_features), as (B, n_models * n_dims).

        ``heads`` are some of them, which see features in the same way.
        """
        features = self.encoder(images)  # (B, n_features)
        chosen = range(self.n_models) if heads is None else heads
        return torch.cat([self.image_heads[head](features) for head in chosen], dim=1)

    def embed_expression(self, expression: Tensor) -> Tensor:
        """Embed expression (B, n_genes) as (B, n_models * n_dims)."""
        return torch.cat([head(expression) for head in self.expression_heads], dim=1)

    def forward(self, images: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image and the expression embeddings of a batch, (B, n_models * n_dims) each."""
        return self.embed_images(images), self.embed_expression(expression)


def _shapes_of_alignment(n_features: int) -> dict[str, tuple[int, ...]]:
    of_features = {"mean": (n_features,), "std": (n_features,), "components": (N_COMPONENTS, n_features)}
    of_kinds = {"profiles": (N_TISSUES, n_features), "shares": (N_TISSUES,)}
    return {**of_features, **of_kinds, **dict.fromkeys(("centers", "variances"), (N_TISSUES, N_COMPONENTS))}
