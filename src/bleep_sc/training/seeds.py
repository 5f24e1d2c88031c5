"""Seeds of the generators that a training draws from, which are the caller's again afterwards."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def seed(random_state: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and of a device, and of no other."""
    torch.default_generator.manual_seed(int(random_state))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(int(random_state))
    elif device.type == "mps":
        torch.mps.manual_seed(int(random_state))


@contextmanager
def seeded(random_state: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed the generators of the CPU and of a device while the block lasts, and give one of its own.

    Generators of other devices are neither looked at nor set, and none of them is started.
    """
    gpus = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        seed(random_state, device)
        yield torch.Generator().manual_seed(int(random_state))
