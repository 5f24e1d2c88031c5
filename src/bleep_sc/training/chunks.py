"""A contrastive batch that is larger than what fits: embedded in chunks, contrasted as a whole."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def embed_in_chunks(model: nn.Module, images: Tensor, expression: Tensor, n_chunks: int) -> tuple[Tensor, Tensor]:
    """Embed a batch chunk by chunk, keeping the embeddings alone; gradients are those of embedding it at once.

    In the backward pass every chunk is embedded again, with the dropout that it had, and passes on the gradient of its
    embeddings (Gao et al., RepL4NLP 2021), so that memory holds the activations of one chunk. Accumulating the losses
    of small batches instead would be another loss, with fewer negatives. Layers that take statistics of a batch take
    those of a chunk, and twice.

    Parameters
    ----------
    model
        Takes images (B, ...) and expression (B, n_genes), returns the embedding of each.
    images, expression
        The batch.
    n_chunks
        How many parts of about one size to make; 1 embeds the batch at once, once.
    """
    if n_chunks == 1:
        whole: tuple[Tensor, Tensor] = model(images, expression)
        return whole
    chunks = zip(images.tensor_split(n_chunks), expression.tensor_split(n_chunks), strict=True)
    image, other = zip(*(checkpoint(model, *chunk, use_reentrant=False) for chunk in chunks), strict=True)
    return torch.cat(image), torch.cat(other)  # (B, n_dims) each


def number_of_chunks(size: int, chunk_size: int | None, n_processes: int) -> int:
    """Return in how many chunks every process embeds its share of a batch: as many as the others, and none empty."""
    largest, least = -(-size // n_processes), size // n_processes
    return 1 if chunk_size is None else min(-(-largest // chunk_size), least)
