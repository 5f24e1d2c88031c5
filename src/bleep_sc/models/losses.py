"""The contrastive loss of BLEEP, with targets smoothed by the similarities inside each modality."""

import torch
from torch import Tensor


def bleep_loss(image: Tensor, expression: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Contrast the two embeddings of a batch of spots, as the code of BLEEP computes it.

    With image embeddings :math:`H_v` and expression embeddings :math:`H_x`,

    .. math::
        L = H_x H_v^\top / \tau, \qquad
        T = \mathrm{softmax}_\mathrm{rows}\big((H_x H_x^\top + H_v H_v^\top) / 2\tau\big),

    and the loss is the mean of the cross-entropies of the rows of :math:`L` with those of :math:`T`, and of the rows
    of :math:`L^\top` with those of :math:`T^\top`, which need not sum to one. The targets are not detached: gradients
    flow through them too. Xie et al., NeurIPS 2023, equations 1 to 3; the printed formula leaves the place of
    :math:`\tau` open.

    Parameters
    ----------
    image, expression
        Joint embeddings of the same spots, (B, n_dims).
    temperature
        :math:`\tau`. The embeddings have LayerNorm geometry, with squared norms of about n_dims: 1 is sharp.

    Returns
    -------
    The loss, a scalar.

    Examples
    --------
    Embeddings that agree are contrasted better than such that do not:

    >>> image = torch.nn.functional.layer_norm(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), (16,))
    >>> bool(bs.models.bleep_loss(image, image) < bs.models.bleep_loss(image, image.flip(0)))
    True
    """
    logits = expression @ image.T / temperature  # (B, B), rows: expression, columns: images
    similarity = (expression @ expression.T + image @ image.T) / 2  # (B, B)
    targets = torch.softmax(similarity / temperature, dim=1)  # (B, B), rows sum to one
    from_expression = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)  # (B,)
    from_image = -(targets.T * torch.log_softmax(logits.T, dim=1)).sum(dim=1)  # (B,)
    return (from_expression + from_image).mean() / 2
