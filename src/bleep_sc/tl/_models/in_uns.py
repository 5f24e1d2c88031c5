"""Fitted models inside `uns`: complete, plain, and safe to read from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.checks import require_model
from bleep_sc._adata.libraries import libraries
from bleep_sc._version import __version__
from bleep_sc.training.presets import preset_of

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.fitted import Description, FittedModel

JSON_FIELDS = ("architecture", "recipe", "config", "params", "slides")


def write_model(adata: AnnData, key: str, model: FittedModel, history: dict[str, Any]) -> None:
    """Write a fitted model into ``uns[key]``, with the slides that it was fitted on, those of ``adata``."""
    description = replace(
        model.description,
        slides=_slides(adata, model.description.params["library_key"]),
        preset=preset_of(model.description.method, model.description.config),
        version=__version__,
    )
    adata.uns[key] = {
        **model_record(description, model.to_bytes()),
        "history": {name: np.asarray(values) for name, values in history.items()},
    }


def model_record(description: Description, weights: bytes) -> dict[str, Any]:
    """Return a model as ``uns`` holds it."""
    return {
        "method": description.method,
        "genes": np.asarray(description.genes, dtype=str),
        **{name: json.dumps(getattr(description, name)) for name in JSON_FIELDS},
        "preset": description.preset,
        "version": description.version,
        "model": np.frombuffer(weights, dtype=np.uint8),
    }


def read_description(adata: AnnData, key: str) -> Description:
    """Read what a fitted model in ``uns[key]`` is, without building it, or say why there is none."""
    from bleep_sc.models.fitted import Description

    record = require_model(adata, key)
    return Description(
        method=str(record["method"]),
        genes=[str(gene) for gene in record["genes"]],
        **{name: json.loads(record.get(name, "{}")) for name in JSON_FIELDS},
        preset=str(record.get("preset", "")),
        version=str(record["version"]),
    )


def read_model(adata: AnnData, key: str, encoder: nn.Module | None = None) -> FittedModel:
    """Read a fitted model from ``uns[key]``, or say why there is none."""
    from bleep_sc.models.saved import from_bytes

    return from_bytes(read_description(adata, key), require_model(adata, key)["model"].tobytes(), encoder=encoder)


def _slides(adata: AnnData, library_key: str) -> dict[str, int]:
    """Return the spots of every slide."""
    names, counts = np.unique(libraries(adata, library_key), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def model_hash(adata: AnnData, key: str) -> str:
    """Return the name of the weights in ``uns[key]``."""
    from bleep_sc.models.fitted import weights_hash

    return weights_hash(require_model(adata, key)["model"].tobytes())
