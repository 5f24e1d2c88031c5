"""BLEEP: a joint embedding of image patches and expression (Xie et al., NeurIPS 2023)."""

from torch import Tensor, nn

from bleep_sc.models.heads import ProjectionHead


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
    dropout
        Dropout inside both projection heads.
    encoder
        Turns patches (B, 3, H, W) into features (B, n_features), and is trained with the heads. Without one the
        model takes features, computed once by a frozen encoder.
    """

    def __init__(
        self,
        n_features: int,
        n_genes: int,
        *,
        n_dims: int = 256,
        dropout: float = 0.1,
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = nn.Identity() if encoder is None else encoder
        self.image_head = ProjectionHead(n_features, n_dims, dropout)
        self.expression_head = ProjectionHead(n_genes, n_dims, dropout)

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed patches (B, 3, H, W), or features (B, n_features), as (B, n_dims)."""
        return self.image_head(self.encoder(images))

    def embed_expression(self, expression: Tensor) -> Tensor:
        """Embed expression (B, n_genes) as (B, n_dims)."""
        return self.expression_head(expression)

    def forward(self, images: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image and the expression embeddings of a batch, (B, n_dims) each."""
        return self.embed_images(images), self.embed_expression(expression)
