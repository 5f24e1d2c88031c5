"""Counts as draws from a zero-inflated negative binomial distribution (ZINB)."""

import math

import torch
from torch import Tensor, nn

LOG_MEANS, DISPERSIONS = (math.log(1e-5), math.log(1e6)), (1e-4, 1e4)
"""Between what logarithms of means, and dispersions, are kept."""


class ZINB(nn.Module):
    """Read mean, dispersion and the log-odds of being no draw but a zero off embeddings, for every gene."""

    def __init__(self, n_dims: int, n_genes: int) -> None:
        super().__init__()
        self.mean = nn.Linear(n_dims, n_genes)
        self.dispersion = nn.Linear(n_dims, n_genes)
        self.zero_logits = nn.Linear(n_dims, n_genes)

    def forward(self, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three of (..., n_dims), (..., n_genes) each."""
        mean = self.mean(embedded).clamp(*LOG_MEANS).exp()  # in this order, since infinity has no gradient
        dispersion = nn.functional.softplus(self.dispersion(embedded)).clamp(*DISPERSIONS)
        return mean, dispersion, self.zero_logits(embedded)


def zinb_loss(counts: Tensor, mean: Tensor, dispersion: Tensor, zero_logits: Tensor) -> Tensor:
    r"""Return the mean negative log-likelihood of counts that are zero-inflated negative binomial.

    .. math::
        P(x) = \pi \, [x = 0] + (1 - \pi) \, \frac{\Gamma(x + \theta)}{\Gamma(\theta) \, x!}
        \left(\frac{\theta}{\theta + \mu}\right)^{\theta} \left(\frac{\mu}{\theta + \mu}\right)^{x}

    The variance of what is not inflated is :math:`\mu + \mu^2 / \theta`. Hist2ST is trained with it (Zeng et al.,
    Briefings in Bioinformatics 2022); the distribution stands in Eraslan et al., Nature Communications 10:390 (2019).

    Parameters
    ----------
    counts
        Raw counts :math:`x`, (..., n_genes).
    mean
        :math:`\mu > 0`, of the same shape; with size factors multiplied in, where spots are not equally deep.
    dispersion
        :math:`\theta > 0`.
    zero_logits
        Log-odds of :math:`\pi`, the probability of a zero that was not drawn.

    Returns
    -------
    A scalar: the mean over all counts, in nats.

    Examples
    --------
    >>> one = torch.ones(4, 3)
    >>> loss = bs.models.zinb_loss(one, mean=one, dispersion=one, zero_logits=0 * one)
    >>> round(float(loss.exp()), 3)  # the probability is a half of a quarter
    8.0
    """
    log_total = (dispersion + mean).log()
    none = -dispersion * torch.log1p(mean / dispersion)  # log-probability that zero is drawn
    ways = torch.lgamma(counts + dispersion) - torch.lgamma(dispersion) - torch.lgamma(counts + 1)
    drawn = ways + none + counts * (mean.log() - log_total)
    is_drawn, is_inflated = nn.functional.logsigmoid(-zero_logits), nn.functional.logsigmoid(zero_logits)
    zero = torch.logaddexp(is_inflated, is_drawn + none)
    return -torch.where(counts == 0, zero, is_drawn + drawn).mean()
