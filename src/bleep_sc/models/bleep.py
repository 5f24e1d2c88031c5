"""BLEEP: a joint embedding of image patches and expression (Xie et al., NeurIPS 2023)."""

import torch
from torch import Tensor, nn

from bleep_sc.models.slide_scale import SlideScale


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
    standardize
        Whether the features are in units of their slide; ``scale`` is then that of the reference.

    Examples
    --------
    >>> model = bs.models.BLEEP(n_features=36, n_genes=40)
    >>> image, expression = model(torch.zeros(8, 36), torch.zeros(8, 40))
    >>> tuple(image.shape), tuple(expression.shape)
    ((8, 256), (8, 256))
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(
        self,
        n_features: int,
        n_genes: int,
        *,
        n_dims: int = 256,
        n_models: int = 1,
        dropout: float = 0.1,
        encoder: nn.Module | None = None,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        self.n_features, self.n_genes, self.n_models, self.standardize = n_features, n_genes, n_models, standardize
        if standardize:
            self.register_buffer("feature_mean", torch.zeros(n_features))
            self.register_buffer("feature_std", torch.ones(n_features))
        self.encoder = nn.Identity() if encoder is None else encoder
        self.image_heads = nn.ModuleList(ProjectionHead(n_features, n_dims, dropout) for _ in range(n_models))
        self.expression_heads = nn.ModuleList(ProjectionHead(n_genes, n_dims, dropout) for _ in range(n_models))

    @property
    def scale(self) -> SlideScale | None:
        """Moments of the features on a typical slide of the reference, where features are in units of their slide."""
        if not self.standardize:
            return None
        return SlideScale(self.feature_mean.cpu().numpy(), self.feature_std.cpu().numpy())

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed patches (B, 3, H, W), or features (B, n_features), as (B, n_models * n_dims)."""
        features = self.encoder(images)  # (B, n_features)
        return torch.cat([head(features) for head in self.image_heads], dim=1)

    def embed_expression(self, expression: Tensor) -> Tensor:
        """Embed expression (B, n_genes) as (B, n_models * n_dims)."""
        return torch.cat([head(expression) for head in self.expression_heads], dim=1)

    def forward(self, images: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image and the expression embeddings of a batch, (B, n_models * n_dims) each."""
        return self.embed_images(images), self.embed_expression(expression)
