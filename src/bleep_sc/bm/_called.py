"""How models from elsewhere are called: a torch module, a predictor of LazySlide, or a function."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def by_module(module: Any, inputs: NDArray[Any], batch_size: int | None) -> NDArray[np.float32]:
    """Pass patches through a torch module, behind their normalisation, or features as they are."""
    import torch

    from bleep_sc.models import load_encoder
    from bleep_sc.models.encode import encode
    from bleep_sc.models.map_batches import map_batches
    from bleep_sc.training.device import resolve_device

    device = resolve_device(None)
    if inputs.ndim == 4:
        return encode(load_encoder(module), inputs, batch_size=batch_size, device=device, show_progress_bar=False)
    network = copy.deepcopy(module).eval().to(device)  # the user's module stays as it is
    with torch.inference_mode():
        return map_batches(network, inputs, batch_size=batch_size or len(inputs), device=device)


def by_predictor(predict: Callable[..., Any], transform: Any, patches: NDArray[np.uint8]) -> Any:
    """Ask a predictor of LazySlide, which takes images behind their transform, (B, 3, H, W)."""
    import torch

    def prepared(patch: NDArray[np.uint8]) -> torch.Tensor:
        if transform is None:
            return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1)))
        return torch.as_tensor(transform(np.ascontiguousarray(patch)))

    with torch.inference_mode():
        return predict(torch.stack([prepared(patch) for patch in patches]))


def is_module(model: Any) -> bool:
    """Tell a torch module, without loading torch for what is none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def as_array(values: Any) -> NDArray[np.float64]:
    """Return numbers of torch or NumPy, wherever they are."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
