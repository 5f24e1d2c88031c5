import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models import load_encoder, symmetries
from bleep_sc.models.stnet import Standardize, StNet, predict, stnet_loss


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def network():
    """A convolutional network with batch statistics, which turned patches pass through differently."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 5, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return StNet(6, 4, encoder=load_encoder(nn.Sequential(*layers), transform=nn.Identity()))


def test_the_loss_is_summed_over_spots_and_averaged_over_genes():
    rng = np.random.default_rng(0)
    prediction, truth = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    slow = 0.0
    for i in range(5):
        for g in range(3):
            slow += (prediction[i, g] - truth[i, g]) ** 2 / 3
    assert float(stnet_loss(torch.from_numpy(prediction), torch.from_numpy(truth))) == pytest.approx(slow)
    twice = [torch.from_numpy(np.tile(side, (2, 1))) for side in (prediction, truth)]
    assert float(stnet_loss(*twice)) == pytest.approx(2 * slow)


def test_it_starts_at_the_mean(network, patches):
    mean = torch.tensor([0.5, 1.0, 2.0, 3.0])
    network.start_at(mean)
    np.testing.assert_array_equal(predict(network, patches), np.tile(mean, (7, 1)))
    probe = StNet(9, 4)
    probe.start_at(mean)
    np.testing.assert_array_equal(
        predict(probe, np.random.default_rng(0).normal(size=(5, 9)).astype("f4")), np.tile(mean, (5, 1))
    )


def test_predictions_are_the_mean_over_the_eight_symmetries(network, patches):
    images = torch.from_numpy(patches).permute(0, 3, 1, 2)
    with torch.no_grad():
        network.eval()
        single = network(images).numpy()
        slow = np.mean([network(symmetries.transform(images, k)).numpy() for k in range(8)], axis=0)
    np.testing.assert_allclose(predict(network, patches), slow, atol=1e-6)
    assert not np.allclose(single, slow, atol=1e-3)


def test_a_turned_patch_is_predicted_alike(network, patches):
    expected = predict(network, patches)
    for k in range(symmetries.N_SYMMETRIES):
        turned = symmetries.transform(torch.from_numpy(patches).permute(0, 3, 1, 2), k).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(predict(network, turned), expected, atol=1e-5)


def test_predictions_do_not_depend_on_the_batches(network, patches, monkeypatch):
    features = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
    probe = StNet(5, 2)
    at_once = predict(network, patches), predict(probe, features)
    monkeypatch.setattr("bleep_sc.models.stnet.BATCH", 3)
    np.testing.assert_allclose(predict(network, patches), at_once[0], atol=1e-6)
    np.testing.assert_allclose(predict(probe, features), at_once[1], atol=1e-6)


def test_features_are_standardised_and_one_that_does_not_vary_is_only_centred():
    features = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32))
    features[:, 2] = 7
    layer = Standardize(4)
    layer.learn(features)
    standardised = layer(features).numpy()
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), [1, 1, 0, 1], atol=1e-5)


def test_rounding_of_a_constant_feature_is_not_scaled_up():
    features = 1000 + 6e-5 * torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    standardize = Standardize(1)
    standardize.learn(features)
    assert standardize(features + 1).abs().max() < 1.1
