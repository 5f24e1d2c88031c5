"""The tensors of a fitted model, compared with its description before any memory is taken for what it names."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bleep_sc._output.damage import damaged, undamaged
from bleep_sc._output.messages import listed
from bleep_sc.models.calibration import N_PERCENTILES, PROBABILITIES, Calibration
from bleep_sc.models.encoders import is_on_hub, load_encoder
from bleep_sc.models.fitted import LEARNT, Description
from bleep_sc.models.known_tissue import KnownTissue
from bleep_sc.models.methods import METHODS


class Unfilled(TorchFunctionMode):
    """Makes tensors without memory, and leaves out what would fill them: torch first loads a compiler for that."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, unless it draws numbers into a tensor."""
        if getattr(function, "__name__", "") in ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


REPEATED = ("n_models", "n_layers", "n_mixers", "n_graph_layers")
"""Sizes that say how often there is something, of which each has tensors of its own."""


def tensors_of(weights: bytes, place: str) -> dict[str, Tensor]:
    """Read safetensors bytes; ``place`` is where they are stored."""
    with undamaged(place, "its weights", safetensors.SafetensorError):
        tensors: dict[str, Tensor] = safetensors.torch.load(weights)
    wrong = [name for name, each in tensors.items() if name.split("/")[0] not in LEARNT and not _is_finite(each)]
    if wrong:
        raise damaged(place, f"its weights are NaN or infinite in {listed(wrong, 3)}")
    return tensors


def check_sizes(description: Description, tensors: Mapping[str, Tensor], place: str) -> None:
    """Refuse a description that names other sizes than the tensors have; the module is built without its memory."""
    shape = {name: value for name, value in description.architecture.items() if name != "encoder"}
    sizes = {name: value for name, value in shape.items() if name.startswith("n_") or name.endswith("_size")}
    wrong = [name for name, value in sizes.items() if not isinstance(value, int) or value < 1]
    if wrong:
        raise damaged(place, f"architecture has {wrong[0]}={shape[wrong[0]]}")
    many = [name for name in REPEATED if name in shape and not 0 < shape[name] <= len(tensors)]
    if many:
        raise damaged(place, f"architecture has {many[0]}={shape[many[0]]}, and its weights are {len(tensors)} tensors")
    with undamaged(place, "architecture"), torch.device("meta"), Unfilled():
        expected = METHODS[description.method].load("network")(**shape).state_dict()
    if "encoder" in description.architecture:
        expected = {name: tensor for name, tensor in expected.items() if not name.startswith("encoder.")}
        expected |= {f"encoder.{name}": tensor for name, tensor in _of_encoder(description).items()}
    for name, tensor in expected.items():
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            has = "missing" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise damaged(
                place, f"{name} of its weights is {has}, where architecture says {tensor.dtype} {tuple(tensor.shape)}"
            )


def _of_encoder(description: Description) -> Mapping[str, Tensor]:
    """Return the tensors of a trained encoder by their names, without their memory, as far as they are known."""
    name = description.architecture["encoder"]
    if not name or is_on_hub(name):
        return {}
    with (
        torch.device("meta"),
        Unfilled(),
        suppress(NotImplementedError, RuntimeError),
    ):  # some of timm compute with them
        return load_encoder(name, pretrained=False).state_dict()
    return {}


def fill(module: nn.Module, tensors: Mapping[str, Tensor], place: str) -> None:
    """Put the tensors into a module."""
    expected = module.state_dict()
    cast = [name for name, each in tensors.items() if name in expected and each.dtype != expected[name].dtype]
    if cast:
        raise damaged(place, f"{cast[0]} of its weights is {tensors[cast[0]].dtype}, not {expected[cast[0]].dtype}")
    with undamaged(place, "its weights"):
        module.load_state_dict(dict(tensors))


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Return the tensors of the module, and those of each of ``LEARNT`` as arrays by the names of its fields."""
    learnt: dict[str, dict[str, Any]] = {part: {} for part in LEARNT}
    rest = {}
    for name, tensor in tensors.items():
        part, _, field = name.partition("/")
        if part in LEARNT and field:
            learnt[part][field] = tensor.numpy()
        else:
            rest[name] = tensor
    return rest, learnt


def learnt_from(arrays: Mapping[str, Mapping[str, Any]], description: Description, place: str) -> dict[str, Any]:
    """Return what held-out slides taught, or None for what they did not, by the names of ``LEARNT``."""
    found: dict[str, Any] = {}
    for part, kind in LEARNT.items():
        with undamaged(place, f"its {part}"):
            found[part] = kind(**arrays[part]) if arrays[part] else None
            if found[part] is not None:
                _check_learnt(found[part], description, f"its {part}", place)
    return found


def _check_learnt(known: Any, description: Description, part: str, place: str) -> None:
    """Refuse what was learnt where shapes or numbers are not such as are learnt."""
    shapes, finite = _expected(known, len(description.genes), description.architecture.get("n_features"))
    for name, shape in shapes.items():
        array = getattr(known, name)
        if array.shape != shape:
            raise damaged(place, f"{name} of {part} has shape {array.shape}, not {shape}")
        if name in finite and not np.isfinite(array).all():
            raise damaged(place, f"{name} of {part} is NaN or infinite")
    if isinstance(known, Calibration):
        share = np.append(known.shrinkage, known.typical_shrinkage)
        if share.min() < 0 or share.max() > 1 or known.std.min() < 0 or known.smoothing_um < 0:
            raise damaged(place, f"shrinkage, std or smoothing_um of {part} lies outside its range")
    elif isinstance(known, KnownTissue) and known.variances.min() <= 0:
        raise damaged(place, f"variances of {part} are not all above zero")


def _expected(known: Any, n_genes: int, n_features: Any) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Return the shapes of what was learnt, and what of it is finite."""
    if isinstance(known, Calibration):
        by_gene = dict.fromkeys(("shrinkage", "predictability", "std", "monitored"), (n_genes,))
        ends = dict.fromkeys(("residuals", "levels", "is_local"), (len(PROBABILITIES), n_genes))
        of_spots = {"typical_shrinkage": (), "error": (3,), "errors": (N_PERCENTILES,), "smoothing_um": ()}
        return {**by_gene, **ends, **of_spots}, ("shrinkage", "typical_shrinkage", "std", "smoothing_um")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("mean", "variances"), (len(known.mean),))
    if n_features is not None:
        shapes |= {"offset": (n_features,), "components": (len(known.mean), n_features)}
    return shapes, ("offset", "components", "mean", "variances", "percentiles")


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
