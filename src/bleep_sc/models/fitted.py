"""A fitted model with all that is needed to use it again, as bytes or as a folder. Nothing is ever pickled."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from bleep_sc import _html
from bleep_sc._disk import appears
from bleep_sc._version import __version__
from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.calibration import Calibration
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.histogene import HisToGene
from bleep_sc.models.stnet import StNet
from bleep_sc.models.summary import summary
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
    slides: dict[str, int] = field(default_factory=dict)
    """Spots of every slide that it was fitted on; empty where that is not known, as the next two."""
    preset: str = ""
    """The published or default settings that ``config`` is nearest to, and in what it differs."""
    version: str = ""
    """Of bleep_sc, when it was fitted."""


@dataclass(frozen=True, repr=False)
class FittedModel:
    """A trained module and its description."""

    module: Any
    """BLEEP, StNet, HisToGene, or a linear layer for ridge regression."""
    description: Description
    calibration: Calibration | None = None
    """What it knows about its own predictions, where slides were held out."""
    typicality: Typicality | None = None
    """What it knows about the tissue of its reference, where slides were held out."""

    def __repr__(self) -> str:
        """Say what it is, a fact a line."""
        return "FittedModel\n" + "\n".join(f"    {name}: {fact}" for name, fact in summary(self).items())

    def _repr_html_(self) -> str:
        """Say the same in a notebook."""
        return _html.facts(summary(self))

    def to_bytes(self) -> bytes:
        """Return the weights, and what held-out slides taught beside them, as safetensors bytes."""
        tensors = apart(self.module.state_dict())
        for part in LEARNT:
            known = getattr(self, part)
            arrays = {} if known is None else known.to_arrays()
            tensors |= {f"{part}/{name}": torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        return safetensors.torch.save(tensors)


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that share no memory, on the CPU: safetensors refuses tied weights."""
    on_cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in on_cpu.items()}


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


@contextmanager
def new_folder(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write a model to, which is at ``path`` when the block has ended.

    An existing one is replaced only with ``overwrite=True``, and only by another model.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists already. Choose another path, or pass overwrite=True.")
    if path.exists() and not (path / DESCRIPTION_FILE).is_file():
        raise FileExistsError(f"{str(path)!r} is no saved model, and would be lost. Choose another path.")
    with appears(path) as draft:
        draft.mkdir()
        yield draft


def write(model: FittedModel, folder: Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` into a folder."""
    (folder / WEIGHTS_FILE).write_bytes(model.to_bytes())
    (folder / DESCRIPTION_FILE).write_text(json.dumps(asdict(model.description), indent=2))


def save(model: FittedModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Save a fitted model as a folder with ``model.safetensors`` and ``model.json``.

    The folder appears when it is complete. An existing one is replaced only with ``overwrite=True``.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.load_model`:

    >>> bs.models.save(model, "liver_model", overwrite=True)
    """
    with new_folder(path, overwrite=overwrite) as folder:
        write(model, folder)


def read_folder(path: str | Path) -> tuple[Description, bytes]:
    """Read the description and the weights of a model from a folder that :func:`save` wrote."""
    path = Path(path)
    missing = [name for name in (WEIGHTS_FILE, DESCRIPTION_FILE) if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{str(path)!r} is no saved model: {' and '.join(missing)} not found in it.")
    content = json.loads((path / DESCRIPTION_FILE).read_text())
    unknown = [name for name in content if name not in {each.name for each in fields(Description)}]
    if unknown:
        raise ValueError(
            f"{str(path)!r} was written by bleep_sc {content.get('version')}, which knows more than this version, "
            f"{__version__}: {', '.join(unknown)}. Update bleep_sc."
        )
    return Description(**content), (path / WEIGHTS_FILE).read_bytes()


def load(path: str | Path, *, encoder: nn.Module | None = None) -> FittedModel:
    """Load a fitted model from a folder that :func:`save` wrote.

    Examples
    --------
    After the example of :func:`bleep_sc.models.save`:

    >>> bs.models.load("liver_model").description.method
    'bleep'
    """
    description, weights = read_folder(path)
    return from_bytes(description, weights, encoder=encoder)
