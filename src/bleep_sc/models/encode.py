"""The features of patches, by a frozen encoder."""

import copy
from traceback import clear_frames

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bleep_sc._arrays.unread import Unread
from bleep_sc._output.messages import warn
from bleep_sc.models import symmetries as sym
from bleep_sc.models.encoders import Encoder
from bleep_sc.models.map_batches import map_batches
from bleep_sc.models.on_device import half_precision, memory_format
from bleep_sc.models.sub_tiles import SubTiled

ON_GPU, CPU_PIXELS = 64, 2**19
"""Patches in a batch on a GPU, and pixels of one on the CPU, where larger ones ask the system for memory again and
again."""


def encode(
    encoder: Encoder | SubTiled,
    patches: NDArray[np.uint8] | Unread,
    *,
    symmetries: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    show_progress_bar: bool = True,
) -> NDArray[np.float32]:
    """Compute the features of patches with a frozen encoder.

    Parameters
    ----------
    encoder
        From :func:`load_encoder`; or one that also describes parts of the patches.
    patches
        (n, S, S, 3), uint8; in memory, or read while the network is at work.
    symmetries, batch_size, num_workers, show_progress_bar
        As in :func:`bleep_sc.pp.image_features`.
    device
        Where to compute. On CUDA, autocast to bfloat16 or float16.

    Returns
    -------
    Features, (n, d).

    Raises
    ------
    torch.OutOfMemoryError
        When a batch does not fit into the memory of a GPU, with a note that says what to pass instead. Without
        ``batch_size`` smaller ones are tried first, with a warning.
    """
    device = torch.device(device)
    is_told = batch_size is not None
    if batch_size is None:
        # Parts have as many pixels as their patch, unless an encoder scales each of them up.
        n_parts = encoder.n**2 if isinstance(encoder, SubTiled) and encoder.input_size is not None else 1
        batch_size = max(1, patches_at_once(patches.shape[1], device) // n_parts)
    encoder = copy.deepcopy(encoder).eval().to(device)  # the user's module stays as it is
    encoder = encoder.to(memory_format=memory_format(device))
    turns = range(sym.N_SYMMETRIES) if symmetries else range(1)

    def features(images: Tensor) -> Tensor:
        return torch.stack([encoder(sym.transform(images, k)).float() for k in turns]).mean(dim=0)

    at_once = batch_size
    while True:
        try:
            with torch.inference_mode(), half_precision(device):
                return map_batches(
                    features,
                    patches,
                    batch_size=at_once,
                    device=device,
                    num_workers=num_workers,
                    description="Encoding patches" if show_progress_bar else "",
                )
        except torch.OutOfMemoryError as error:
            clear_frames(error.__traceback__)  # they hold activations, and a notebook holds on to them
            if is_told or at_once == 1:
                error.add_note(_fewer_patches(at_once))
                raise
        if at_once == batch_size:
            warn(f"{batch_size} patches at once do not fit into the memory of the GPU: fewer are taken.")
        at_once //= 2


def patches_at_once(side: int, device: torch.device) -> int:
    """Return how many patches of so many px to pass through a network together."""
    return ON_GPU if device.type == "cuda" else max(1, CPU_PIXELS // max(1, side) ** 2)


def _fewer_patches(batch_size: int) -> str:
    if batch_size == 1:
        return "A single patch is too much for this GPU: take a smaller encoder, smaller patches, or device='cpu'."
    return (
        f"Pass bleep_sc.pp.image_features(batch_size={batch_size // 2}), or less: the features are the same. "
        "bleep_sc.tl.fit takes them by use_rep=."
    )
