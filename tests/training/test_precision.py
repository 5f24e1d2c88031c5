import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models.encoders import load_encoder
from bleep_sc.training import fit
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs

SLIDES = np.repeat(["a", "b"], 24)


@pytest.fixture
def patches():
    """Patches whose brightness the expression follows."""
    rng = np.random.default_rng(0)
    brightness = rng.uniform(40, 215, 48)
    images = np.clip(brightness[:, None, None, None] + rng.normal(0, 10, (48, 12, 12, 3)), 0, 255).astype(np.uint8)
    expression = brightness[:, None] / 100 * rng.normal(size=(1, 9)) + 0.1 * rng.normal(size=(48, 9))
    return Pairs(images, expression.astype(np.float32))


@pytest.fixture
def features(patches):
    return Pairs(patches.images.reshape(48, -1)[:, :20].astype(np.float32), patches.expression)


class Seen(nn.Module):
    """A small network that notes what its convolution gives."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.types = []

    def forward(self, images):
        values = self.second(torch.relu(self.norm(self.first(images))))
        if torch.is_grad_enabled():
            self.types.append(values.dtype)
        return values.mean(dim=(2, 3))


def run(pairs, precision, max_epochs=4, **config):
    torch.manual_seed(0)
    encoder = load_encoder(Seen(), transform=nn.Identity()) if pairs.are_patches else None
    config = FitConfig(max_epochs=max_epochs, n_dims=16, batch_size=24, precision=precision, **config)
    return fit_bleep(pairs, SLIDES, config=config, encoder=encoder, show_progress_bar=False)


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_bfloat16_computes_with_less_and_learns_as_well(patches):
    full, full_loss = run(patches, "float32", max_epochs=30)
    half, half_loss = run(patches, "bfloat16", max_epochs=30)
    assert np.isfinite(half_loss).all()
    assert np.mean(half_loss[-5:]) < 0.9 * half_loss[0]
    np.testing.assert_allclose(half_loss[0], full_loss[0], rtol=0.02)
    np.testing.assert_allclose(np.mean(half_loss[-5:]), np.mean(full_loss[-5:]), rtol=0.1)
    assert not torch.equal(weights(half), weights(full))
    assert set(half.encoder.network.types) == {torch.bfloat16}
    assert set(full.encoder.network.types) == {torch.float32}
    for model in (half, full):
        assert all(
            not tensor.is_floating_point() or tensor.dtype == torch.float32 for tensor in model.state_dict().values()
        )


def test_the_loss_is_float32(patches, features, monkeypatch):
    types, loss = set(), fit.bleep_loss

    def watched(image, expression, temperature):
        value = loss(image, expression, temperature)
        types.update({image.dtype, expression.dtype, value.dtype})
        return value

    monkeypatch.setattr(fit, "bleep_loss", watched)
    for pairs in (patches, features):
        run(pairs, "bfloat16", max_epochs=1)
    assert types == {torch.float32}


def test_by_default_the_cpu_computes_with_float32(patches, features):
    for pairs in (patches, features):
        assert torch.equal(weights(run(pairs, "auto")[0]), weights(run(pairs, "float32")[0]))


def test_by_default_gpus_train_encoders_with_bfloat16_and_heads_with_float32(patches, features, monkeypatch):
    monkeypatch.setattr(fit, "has_bfloat16", lambda device: True)
    for pairs, expected in ((patches, "bfloat16"), (features, "float32")):
        assert torch.equal(weights(run(pairs, "auto")[0]), weights(run(pairs, expected)[0]))
