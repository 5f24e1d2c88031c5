"""What a list of slides says of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.gene_ranks import rank_genes
from bleep_sc._adata.promise import why_not_promised
from bleep_sc._output import html
from bleep_sc.io._page import cautions, facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

THUMBNAIL_PX = 160
MANY_UNSURE = 0.5
"""Share of the places below which confidence is not worth a warning."""


def in_short(adata: AnnData, name: str, layer: str, notes: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of a slide in one line: numbers, texts and a small picture, as JSON takes them."""
    tiles = adata.uns.get(keys.TILES, {}).get(name, {})
    share, unsure = facts.foreign_share(adata, layer), _unsure(adata, layer)
    ranked = rank_genes(adata, layer)
    return {
        "slide": name,
        "notes": {str(key): str(value) for key, value in notes.items()},
        "places": adata.n_obs,
        "blurred": int(tiles["n_blurred"]) if tiles else None,
        "foreign": share,
        "unsure": unsure,
        "readable": int(ranked["is_readable"].sum()),
        "best": None if np.isnan(ranked["r"].iloc[0]) else float(ranked["r"].iloc[0]),
        "warnings": _warnings(adata, layer, unsure, n_readable=int(ranked["is_readable"].sum())),
        "thumbnail": _thumbnail(adata, name),
    }


def _unsure(adata: AnnData, layer: str) -> float | None:
    if keys.confidence(layer) not in adata.obs:
        return None
    return float((adata.obs[keys.confidence(layer)].to_numpy() < facts.UNSURE).mean())


def _warnings(adata: AnnData, layer: str, unsure: float | None, *, n_readable: int) -> list[str]:
    found = cautions.in_brief(adata, layer)
    if not n_readable and not why_not_promised(adata, layer):
        found.append("no gene is to be read")
    if unsure is not None and unsure > MANY_UNSURE:
        found.append(f"{unsure:.0%} of the places are below confidence {facts.UNSURE}")
    return found


def _thumbnail(adata: AnnData, name: str) -> str:
    images = adata.uns.get(keys.SPATIAL, {}).get(name, {}).get("images", {})
    pixels = images.get("lowres", images.get("hires"))
    if pixels is None:
        return ""
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return html.jpeg(np.ascontiguousarray(pixels[..., :3]), THUMBNAIL_PX)
