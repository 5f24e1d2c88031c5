import numpy as np
import torch
from scipy import stats

from bleep_sc.models.zinb import ZINB, zinb_loss


def by_scipy(counts, mean, dispersion, zero_logits):
    """Value by value, by the formula."""
    total = 0.0
    for x, mu, theta, logit in zip(*(each.ravel() for each in (counts, mean, dispersion, zero_logits)), strict=True):
        inflated = 1 / (1 + np.exp(-logit))
        drawn = stats.nbinom.pmf(x, theta, theta / (theta + mu))
        total -= np.log(inflated * (x == 0) + (1 - inflated) * drawn)
    return total / counts.size


def test_it_is_the_likelihood_of_scipy():
    rng = np.random.default_rng(0)
    shape = (20, 5)
    mean, dispersion = rng.lognormal(0, 1.5, shape), rng.lognormal(0, 1, shape)
    counts, zero_logits = rng.poisson(mean).astype(float), rng.normal(0, 2, shape)
    assert (counts == 0).any()
    assert (counts > 5).any()
    tensors = [torch.from_numpy(each) for each in (counts, mean, dispersion, zero_logits)]
    expected = by_scipy(counts, mean, dispersion, zero_logits)
    np.testing.assert_allclose(zinb_loss(*tensors).item(), expected, rtol=1e-10)


def test_without_inflation_and_dispersion_it_is_poisson():
    counts, mean = torch.tensor([0.0, 1.0, 4.0]).double(), torch.tensor([0.5, 2.0, 3.0]).double()
    loss = zinb_loss(counts, mean, torch.full_like(mean, 1e8), torch.full_like(mean, -50.0))
    np.testing.assert_allclose(loss.item(), -stats.poisson.logpmf(counts, mean).mean(), rtol=1e-6)


def test_values_and_gradients_are_finite_at_the_ends():
    """Of single precision, with the largest and smallest means, dispersions and odds that the heads give."""
    torch.manual_seed(0)
    heads = ZINB(3, 4)
    embedded = torch.tensor([[1e6, -1e6, 1e6], [-1e6, 1e6, -1e6], [0.0, 0.0, 0.0]], requires_grad=True)
    mean, dispersion, zero_logits = heads(embedded)
    np.testing.assert_allclose([mean.min().item(), mean.max().item()], [1e-5, 1e6], rtol=1e-5)
    assert dispersion.min() == np.float32(1e-4)
    assert dispersion.max() == np.float32(1e4)
    for counts in (0.0, 1.0, 1e5):
        loss = zinb_loss(torch.full_like(mean, counts), mean, dispersion, zero_logits.clamp(-1e3, 1e3))
        (gradient,) = torch.autograd.grad(loss, embedded, retain_graph=True)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_the_heads_are_those_of_the_formula():
    torch.manual_seed(0)
    heads, embedded = ZINB(3, 4).double(), torch.randn(5, 3).double()
    mean, dispersion, zero_logits = (each.detach().numpy() for each in heads(embedded))
    linear = {
        name: (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for name, layer in heads.named_children()
    }
    of = {name: embedded.numpy() @ weight.T + bias for name, (weight, bias) in linear.items()}
    np.testing.assert_allclose(mean, np.exp(of["mean"]), rtol=1e-10)
    np.testing.assert_allclose(dispersion, np.log1p(np.exp(of["dispersion"])), rtol=1e-10)
    np.testing.assert_allclose(zero_logits, of["zero_logits"], rtol=1e-10)


def test_the_least_loss_is_at_the_truth():
    """Of one count of each gene drawn 4000 times: mean, dispersion and share of zeros are found."""
    rng = np.random.default_rng(0)
    mean, dispersion, share = 5.0, 2.0, 0.3
    drawn = stats.nbinom.rvs(dispersion, dispersion / (dispersion + mean), size=4000, random_state=rng)
    counts = torch.from_numpy(drawn * (rng.random(4000) > share)).double()
    free = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        mu, theta, logit = free[0].exp().expand(4000), free[1].exp().expand(4000), free[2].expand(4000)
        value = zinb_loss(counts, mu, theta, logit)
        value.backward()
        return value

    optimizer.step(loss)
    found = [free[0].exp().item(), free[1].exp().item(), free[2].sigmoid().item()]
    np.testing.assert_allclose(found, [mean, dispersion, share], rtol=0.15)
