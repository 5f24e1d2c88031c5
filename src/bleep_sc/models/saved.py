"""Fitted models as bytes and as folders. Nothing is ever pickled."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import safetensors.torch
from torch import nn

from bleep_sc._output.disk import appears, is_there
from bleep_sc._output.messages import listed
from bleep_sc._version import __version__
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.fitted import LEARNT, Description, FittedModel
from bleep_sc.models.methods import METHODS

WEIGHTS_FILE, DESCRIPTION_FILE = "model.safetensors", "model.json"


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
        learnt[part] = kind(**arrays) if arrays else None
    module.load_state_dict(tensors)
    return FittedModel(module.eval(), description, **learnt)


def _build(description: Description, encoder: nn.Module | None) -> nn.Module:
    if description.method not in METHODS:
        raise ValueError(f"The method {description.method!r} is not known to this version of bleep_sc.")
    shape = dict(description.architecture)
    if "encoder" in shape:
        network = load_encoder(_architecture(shape["encoder"], encoder), pretrained=False)
        shape["encoder"] = copy.deepcopy(network).cpu()
    module: nn.Module = METHODS[description.method].load("network")(**shape)
    return module


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
def new_folder(path: str | Path, *, overwrite: bool, beside: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give a folder to write a model to, which is at ``path`` when the block has ended.

    An existing one is replaced only with ``overwrite=True``, and only where nothing but a model and what is
    written ``beside`` it is in it.
    """
    path = Path(path)
    if is_there(path) and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists already. Choose another path, or pass overwrite=True.")
    if path.exists() and not (path / DESCRIPTION_FILE).is_file():
        raise FileExistsError(f"{str(path)!r} is no saved model, and would be lost. Choose another path.")
    ours = (WEIGHTS_FILE, DESCRIPTION_FILE, *beside)
    foreign = sorted(each.name for each in path.iterdir() if each.name not in ours) if path.exists() else []
    if foreign:
        raise FileExistsError(
            f"{str(path)!r} holds {listed(foreign)} beside a model, which would be lost. Choose another path."
        )
    with appears(path, replace=overwrite) as draft:
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
    is_there(path)
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
