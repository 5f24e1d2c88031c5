"""Fitted models inside `uns`: complete, plain, and safe to read from a file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.damage import damaged, from_json, undamaged
from bleep_sc._output.messages import listed, logger
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.models.fitted import Description, FittedModel

JSON_FIELDS = ("architecture", "recipe", "config", "params", "slides")


def write_model(
    adata: AnnData,
    key: str,
    model: FittedModel,
    slides: NDArray[np.str_] | dict[str, int],
    history: Mapping[str, Any],
) -> None:
    """Write a fitted model into ``uns[key]``, with the slides of the spots that it was fitted on, or how many each has.

    ``slides`` is the slide of every spot, (n_obs,), or the number of spots, or tiles, of every slide.
    """
    from bleep_sc.models.methods import METHODS

    if not isinstance(slides, dict):
        names, counts = np.unique(slides, return_counts=True)
        slides = dict(zip(names.tolist(), counts.tolist(), strict=True))
    description = replace(
        model.description,
        slides=slides,
        preset=preset_of(model.description.method, model.description.config),
        version=__version__,
    )
    logger.info(
        "Fitted %s on %s spots and %s genes; slides: %s.",
        METHODS[description.method].title,
        f"{sum(slides.values()):,}",
        f"{len(description.genes):,}",
        listed(slides, 4),
    )
    adata.uns[key] = {
        **model_record(description, model.to_bytes()),
        "history": {name: np.asarray(values) for name, values in history.items()},
    }


def preset_of(method: str, config: dict[str, Any]) -> str:
    """Return the preset that a configuration differs least from, and in what; empty for methods without one."""
    from bleep_sc.models.methods import METHODS

    kind = METHODS[method].load("config")
    if kind is None:
        return ""
    made = {name: getattr(kind, name) for name in ("paper", "v0_1") if hasattr(kind, name)}
    presets = {f"{kind.__name__}()": asdict(kind())}
    presets |= {f"{kind.__name__}.{name}()": asdict(make()) for name, make in made.items()}
    changed = {
        name: {field: value for field, value in config.items() if preset.get(field, value) != value}
        for name, preset in presets.items()
    }
    nearest = min(changed, key=lambda name: len(changed[name]))
    own = ", ".join(f"{field}={value!r}" for field, value in changed[nearest].items())
    return f"{nearest} with {own}" if own else nearest


def model_record(description: Description, weights: bytes) -> dict[str, Any]:
    """Return a model as ``uns`` holds it."""
    from bleep_sc.models.described import checksum

    return {
        "method": description.method,
        "genes": np.asarray(description.genes, dtype=str),
        **{name: json.dumps(getattr(description, name)) for name in JSON_FIELDS},
        "preset": description.preset,
        "version": description.version,
        "model": np.frombuffer(weights, dtype=np.uint8),
        "checksum": checksum(description, weights),
    }


def read_stored(record: Mapping[str, Any], key: str) -> tuple[Description, bytes]:
    """Read what a fitted model in ``uns[key]`` is, and its weights, without building it.

    ``record`` is what ``require_model`` returns. One without a checksum was written by 0.1.0.
    """
    from bleep_sc.models.described import check_description, checksum, require_read
    from bleep_sc.models.fitted import Description

    place = f"uns[{key!r}]"
    weights = np.asarray(record["model"])
    if weights.dtype != np.uint8 or weights.ndim != 1:
        raise damaged(place, f"its weights are {weights.dtype} of shape {weights.shape}, not bytes")
    with undamaged(place, "its record"):
        description = Description(
            method=str(record["method"]),
            genes=[str(gene) for gene in np.asarray(record["genes"]).tolist()],
            **{name: from_json(record.get(name, "{}"), place, name) for name in JSON_FIELDS},
            preset=str(record.get("preset", "")),
            version=str(record["version"]),
        )
    check_description(description, place)
    require_read(description, place)
    written = str(record.get("checksum", ""))
    if written and written != checksum(description, weights.tobytes()):
        raise damaged(place, "it is not what was written (by its checksum)")
    return description, weights.tobytes()


def read_description(record: Mapping[str, Any], key: str) -> Description:
    """Read what a fitted model in ``uns[key]`` is."""
    return read_stored(record, key)[0]


def read_model(
    record: Mapping[str, Any], key: str, encoder: str | Sequence[str] | nn.Module | None = None
) -> FittedModel:
    """Build the fitted model in ``uns[key]`` from what ``require_model`` returns."""
    from bleep_sc.models.saved import from_bytes

    description, weights = read_stored(record, key)
    return from_bytes(description, weights, encoder=encoder, place=f"uns[{key!r}]")


def model_hash(record: Mapping[str, Any]) -> str:
    """Return the name of the weights of a model in ``uns``."""
    from bleep_sc.models.fitted import weights_hash

    return weights_hash(np.asarray(record["model"]).tobytes())
