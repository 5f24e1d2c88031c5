"""Other stainings of the same tissue, drawn while an encoder is trained (Tellez et al., IEEE TMI 2018)."""

import torch
from torch import Tensor

from bleep_sc.models.on_device import transfer
from bleep_sc.models.stain_stats import STAINS


def jitter(
    images: Tensor, strength: float, generator: torch.Generator, *, whole: int | None = None, first: int = 0
) -> Tensor:
    r"""Scale and shift the stains of every image of a batch by draws of its own.

    The optical density :math:`-\ln I` is unmixed into haematoxylin, eosin and a residual (Ruifrok and Johnston, 2001);
    each becomes :math:`\alpha c + \beta` with :math:`\alpha` uniform in 1 ± strength and :math:`\beta` uniform in
    ± strength / 10 (in units of density); glass, where nothing is absorbed, is shifted with the tissue.

    Parameters
    ----------
    images
        Images (B, 3, H, W), uint8.
    strength
        How far stains are scaled: 0 changes nothing, 0.2 is a marked difference between laboratories.
    generator
        Draws the stainings.
    whole, first
        Where the images are a part of a batch: its size, and the place of the first of them. They are stained as they
        are in the whole of it.

    Returns
    -------
    Images (B, 3, H, W), uint8.
    """
    stains = torch.nn.functional.normalize(torch.tensor(STAINS))
    unmixing = torch.linalg.inv(stains)  # on the CPU: a GPU would be waited for
    draws = 2 * torch.rand(2, len(images) if whole is None else whole, 3, generator=generator) - 1
    draws = draws[:, first : first + len(images)] * strength  # (2, B, 3)
    stains, unmixing, draws = (transfer(each, images.device) for each in (stains, unmixing, draws))
    density = -torch.log(images.float().clamp(min=1) / 255)  # (B, 3, H, W)
    amounts = torch.einsum("bchw,cs->bshw", density, unmixing)  # (B, 3, H, W)
    amounts = amounts * (1 + draws[0, :, :, None, None]) + draws[1, :, :, None, None] / 10
    density = torch.einsum("bshw,sc->bchw", amounts, stains)
    return (torch.exp(-density) * 255).round().clamp(0, 255).to(torch.uint8)
