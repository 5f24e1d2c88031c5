from itertools import pairwise

import numpy as np
import pytest
import torch

from bleep_sc.models.stain_stats import LEVEL_SPREAD, QUANTILES, ROUGHNESS_SPREAD, STAINS, StainStats


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


def slowly(images: torch.Tensor) -> np.ndarray:
    """The statistics as they are defined, image by image and square by square, in float64."""
    unmixing = np.linalg.inv([np.divide(stain, np.linalg.norm(stain)) for stain in STAINS])
    rows = []
    for image in images.double().numpy().transpose(0, 2, 3, 1):
        stains = -np.log(np.maximum(image, 1 / 255)) @ unmixing
        planes = np.stack([stains[..., 0], stains[..., 1], image.mean(axis=-1)])
        levels = [planes.mean(axis=(1, 2)), *np.quantile(planes, QUANTILES, axis=(1, 2))]
        averages = [planes, *(averaged(planes, side) for side in (2, 4, 8, 16, 32))]
        spreads = []
        for current, coarse in pairwise(averages):
            fine = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, : current.shape[1], : current.shape[2]]
            spreads.append((current - fine).std(axis=(1, 2)))
        spreads.append(averages[-1].std(axis=(1, 2)))
        rows.append(np.concatenate([np.divide(levels, LEVEL_SPREAD), np.divide(spreads, ROUGHNESS_SPREAD)]).ravel())
    return np.array(rows)


def averaged(planes: np.ndarray, side: int) -> np.ndarray:
    """Average squares of so many px; those at the right and lower edge have fewer."""
    down, across = (range(0, length, side) for length in planes.shape[1:])
    return np.array([[[plane[y : y + side, x : x + side].mean() for x in across] for y in down] for plane in planes])


@pytest.mark.parametrize("shape", [(16, 16), (33, 33), (70, 49)])
def test_they_are_as_defined(shape):
    generator = torch.Generator().manual_seed(0)
    bytes_ = torch.randint(0, 256, (2, 3, *shape), generator=generator, dtype=torch.uint8)
    images = torch.stack([bytes_[0], bytes_[1] // 16]).float() / 255
    channels_last = images.contiguous(memory_format=torch.channels_last)
    for each in (images, channels_last):
        np.testing.assert_allclose(StainStats()(each), slowly(images), rtol=1e-4, atol=1e-4)


def test_a_batch_is_as_its_images_alone_and_images_stay_as_they_are():
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    statistics = StainStats()(images)
    torch.testing.assert_close(statistics, torch.cat([StainStats()(each[None]) for each in images]))
    torch.testing.assert_close(images, before, rtol=0, atol=0)


def test_gradients_reach_the_image_and_values_are_the_same():
    images = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    followed = StainStats()(images.requires_grad_())
    torch.testing.assert_close(followed.detach(), StainStats()(images.detach()))
    followed.sum().backward()
    assert torch.isfinite(images.grad).all()
