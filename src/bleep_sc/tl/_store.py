"""Fitted models inside `uns`: complete, plain, and safe to read from a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._checks import require_model
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.fitted import FittedModel

JSON_FIELDS = ("architecture", "recipe", "config", "params")


def write_model(adata: AnnData, key: str, model: FittedModel, history: dict[str, Any]) -> None:
    """Write a fitted model into ``uns[key]``."""
    description = model.description
    adata.uns[key] = {
        "method": description.method,
        "genes": np.asarray(description.genes, dtype=str),
        **{name: json.dumps(getattr(description, name)) for name in JSON_FIELDS},
        "history": {name: np.asarray(values) for name, values in history.items()},
        "model": np.frombuffer(model.to_bytes(), dtype=np.uint8),
        "version": __version__,
    }


def read_model(adata: AnnData, key: str, encoder: nn.Module | None = None) -> FittedModel:
    """Read a fitted model from ``uns[key]``, or say why there is none."""
    from bleep_sc.models.fitted import Description, from_bytes

    record = require_model(adata, key)
    description = Description(
        method=str(record["method"]),
        genes=[str(gene) for gene in record["genes"]],
        **{name: json.loads(record[name]) for name in JSON_FIELDS},
    )
    return from_bytes(description, record["model"].tobytes(), encoder=encoder)


def model_hash(adata: AnnData, key: str) -> str:
    """Return the name of the weights in ``uns[key]``."""
    from bleep_sc.models.fitted import weights_hash

    return weights_hash(require_model(adata, key)["model"].tobytes())
