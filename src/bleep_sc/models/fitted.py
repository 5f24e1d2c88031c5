"""A fitted model with all that is needed to use it again, as bytes or as a folder. Nothing is ever pickled."""

import copy
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.calibration import Calibration
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.histogene import HisToGene
from bleep_sc.models.stnet import StNet
from bleep_sc.models.typicality import Typicality

LEARNT: dict[str, Any] = {"calibration": Calibration, "typicality": Typicality}
"""What held-out slides taught, kept as tensors whose names begin with its own and a slash."""
WEIGHTS_FILE, DESCRIPTION_FILE = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Description:
    """Plain data from which a fitted model is built again."""

    method: str
    """``"bleep"``, ``"ridge"``, ``"stnet"`` or ``"histogene"``."""
    architecture: dict[str, Any]
    """Widths of the layers, and the encoder that was trained, if one was."""
    genes: list[str]
    """What the expression side was trained on, in order."""
    recipe: dict[str, Any]
    """How the images became the input."""
    config: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters."""
    params: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call that fitted it."""


@dataclass(frozen=True)
class FittedModel:
    """A trained module and its description."""

    module: Any
    """BLEEP, StNet, HisToGene, or a linear layer for ridge regression."""
    description: Description
    calibration: Calibration | None = None
    """What it knows about its own predictions, where slides were held out."""
    typicality: Typicality | None = None
    """What it knows about the tissue of its reference, where slides were held out."""

    def to_bytes(self) -> bytes:
        """Return the weights, and what held-out slides taught beside them, as safetensors bytes."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        for part in LEARNT:
            known = getattr(self, part)
            arrays = {} if known is None else known.to_arrays()
            tensors |= {f"{part}/{name}": torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        return safetensors.torch.save(tensors)


def weights_hash(weights: bytes) -> str:
    """Return the name of a set of weights."""
    return hashlib.sha256(weights).hexdigest()[:16]


def from_bytes(description: Description, weights: bytes, *, encoder: nn.Module | None = None) -> FittedModel:
    """Build a fitted model from its description and its weights.

    ``encoder`` is needed only where a module given by hand was trained: its architecture is not in the description.
    """
    module = _build(description, encoder)
    tensors = safetensors.torch.load(weights)
    learnt = {}
    for part, kind in LEARNT.items():
        names = [name for name in tensors if name.startswith(f"{part}/")]
        arrays = {name.removeprefix(f"{part}/"): tensors.pop(name).numpy() for name in names}
        learnt[part] = kind.from_arrays(arrays) if arrays else None
    module.load_state_dict(tensors)
    return FittedModel(module.eval(), description, **learnt)


def _build(description: Description, encoder: nn.Module | None) -> nn.Module:
    shape = dict(description.architecture)
    name = shape.pop("encoder", None)
    trained = (
        None if name is None else copy.deepcopy(load_encoder(_architecture(name, encoder), pretrained=False)).cpu()
    )
    match description.method:
        case "bleep":
            return BLEEP(**shape, encoder=trained)
        case "ridge":
            return nn.Linear(shape["n_features"], shape["n_genes"])
        case "stnet":
            return StNet(**shape, encoder=trained)
        case "histogene":
            return HisToGene(**shape)
    raise ValueError(f"The method {description.method!r} is not known to this version of bleep_sc.")


def _architecture(name: str, encoder: nn.Module | None) -> str | nn.Module:
    """Return what a trained encoder is built from: its name, or the module given by hand where it has none."""
    if name:
        return name
    if encoder is None:
        raise ValueError(
            "This model trained an encoder given as a module; pass a module of the same architecture as encoder=."
        )
    return encoder


def save(model: FittedModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Save a fitted model as a folder with ``model.safetensors`` and ``model.json``.

    The folder appears when it is complete. An existing one is replaced only with ``overwrite=True``.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists already. Choose another path, or pass overwrite=True.")
    if path.exists() and not (path / DESCRIPTION_FILE).is_file():
        raise FileExistsError(f"{str(path)!r} is no saved model, and would be lost. Choose another path.")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        (draft / WEIGHTS_FILE).write_bytes(model.to_bytes())
        (draft / DESCRIPTION_FILE).write_text(json.dumps(asdict(model.description), indent=2))
        draft.chmod(0o777 & ~_umask())
        if path.exists():
            retired = draft.with_name(draft.name + "-old")
            os.replace(path, retired)
            os.replace(draft, path)
            shutil.rmtree(retired)
        else:
            os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    """Return which permissions new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path: str | Path, *, encoder: nn.Module | None = None) -> FittedModel:
    """Load a fitted model from a folder that :func:`save` wrote."""
    path = Path(path)
    missing = [name for name in (WEIGHTS_FILE, DESCRIPTION_FILE) if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{str(path)!r} is no saved model: {' and '.join(missing)} not found in it.")
    description = Description(**json.loads((path / DESCRIPTION_FILE).read_text()))
    return from_bytes(description, (path / WEIGHTS_FILE).read_bytes(), encoder=encoder)
