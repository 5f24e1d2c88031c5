"""Colour and texture statistics of the deconvolved stains: an image encoder that needs no weights."""

import torch
from torch import Tensor, nn

# Optical density of haematoxylin, eosin and a residual in red, green and blue (Ruifrok and Johnston 2001).
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SCALES = (1, 2, 4, 8, 16)
LEVEL_SPREAD, ROUGHNESS_SPREAD = 0.1, 0.025
"""Roughly how much levels and roughness differ between places of a tissue, so that all statistics weigh alike."""


class StainStats(nn.Module):
    r"""Describe a patch by how its two stains are distributed and how rough they are.

    The optical density :math:`-\ln I` is unmixed into haematoxylin and eosin (Ruifrok and Johnston, 2001). For both,
    and for the brightness: mean, quantiles, and the standard deviation that is lost between successive scales of
    averaging, which tells fine nuclei from coarse bands. There is nothing to train or to download.
    """

    unmixing: Tensor

    def __init__(self) -> None:
        super().__init__()
        stains = torch.nn.functional.normalize(torch.tensor(STAINS))
        self.register_buffer("unmixing", torch.linalg.inv(stains), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Statistics (B, 36) of images (B, 3, H, W) in [0, 1]."""
        density = -torch.log(images.clamp(min=1 / 255))  # (B, 3, H, W)
        stains = torch.einsum("bchw,cs->bshw", density, self.unmixing)[:, :2]  # (B, 2, H, W): haematoxylin, eosin
        planes = torch.cat([stains, images.mean(dim=1, keepdim=True)], dim=1)  # (B, 3, H, W)
        pixels = planes.flatten(2)  # (B, 3, HW)
        levels = torch.quantile(pixels, torch.tensor(QUANTILES, device=images.device, dtype=pixels.dtype), dim=2)
        means = torch.cat([pixels.mean(dim=2), *levels], dim=1)  # (B, 18)
        roughness = torch.cat(self._roughness(planes), dim=1)  # (B, 18)
        return torch.cat([means / LEVEL_SPREAD, roughness / ROUGHNESS_SPREAD], dim=1)

    @staticmethod
    def _roughness(planes: Tensor) -> list[Tensor]:
        """Return the standard deviations (B, 3) of what each scale of averaging takes away, and of what is left."""
        lost, current = [], planes
        for scale in SCALES:
            coarse = torch.nn.functional.avg_pool2d(planes, 2 * scale, ceil_mode=True, count_include_pad=False)
            fine = torch.nn.functional.interpolate(coarse, current.shape[-2:], mode="nearest")
            lost.append((current - fine).flatten(2).std(dim=2, correction=0))
            current = coarse
        return [*lost, current.flatten(2).std(dim=2, correction=0)]
