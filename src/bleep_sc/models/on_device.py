"""What suits a device: how images lie in memory, how they get there and back, what fits, and the fastest numbers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from traceback import clear_frames
from typing import TypeVar

import torch
from torch import Tensor

from bleep_sc._output.messages import warn

T = TypeVar("T")

CPU = torch.device("cpu")
FAILURES = (torch.OutOfMemoryError, getattr(torch, "AcceleratorError", NotImplementedError), NotImplementedError)
"""What a GPU fails with that is too small, whose driver fails, or on which something is not implemented."""
SHARE = 4
"""What stays on a GPU takes a quarter of what is free there, at most."""


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the order of the axes of images in memory: channels last, as patches come and tensor cores want them.

    On MPS, where the gradients of batch norm are wrong for such images (pytorch/pytorch#175189), channels first.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def transfer(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory, without waiting for what it is at work on."""
    if device.type != "cuda" or tensor.device.type == "cuda":
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


def one_behind(items: Iterator[T]) -> Iterator[T]:
    """Give every item when the next one has been made, so that a GPU has work when a result of it is waited for."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def or_on_the_cpu(compute: Callable[[torch.device], T], device: torch.device, what: str, *, is_named: bool) -> T:
    """Compute on a device; where it fails there, on the CPU and with a warning, unless the device was asked for."""
    try:
        return compute(device)
    except RuntimeError as error:
        is_known = isinstance(error, FAILURES) or device.type == "mps"  # which has no errors of its own
        if is_named or not is_known or device.type == "cpu":
            raise
        clear_frames(error.__traceback__)  # they hold what did not fit
        warn(f"{what} failed on {str(device)!r}, and is done on the CPU: {str(error).splitlines()[0]}")
    return compute(CPU)


def fits(n_bytes: int, device: torch.device) -> bool:
    """Tell whether so much may stay on a device: on a GPU, where it is small beside what is free."""
    return device.type == "cuda" and SHARE * n_bytes <= free_bytes(device)


def free_bytes(device: torch.device) -> int:
    """Return how much memory of a GPU is free, with what PyTorch holds there and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + unused)


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which networks compute with 16 bits on a GPU: bfloat16, or float16 where it has none."""
    if device.type != "cuda":
        return nullcontext()
    return torch.autocast("cuda", dtype=torch.bfloat16 if has_bfloat16(device) else torch.float16)


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device is a GPU that computes with bfloat16, rather than emulating it."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
