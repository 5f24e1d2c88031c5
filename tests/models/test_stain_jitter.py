import pytest
import torch

from bleep_sc.models.stain_jitter import jitter
from bleep_sc.models.stain_stats import STAINS


@pytest.fixture
def images():
    """Images of eosin and haematoxylin in known amounts."""
    stains = torch.nn.functional.normalize(torch.tensor(STAINS))
    amounts = torch.rand(40, 8, 8, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.8, 0.8, 0.0])
    return (255 * torch.exp(-amounts @ stains)).round().to(torch.uint8).permute(0, 3, 1, 2)


def test_strength_zero_changes_nothing_and_a_seed_decides(images):
    assert torch.equal(jitter(images, 0.0, torch.Generator().manual_seed(0)), images)
    first, second, other = (jitter(images, 0.2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.dtype == torch.uint8
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_stains_are_scaled_and_shifted_within_bounds_image_by_image(images):
    changed = jitter(images, 0.2, torch.Generator().manual_seed(0))
    unmixing = torch.linalg.inv(torch.nn.functional.normalize(torch.tensor(STAINS)))
    scales = []
    for before, after in zip(images, changed, strict=True):
        x, y = (-torch.log(each.float().clamp(min=1) / 255).flatten(1).T @ unmixing for each in (before, after))
        for stain in (0, 1):
            design = torch.stack([x[:, stain], torch.ones(64)], dim=1)
            scale, shift = torch.linalg.lstsq(design, y[:, stain : stain + 1]).solution.flatten().tolist()
            assert 0.75 < scale < 1.25
            assert abs(shift) < 0.05
            scales.append(scale)
    assert torch.tensor(scales).std() > 0.08  # uniform in 1 +- 0.2: 0.115
