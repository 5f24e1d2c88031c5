"""What suits a device: how images lie in memory, how they get there and back, and the fastest numbers."""

from collections.abc import Callable

import torch
from torch import Tensor


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the order of the axes of images in memory: channels last, as patches come and tensor cores want them.

    On MPS, where the gradients of batch norm are wrong for such images (pytorch/pytorch#175189), channels first.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def transfer(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory, without waiting for what it is at work on."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetched(values: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a result to the CPU; what is returned waits for it, and for nothing that a GPU was given since."""
    if values.device.type != "cuda":
        return values.cpu
    there = values.to("cpu", non_blocking=True)  # pinned
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(values.device))

    def wait() -> Tensor:
        done.synchronize()
        return there

    return wait


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device is a GPU that computes with bfloat16, rather than emulating it."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
