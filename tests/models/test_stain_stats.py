import numpy as np
import pytest
import torch

from bleep_sc.models.stain_stats import LEVEL_SPREAD, STAINS, StainStats


def stained(haematoxylin: float, eosin: float, shape=(64, 64)) -> torch.Tensor:
    stains = torch.nn.functional.normalize(torch.tensor(STAINS))
    density = haematoxylin * stains[0] + eosin * stains[1]
    return torch.exp(-density).view(1, 3, 1, 1).expand(1, 3, *shape).clone()


def test_the_stains_are_unmixed():
    statistics = StainStats()(stained(0.8, 0.3))[0] * LEVEL_SPREAD
    np.testing.assert_allclose(statistics[:2], [0.8, 0.3], atol=1e-4)


def test_a_flat_patch_has_no_roughness():
    statistics = StainStats()(stained(0.5, 0.5))[0]
    assert statistics.shape == (36,)
    np.testing.assert_allclose(statistics[18:], 0, atol=1e-3)


def test_roughness_tells_scales_apart():
    fine, coarse = stained(0.2, 0.4), stained(0.2, 0.4)
    fine[:, :, :, ::2] *= 0.8
    coarse[:, :, :, :32] *= 0.8
    scale = StainStats()
    fine, coarse = scale(fine)[0, 18:].reshape(6, 3), scale(coarse)[0, 18:].reshape(6, 3)
    assert int(fine[:, 2].argmax()) == 0
    assert int(coarse[:, 2].argmax()) == 5


def test_turning_a_patch_changes_nothing():
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(StainStats()(image), StainStats()(torch.rot90(image, 1, dims=(2, 3)).flip(-1)))


@pytest.mark.parametrize("side", [16, 33, 56, 112, 224])
def test_any_size_of_patch_works(side):
    assert torch.isfinite(StainStats()(torch.rand(2, 3, side, side))).all()
