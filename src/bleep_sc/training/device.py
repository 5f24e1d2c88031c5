"""Which device computes, or which devices do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import torch

from bleep_sc._output.messages import listed, warn
from bleep_sc.training.processes.group import launched


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for; for None and "auto" the best there is that computes: CUDA, then MPS, then the CPU.

    Among processes that torchrun or SLURM started, ``"cuda"`` and ``"auto"`` are the GPU of this process.
    """
    if device is not None and device != "auto":
        resolved, there = torch.device(device), _there()
        if resolved.type not in there or (resolved.index or 0) >= there[resolved.type]:
            names = [f"{kind}:{i}" for kind, count in there.items() for i in range(count) if kind != "cpu"]
            raise ValueError(
                f"Device {str(resolved)!r} was asked for, and torch sees {listed([*names, 'cpu'])}. Pass "
                f"{'it' if not names else 'one of them'}, or 'auto'."
            )
        return _own(resolved)
    best = torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    best = _own(best)
    failure = None if best.type == "cpu" else _failure(best)
    if failure is not None:
        warn(f"{str(best)!r} is there and does not compute, so the CPU does: {failure}")
    return best if failure is None else torch.device("cpu")


@cache
def _failure(device: torch.device) -> str | None:
    """Return why a device cannot multiply; None where it can. Drivers and kernels may be too old for each other."""
    try:
        torch.ones(2, 2, device=device).matmul(torch.ones(2, 2, device=device)).sum().item()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def _there() -> dict[str, int]:
    """Return how many devices there are of every kind that is there."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = int(torch.backends.mps.is_available())
    return {kind: count for kind, count in {"cuda": gpus, "mps": mps, "cpu": 1}.items() if count}


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
