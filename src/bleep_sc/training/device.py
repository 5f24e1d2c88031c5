"""Which device computes."""

import torch


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for; for None and "auto" the best there is: CUDA, then MPS, then the CPU."""
    if device is not None and device != "auto":
        resolved = torch.device(device)
        if resolved.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"Device {str(resolved)!r} was asked for, but torch sees no CUDA device; use 'auto' or 'cpu'."
            )
        return resolved
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
