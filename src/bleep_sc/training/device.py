"""Which device computes, or which devices do."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from bleep_sc.training.processes.group import launched


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for; for None and "auto" the best there is: CUDA, then MPS, then the CPU.

    Among processes that torchrun or SLURM started, ``"cuda"`` and ``"auto"`` are the GPU of this process.
    """
    if device is not None and device != "auto":
        resolved = torch.device(device)
        if resolved.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"Device {str(resolved)!r} was asked for, but torch sees no CUDA device; use 'auto' or 'cpu'."
            )
        return _own(resolved)
    if torch.cuda.is_available():
        return _own(torch.device("cuda"))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolve_devices(devices: str | int | Sequence[str], *, several: bool = False) -> list[torch.device]:
    """Return one device, or one for every process that is to be started.

    Parameters
    ----------
    devices
        ``"auto"`` or a device; a number of GPUs; or a device for every process, such as ``["cuda:0", "cuda:2"]``.
    several
        Whether ``"auto"`` means all GPUs.
    """
    if isinstance(devices, str):
        several = several and devices == "auto" and launched() is None and torch.cuda.is_available()
        count = torch.cuda.device_count() if several else 1
        return [torch.device("cuda", i) for i in range(count)] if count > 1 else [resolve_device(devices)]
    names = [f"cuda:{i}" for i in range(devices)] if isinstance(devices, int) else list(devices)
    if not names or isinstance(devices, bool):
        raise ValueError(f"devices={devices!r} names no device; pass 'auto', a number of GPUs, or a list of devices.")
    if len(names) == 1:
        return [resolve_device(names[0])]
    place = launched()
    if place is not None:
        raise ValueError(
            f"devices={devices!r} would start {len(names)} processes, but this is one of {place[1]} that a launcher "
            "started. Pass devices='auto' or 'cpu'."
        )
    resolved = [torch.device(name) for name in names]
    _check_together(devices, resolved)
    return resolved


def _check_together(devices: int | Sequence[str], resolved: list[torch.device]) -> None:
    kinds = {device.type for device in resolved}
    if kinds == {"cpu"}:
        return
    if kinds != {"cuda"}:
        raise ValueError(f"devices={devices!r}: processes train together on GPUs or on the CPU; name one kind.")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    numbers = [device.index for device in resolved]
    if None in numbers or len(set(numbers)) < len(numbers) or max(numbers) >= seen:
        raise ValueError(
            f"devices={devices!r} asks for {len(numbers)} GPUs, each in a process of its own, and torch sees {seen}. "
            "Pass fewer, a list such as ['cuda:0', 'cuda:1'], or 'auto'."
        )


def _own(device: torch.device) -> torch.device:
    """Return the GPU of this process, where a launcher has started several."""
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    if device != torch.device("cuda") or local is None:
        return device
    count = torch.cuda.device_count()
    if count == 1 and "LOCAL_RANK" not in os.environ:  # SLURM shows every process its own (--gpus-per-task=1)
        return torch.device("cuda", 0)
    if int(local) >= count:
        raise ValueError(
            f"This is process {local} (from 0) of this machine, and torch sees {count} GPUs. Start one process a GPU, "
            "or pass devices='cpu'."
        )
    return torch.device("cuda", int(local))
