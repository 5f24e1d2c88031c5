"""The projection head of BLEEP (Xie et al., NeurIPS 2023, section 3.2)."""

import torch
from torch import Tensor, nn


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
