"""Whether a prediction is of a reference, and of that alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bleep_sc._adata.checks import require_model
from bleep_sc._adata.records import names_hash
from bleep_sc.tl._models.in_uns import model_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def require_made_by(record: Mapping[str, Any], layer: str, ref: AnnData, key: str) -> None:
    """Refuse a layer that was predicted from something else than this reference, by the model that it holds."""
    stored = require_model(ref, key)
    if record["reference_hash"] != names_hash(ref.obs_names) or record["model_hash"] != model_hash(stored):
        raise ValueError(
            f"layers[{layer!r}] was predicted from another reference than ref=, or from several. Pass the one that it "
            "was predicted from, or predict it anew."
        )
