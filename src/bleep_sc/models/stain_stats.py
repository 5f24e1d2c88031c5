"""Colour and texture statistics of the deconvolved stains: an image encoder that needs no weights."""

import numpy as np
import torch
from torch import Tensor, nn

# Optical density of haematoxylin, eosin and a residual in red, green and blue (Ruifrok and Johnston 2001).
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
N_SCALES = 5
"""Averages over 2, 4, ... px."""
LEVEL_SPREAD, ROUGHNESS_SPREAD = 0.1, 0.025
"""Roughly how much levels and roughness differ between places of a tissue, so that all statistics weigh alike."""


class StainStats(nn.Module):
    r"""Describe a patch by how its two stains are distributed and how rough they are.

    The optical density :math:`-\ln I` is unmixed into haematoxylin and eosin (Ruifrok and Johnston, 2001). For both,
    and for the brightness: mean, quantiles, and the standard deviation that is lost between successive scales of
    averaging, which tells fine nuclei from coarse bands. There is nothing to train or to download.
    """

    def __init__(self) -> None:
        super().__init__()
        stains = torch.nn.functional.normalize(torch.tensor(STAINS))
        self.unmixing: list[list[float]] = torch.linalg.inv(stains).T[:2].tolist()

    def forward(self, images: Tensor) -> Tensor:
        """Statistics (B, 36) of images (B, 3, H, W) in [0, 1]."""
        planes = self._planes(images)  # (B, 3, H, W)
        pixels = planes.flatten(2)  # (B, 3, HW)
        means = torch.cat([pixels.mean(dim=2), *_quantiles(pixels)], dim=1)  # (B, 18)
        roughness = torch.cat(_roughness(planes), dim=1)  # (B, 18)
        return torch.cat([means / LEVEL_SPREAD, roughness / ROUGHNESS_SPREAD], dim=1)

    def _planes(self, images: Tensor) -> Tensor:
        """Return haematoxylin, eosin and brightness (B, 3, H, W), plane by plane in memory."""
        images = images.contiguous()
        log = images.clamp(min=1 / 255).log_()  # minus the density
        stains = [_weighed(log, [-weight for weight in weights]) for weights in self.unmixing]
        return torch.stack([*stains, _weighed(images, [1 / 3] * 3)], dim=1)


def _weighed(channels: Tensor, weights: list[float]) -> Tensor:
    """Return the weighted sum (B, H, W) of channels (B, 3, H, W)."""
    total = channels[:, 0] * weights[0]
    for channel, weight in enumerate(weights[1:], start=1):
        total.add_(channels[:, channel], alpha=weight)
    return total


def _quantiles(pixels: Tensor) -> list[Tensor]:
    """Return each of QUANTILES (B, C) of pixels (B, C, n), interpolated."""
    by_numpy = pixels.is_cpu and not pixels.requires_grad  # many times faster, having vector instructions
    ordered = torch.from_numpy(np.sort(pixels.numpy(), axis=2)) if by_numpy else pixels.sort(dim=2).values  # (B, C, n)
    last = ordered.shape[2] - 1
    ranks = [quantile * last for quantile in QUANTILES]
    return [
        torch.lerp(ordered[..., int(rank)], ordered[..., min(int(rank) + 1, last)], rank - int(rank)) for rank in ranks
    ]


def _roughness(planes: Tensor) -> list[Tensor]:
    """Return the standard deviations (B, C) of what each scale of averaging takes away, and of what is left."""
    lost, current = [], planes
    sums, counts = planes, torch.ones_like(planes[:1, :1])
    for _ in range(N_SCALES):
        sums, counts = _sums_of_four(sums), _sums_of_four(counts)  # those at the right and lower edge are of fewer
        coarse = sums / counts
        fine = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
        lost.append(_deviation(fine[..., : current.shape[2], : current.shape[3]].sub_(current)))
        current = coarse
    return [*lost, _deviation(current - current.mean(dim=(2, 3), keepdim=True))]


def _sums_of_four(planes: Tensor) -> Tensor:
    """Return sums over squares of two px by two."""
    height, width = planes.shape[2:]
    planes = torch.nn.functional.pad(planes, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else planes
    pairs = planes[:, :, 0::2] + planes[:, :, 1::2]
    return pairs[..., 0::2] + pairs[..., 1::2]


def _deviation(differences: Tensor) -> Tensor:
    """Return the standard deviation (B, C) of planes (B, C, H, W) whose mean is next to nothing."""
    pixels = differences.flatten(2)
    variance = torch.linalg.vector_norm(pixels, dim=2).square() / pixels.shape[2] - pixels.mean(dim=2).square()
    return variance.clamp(min=0).sqrt()
