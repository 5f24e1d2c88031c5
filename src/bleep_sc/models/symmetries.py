"""The eight symmetries of a square patch: four quarter turns, and their mirror images."""

import torch
from torch import Tensor

from bleep_sc.models.on_device import transfer

N_SYMMETRIES = 8


def transform(images: Tensor, symmetry: int) -> Tensor:
    """Turn (and mirror, from 4 on) a batch of square images (B, C, S, S) by one of the eight symmetries."""
    turned = torch.rot90(images, symmetry % 4, dims=(-2, -1)) if symmetry % 4 else images
    return turned.flip(-1) if symmetry >= 4 else turned


def augment(images: Tensor, generator: torch.Generator, *, whole: int | None = None, first: int = 0) -> Tensor:
    """Turn every image of a batch (B, C, S, S) by a symmetry of its own, all eight equally likely.

    Random flips along both axes followed by a random quarter turn, as BLEEP trains, have just this distribution.
    Where the images are a part of a batch, ``whole`` is its size and ``first`` the place of the first of them: they are
    turned as they are in the whole of it.
    """
    drawn = torch.randint(N_SYMMETRIES, (len(images) if whole is None else whole,), generator=generator)
    drawn = drawn[first : first + len(images)]
    by_symmetry = transfer(drawn.argsort(), images.device)  # sorted and counted here: a GPU would be waited for
    counts = torch.bincount(drawn, minlength=N_SYMMETRIES).tolist()
    result = torch.empty_like(images)
    for symmetry, chosen in enumerate(by_symmetry.split(counts)):
        result[chosen] = transform(images[chosen], symmetry)
    return result
