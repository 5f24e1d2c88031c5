import numpy as np
import torch

from bleep_sc.training.rotation import Rotation


def test_a_layer_on_components_is_the_same_function_of_features():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(80, 4)) @ rng.normal(size=(4, 12)) + 5 * rng.normal(size=12)).astype(np.float32)
    torch.manual_seed(0)
    rotation = Rotation.of(features, 4)
    components = rotation.apply(features)
    layer = torch.nn.Linear(4, 3)
    weight, bias = rotation.unrotated(layer.weight, layer.bias)
    torch.testing.assert_close(torch.from_numpy(features) @ weight.T + bias, layer(torch.from_numpy(components)))
    np.testing.assert_allclose(components.mean(axis=0), 0, atol=1e-5)
    centred = features - features.mean(axis=0)
    np.testing.assert_allclose(components.var(axis=0).sum(), centred.var(axis=0).sum(), rtol=1e-4)  # of rank four


def test_no_fewer_components_than_features_are_no_rotation():
    features = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert Rotation.of(features, None) is None
    assert Rotation.of(features, 8) is None
    assert Rotation.of(features, 7) is not None
    assert Rotation.of(features[:5], 5) is None
