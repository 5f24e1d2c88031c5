"""What an RGB image is, and what an array is instead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass

SHARE_OF_MEMORY = 0.8


class UnusableImage(ValueError):
    """An image that is refused; the message names it, and says what to do."""


def check_is_rgb(shape: tuple[int, ...], dtype: Any, name: str) -> None:
    """Refuse what is not (height, width, 3 or 4) of uint8."""
    if len(shape) != 3 or shape[2] not in (3, 4):
        raise UnusableImage(
            f"Image {name!r} has shape {tuple(shape)}, and no red, green and blue as its last axis. "
            "Convert it to RGB, (height, width, 3), first."
        )
    if dtype != np.uint8:
        raise UnusableImage(
            f"Image {name!r} holds {np.dtype(dtype)} instead of 8-bit values (uint8, 0 to 255). Rescale it to 8 bit "
            "first."
        )


def check_fits_memory(n_bytes: int, name: str, remedy: str) -> None:
    """Refuse to decode at once what does not fit into the memory of the machine, such as a decompression bomb."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not known on this system
        return
    if n_bytes > SHARE_OF_MEMORY * memory:
        raise UnusableImage(
            f"Image {name!r} can only be decoded whole, which takes {n_bytes / 2**30:.1f} GiB of the "
            f"{memory / 2**30:.1f} GiB of memory here. {remedy}"
        )


def broken(path: Any, kind: str, error: BaseException | str) -> UnusableImage:
    """Return the error for a file that cannot be read."""
    return UnusableImage(f"Image {str(path)!r} cannot be read{kind}: it is truncated or broken ({error}).")
