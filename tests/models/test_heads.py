import numpy as np
import torch
from scipy.special import erf

from bleep_sc.models.bleep import BLEEP, ProjectionHead


def test_head_is_the_formula_of_the_paper():
    torch.manual_seed(0)
    head = ProjectionHead(6, 4).double().eval()
    x = np.random.default_rng(0).normal(size=(3, 6))
    w1, b1, w2, b2 = (p.detach().numpy() for p in (*head.projection.parameters(), *head.refinement.parameters()))
    h = x @ w1.T + b1
    gelu = h * (1 + erf(h / np.sqrt(2))) / 2
    y = h + gelu @ w2.T + b2
    expected = (y - y.mean(axis=1, keepdims=True)) / np.sqrt(y.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(head(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-6)


def test_dropout_falls_on_the_residual_branch_only():
    torch.manual_seed(0)
    head = ProjectionHead(6, 4, dropout=0.999999).train()
    x = torch.randn(5, 6)
    torch.testing.assert_close(head(x), head.norm(head.projection(x)))


def test_both_sides_meet_in_one_space():
    model = BLEEP(12, 30, n_dims=8).eval()
    image, expression = model(torch.randn(5, 12), torch.randn(5, 30))
    assert image.shape == expression.shape == (5, 8)


def test_an_encoder_is_part_of_the_model():
    encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    model = BLEEP(12, 30, encoder=encoder)
    assert model.embed_images(torch.rand(2, 3, 16, 16)).shape == (2, 256)
    assert any(name.startswith("encoder.") for name, _ in model.named_parameters())


def test_pairs_of_heads_lie_side_by_side():
    torch.manual_seed(0)
    model = BLEEP(12, 30, n_dims=8, n_models=3).eval()
    x = torch.randn(5, 12)
    embedded = model.embed_images(x)
    assert embedded.shape == (5, 24)
    torch.testing.assert_close(embedded[:, 8:16], model.image_heads[1](x))
