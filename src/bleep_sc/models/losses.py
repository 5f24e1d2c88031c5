"""The contrastive losses: BLEEP's, with targets smoothed by the similarities inside each modality, and CLIP's."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

UNDERFLOW = 1e-30
"""Gradients of similarities below it are zero: spots that are told apart long ago. They are far below the epsilon of
Adam; what they are multiplied to next is subnormal, with which processors multiply matrices a hundred times slower."""


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
    logits = _told_apart(expression @ image.T / temperature)  # (B, B), rows: expression, columns: images
    similarity = _told_apart((expression @ expression.T + image @ image.T) / 2)  # (B, B)
    targets = torch.softmax(similarity / temperature, dim=1)  # (B, B), rows sum to one
    from_expression = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)  # (B,)
    from_image = -(targets.T * torch.log_softmax(logits.T, dim=1)).sum(dim=1)  # (B,)
    return (from_expression + from_image).mean() / 2


def clip_loss(image: Tensor, expression: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Contrast every spot with all others of a batch, as CLIP does: the targets are hard.

    With image embeddings :math:`H_v`, expression embeddings :math:`H_x` and :math:`L = H_x H_v^\top / \tau`,

    .. math::
        \mathcal{L} = -\frac{1}{2B} \sum_i \big(\log \mathrm{softmax}_\mathrm{rows}(L)_{ii}
        + \log \mathrm{softmax}_\mathrm{rows}(L^\top)_{ii}\big),

    which is :func:`bleep_loss` with the identity for its targets: spots that are alike are negatives of each other too
    (Radford et al., ICML 2021, section 2.3; there embeddings have norm one, and :math:`\tau` is learnt).

    Parameters
    ----------
    image, expression
        Joint embeddings of the same spots, (B, n_dims).
    temperature
        :math:`\tau`, as in :func:`bleep_loss`.

    Returns
    -------
    The loss, a scalar.

    Examples
    --------
    Where nothing tells spots apart, each of four is taken for any of them:

    >>> round(float(bs.models.clip_loss(torch.zeros(4, 8), torch.zeros(4, 8)).exp()), 4)
    4.0
    """
    logits = _told_apart(expression @ image.T / temperature)  # (B, B), rows: expression, columns: images
    own = torch.arange(len(image), device=image.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def _told_apart(similarity: Tensor) -> Tensor:
    """Return it, with gradients that do not underflow further down."""
    if similarity.requires_grad:
        similarity.register_hook(_without_underflow)
    return similarity


def _without_underflow(gradient: Tensor | None) -> Tensor | None:  # None: detached further up
    return None if gradient is None else gradient.where(gradient.abs() > UNDERFLOW, 0)
