"""Fitted models as bytes and as folders. Nothing is ever pickled."""

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from torch import nn

from bleep_sc._output.damage import damaged, from_json, undamaged
from bleep_sc._output.disk import appears, is_there
from bleep_sc._output.messages import listed
from bleep_sc._version import __version__
from bleep_sc.models import contents
from bleep_sc.models.described import check_description, checksum
from bleep_sc.models.encoders import is_on_hub, load_encoder, require_consent
from bleep_sc.models.fitted import Description, FittedModel
from bleep_sc.models.methods import METHODS
from bleep_sc.models.pathology_encoders import recorded_name

WEIGHTS_FILE, DESCRIPTION_FILE = "model.safetensors", "model.json"
CHECKSUM = "checksum"


def from_bytes(
    description: Description,
    weights: bytes,
    *,
    encoder: str | Sequence[str] | nn.Module | None = None,
    place: str = "The model",
) -> FittedModel:
    """Build a fitted model from its description and its weights, which are stored at ``place``.

    ``encoder`` is needed only where a module given by hand was trained, whose architecture is not in the description;
    or one of a hub, whose name is then given again.
    """
    check_description(description, place)
    _require_named(description, encoder)
    tensors, learnt = contents.split(contents.tensors_of(weights, place))
    contents.check_sizes(description, tensors, place)
    shape = dict(description.architecture)
    if "encoder" in shape:
        shape["encoder"] = copy.deepcopy(_network(shape["encoder"], encoder)).cpu()
    module: nn.Module = METHODS[description.method].load("network")(**shape)
    contents.fill(module, tensors, place)
    return FittedModel(module.eval(), description, **contents.learnt_from(learnt, description, place))


def _require_named(description: Description, encoder: str | Sequence[str] | nn.Module | None) -> None:
    """Refuse the name of an encoder that a model does not name; one without any may be what a module was."""
    recipe = description.recipe
    names = [str(made.get("encoder", "")) for made in recipe.get("features", [recipe])]
    names += [description.architecture["encoder"]] if "encoder" in description.architecture else []
    given = [encoder] if isinstance(encoder, str) else encoder if isinstance(encoder, list | tuple) else []
    meant = {recorded_name(name) for name in names}
    if others := [name for name in given if all(names) and recorded_name(name) not in meant]:
        raise ValueError(
            f"encoder={others[0]!r} is none of the encoders of the model ({listed(names)}). Leave encoder= out, or "
            "pass one of them."
        )


def _network(name: str, encoder: str | Sequence[str] | nn.Module | None) -> nn.Module:
    """Return what a trained encoder is built from: its name, or the module given by hand where it has none."""
    if not name and not isinstance(encoder, nn.Module):
        raise ValueError(
            "This model trained an encoder given as a module; pass a module of the same architecture as encoder=."
        )
    on_hub = is_on_hub(name)
    if on_hub:
        require_consent(name, encoder)
    is_given = isinstance(encoder, nn.Module) and (on_hub or not name)
    return load_encoder(encoder if is_given else name, pretrained=False)  # type: ignore[arg-type]


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
    weights = model.to_bytes()
    (folder / WEIGHTS_FILE).write_bytes(weights)
    written = {**asdict(model.description), CHECKSUM: checksum(model.description, weights)}
    (folder / DESCRIPTION_FILE).write_text(json.dumps(written, indent=2))


def save(model: FittedModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Save a fitted model as a folder with ``model.safetensors`` and ``model.json``.

    The folder appears when it is complete. An existing one is replaced only with ``overwrite=True``.
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
    place = repr(str(path))
    with undamaged(place, DESCRIPTION_FILE):
        text = (path / DESCRIPTION_FILE).read_text(encoding="utf-8")
    content, weights = from_json(text, place, DESCRIPTION_FILE), (path / WEIGHTS_FILE).read_bytes()
    before = content.pop(CHECKSUM, None)  # None: of 0.1.0, which kept none
    unknown = [name for name in content if name not in {each.name for each in fields(Description)}]
    if unknown:
        raise ValueError(
            f"{place} was written by bleep_sc {content.get('version')}, which knows more than this version, "
            f"{__version__}: {', '.join(unknown)}. Update bleep_sc."
        )
    with undamaged(place, DESCRIPTION_FILE):
        description = Description(**content)
    check_description(description, place)
    if before not in (None, checksum(description, weights)):
        raise damaged(place, f"{WEIGHTS_FILE} or {DESCRIPTION_FILE} is not what was written (by their checksum)")
    return description, weights


def load(path: str | Path, *, encoder: str | nn.Module | None = None) -> FittedModel:
    """Load a fitted model from a folder that :func:`save` wrote.

    ``encoder`` is a module of the same architecture, where an encoder that was given as a module was trained; or the
    name of an encoder on a hub, as the model names it: nothing is fetched from there unless it is named.
    """
    description, weights = read_folder(path)
    return from_bytes(description, weights, encoder=encoder, place=repr(str(path)))
